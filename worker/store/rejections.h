#ifndef WORKER_STORE_REJECTIONS_H
#define WORKER_STORE_REJECTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * Rejections of a run: members that were not delivered, and in whose words.
 *
 * Those that we find ourselves (local) are collected and written while the members are
 * read. Those of an import are written with the end of its batch: outbox_confirm().
 */

/* Rows that fail before they are sent. */
struct local_rejections {
    struct strbuf emails;
    struct strbuf profile_ids;
    struct strbuf codes;
    size_t n;
};

/* As batch_rows. email and profile_id are BYTES_NONE where there is none; texts are copied. */
void local_rejections_init(struct local_rejections *invalid);
void local_rejections_release(struct local_rejections *invalid);
void local_rejections_add(struct local_rejections *invalid, struct bytes email,
                          struct bytes profile_id, const char *code);

/* Writes them as local rejections and empties the collection. */
bool local_rejections_write(struct db *db, const struct run_task *task,
                            struct local_rejections *invalid, struct error *err) MUST_USE;

/* Rows of a batch that Klaviyo refused: arrays in the same order. */
struct refused_rows {
    struct strbuf positions;
    struct strbuf addresses;
    struct strbuf codes;
    struct strbuf details;
    int64_t n;
    int64_t unidentified; /* refused, and nobody knows which: counted only */
    struct strbuf unidentified_codes;
    struct strbuf unidentified_details;
};

/* As batch_rows; texts are copied. */
void refused_rows_init(struct refused_rows *refused);
void refused_rows_release(struct refused_rows *refused);
/* position: of the row in the body, from 0. */
void refused_rows_add(struct refused_rows *refused, size_t position, struct bytes address,
                      const char *code, const char *detail);
void refused_rows_add_unidentified(struct refused_rows *refused, const char *code,
                                   const char *detail);

/* Klaviyo's words for a request that it refused, among the run's rejections. */
bool rejections_keep_words(struct db *db, const struct run_task *task, const char *code,
                           const char *detail, struct error *err) MUST_USE;

#endif
