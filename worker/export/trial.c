#include "worker/export/trial.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void trial_init(struct trial *trial, int64_t rows, const char *profile, size_t max_bytes)
{
    assert(rows >= 1 && rows <= TRIAL_MAX_ROWS);
    *trial =
        (struct trial){ .wanted = profile ? 1 : rows, .profile = profile, .max_bytes = max_bytes };
}

void trial_release(struct trial *trial)
{
    for (int64_t i = 0; i < trial->n; i++) {
        free(trial->row[i].profile_id);
        free(trial->row[i].address);
        free(trial->row[i].object);
    }
    *trial = (struct trial){ .n = 0 };
}

bool trial_considers(struct trial *trial, const struct member *member)
{
    if (!trial->profile)
        return true;
    bool is_it = member && member->profile_id.n == strlen(trial->profile) &&
                 memcmp(member->profile_id.at, trial->profile, member->profile_id.n) == 0;
    trial->profile_seen |= is_it;
    return is_it;
}

bool trial_wants(const struct trial *trial, const struct strbuf *object)
{
    return trial->n < trial->wanted &&
           (trial->n == 0 || object->len <= trial->max_bytes - trial->bytes);
}

bool trial_add(struct trial *trial, const struct member *member, const struct strbuf *object)
{
    struct trial_row row = {
        .profile_id = strndup(member->profile_id.at, member->profile_id.n),
        .address = strndup(member->address.at, member->address.n),
        .object = strndup(object->data, object->len),
    };

    if (!row.profile_id || !row.address || !row.object) {
        free(row.profile_id);
        free(row.address);
        free(row.object);
        return false;
    }
    trial->bytes += object->len + 2; /* and what joins them */
    trial->row[trial->n++] = row;
    return true;
}

bool trial_is_complete(const struct trial *trial)
{
    return trial->n == trial->wanted || trial->code ||
           (trial->n > 0 && trial->bytes >= trial->max_bytes);
}
