#ifndef WORKER_STORE_EXPORTS_H
#define WORKER_STORE_EXPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Exports: which members go to which list, and what of them. What a user may
 * not see is not there.
 *
 * A change takes effect for every run that begins after it. A run that is going
 * ends first, before anything is changed (see schemas/sql/0009_changes.sql and
 * 0011_rights.sql, whose functions do it: nobody but they may write the tables).
 */
struct export_path {
    const char *const *parts; /* names from the outside in; or "@profile_id" alone */
    size_t n;
};

struct export_mapping {
    const char *target; /* "attribute" or "property" */
    const char *name;   /* Klaviyo's */
    struct export_path path;
};

/* NULL, 0: not given; what is not given keeps its value in an update. */
struct export_draft {
    const char *name;
    const char *connection;
    const char *list_id;
    struct export_path email_path;
    const char *on_leave; /* keep or remove */
    int64_t max_profiles;
    bool max_invalid_given;
    int64_t max_invalid_percent; /* 0 to 100 */
    bool size_guard_given, size_guard;
    const char *plan; /* as guard_plan_find() has it */
    bool flows_known; /* true only: another list or connection takes it back */
    const char *const *segments;
    size_t n_segments;
    const struct export_mapping *fields;
    size_t n_fields;
    bool replace_fields;     /* an update gives new ones, maybe none */
    bool allow_phone_number; /* among the attributes */
    bool is_new;             /* it makes an export; else it changes one */
};

/* The error for one that is not there, or not to be seen, with the nearest that is; false. */
bool exports_missing(struct db *db, const char *name, struct error *err);

/*
 * What upstream's data say of the export that the draft would make or change:
 * *json is the caller's, an object as klaviyo.look_at_draft() gives it. NULL:
 * there is nothing to look at: no such export or connection is to be seen, or the
 * name of a new one is taken.
 */
bool exports_look(struct db *db, const struct export_draft *draft, char **json, struct error *err)
    MUST_USE;

/*
 * ERROR_INPUT: the name is taken, or the draft breaks a rule, which the text
 * names; nothing is written then.
 */
bool exports_add(struct db *db, const struct export_draft *draft, struct error *err) MUST_USE;
/*
 * *runs_ended: how many runs that were queued or going on the change has ended;
 * -1 where nothing differs, so nothing was changed.
 */
bool exports_update(struct db *db, const struct export_draft *draft, int64_t *runs_ended,
                    struct error *err) MUST_USE;

/*
 * How often the export is expected to succeed; 0: nothing is expected of it. It ends
 * no run. *changed: it was different before. ERROR_INPUT: there is no such export.
 */
bool exports_expect(struct db *db, const char *name, int64_t seconds, bool *changed,
                    struct error *err) MUST_USE;

/*
 * Ends the export's runs and ignores its events until it is resumed.
 * *runs_ended: as above. All three: ERROR_INPUT: there is no such export.
 */
bool exports_pause(struct db *db, const char *name, int64_t *runs_ended, struct error *err)
    MUST_USE;
bool exports_resume(struct db *db, const char *name, struct error *err) MUST_USE;
bool exports_remove(struct db *db, const char *name, int64_t *runs_ended, struct error *err)
    MUST_USE;

#endif
