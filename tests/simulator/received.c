#include "tests/simulator/received.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/memory.h"

void received_add(struct received *received, uint64_t seq, const char *job,
                  const struct import *import)
{
    CLEANUP(strbuf_release) struct strbuf emails = STRBUF_INIT((size_t)64 * 1024 * 1024);

    received->list =
        memory_grow(received->list, &received->cap, received->n + 1, sizeof *received->list);
    struct received_import *entry = &received->list[received->n++];
    entry->seq = seq;
    (void)snprintf(entry->job, sizeof entry->job, "%s", job);
    for (size_t i = 0; i < import->n; i++) {
        strbuf_add_str(&emails, import_text(import, import->rows[i].email));
        strbuf_add(&emails, "", 1);
    }
    entry->n = import->n;
    entry->emails = strbuf_take(&emails);
}

static bool holds(const struct received_import *entry, const char *email)
{
    const char *at = entry->emails;

    for (size_t i = 0; i < entry->n; i++, at += strlen(at) + 1)
        if (strcmp(at, email) == 0)
            return true;
    return false;
}

json_t *received_find(const struct received *received, const char *email)
{
    json_t *found = json_array();

    for (size_t i = 0; i < received->n; i++) {
        const struct received_import *entry = &received->list[i];

        if (!holds(entry, email))
            continue;
        json_t *job = entry->job[0] ? json_string(entry->job) : json_null();
        json_array_append_new(found,
                              json_pack("{s:I, s:o}", "seq", (json_int_t)entry->seq, "job", job));
    }
    return found;
}

static json_t *emails_of(const struct received_import *entry)
{
    json_t *emails = json_array();
    const char *at = entry->emails;

    for (size_t i = 0; i < entry->n; i++, at += strlen(at) + 1)
        json_array_append_new(emails, json_string(at));
    return emails;
}

json_t *received_of(const struct received *received, uint64_t seq)
{
    for (size_t i = 0; i < received->n; i++)
        if (received->list[i].seq == seq)
            return emails_of(&received->list[i]);
    return NULL;
}

void received_release(struct received *received)
{
    for (size_t i = 0; i < received->n; i++)
        free(received->list[i].emails);
    free(received->list);
    *received = (struct received){ 0 };
}
