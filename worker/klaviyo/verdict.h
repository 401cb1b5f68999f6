#ifndef WORKER_KLAVIYO_VERDICT_H
#define WORKER_KLAVIYO_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/import_job.h"
#include "worker/klaviyo/response.h"

/*
 * The verdict: what a response of Klaviyo means for its request.
 *
 * It looks at transport, status, content type, error codes and pointers, never
 * at the wording of a detail. It decides nothing about time: how often to try
 * again, and when to give up, is the caller's.
 *
 *   response                                        action
 *   ------                                        ------
 *   IMPORT   2xx with a job id                    ACCEPTED
 *   others   2xx                                  OK
 *   IMPORT   400, every error points at a row     ROWS_REFUSED
 *   IMPORT   400, some error points at no row     BATCH_REFUSED
 *   IMPORT   413                                  TOO_LARGE
 *   PROFILES, LIST_REMOVE  400, JSON              BATCH_REFUSED
 *   PROFILES, LIST_REMOVE  413, 414               TOO_LARGE
 *   any      401, JSON                            KEY_REFUSED
 *   any      403, JSON                            KEY_REFUSED, of what is extra SCOPE_MISSING
 *   JOB, IMPORT_ERRORS, LIST, LIST_SIZE, LIST_PROFILES, LIST_REMOVE, FLOWS   404, JSON   GONE
 *   (extra: ACCOUNTS, USAGE, FLOWS, LISTS, LIST_SIZE, LIST_PROFILES. Only a 400 names rows.)
 *   any      429                                  THROTTLED
 *   USAGE, FLOWS  400, 404, not JSON; 501          UNEXPECTED (the receiver does not have them)
 *   any      408, 425, 5xx                        AGAIN
 *   any      400, 401, 403, 404, not JSON         AGAIN (a gateway spoke, not Klaviyo)
 *   any      2xx of IMPORT without a job id       AGAIN (malformed)
 *   any      no whole response                      AGAIN; a 400 too long to read: BATCH_REFUSED
 *   any      anything else                        UNEXPECTED
 */
enum verdict_action {
    VERDICT_OK,            /* read the body with the endpoint's parser */
    VERDICT_ACCEPTED,      /* remember `job` and poll it until it ends */
    VERDICT_ROWS_REFUSED,  /* reject `rows`, send the rest again */
    VERDICT_BATCH_REFUSED, /* ask for the list; then `rows` (if any) are refused, the rest is halved
                            */
    VERDICT_TOO_LARGE,     /* halve */
    VERDICT_KEY_REFUSED,   /* once more after a while, then the key is refused */
    VERDICT_SCOPE_MISSING, /* this key may not read that; says nothing about the others */
    VERDICT_GONE,          /* there is no such job or list */
    VERDICT_THROTTLED,     /* wait verdict_wait_ms() at least, all who use the account */
    VERDICT_AGAIN,         /* the same, then try again */
    VERDICT_UNEXPECTED,    /* permanent: never accepted, however often it is sent */
};

enum {
    VERDICT_CODE_BYTES = 65,     /* 64 letters and a NUL */
    VERDICT_DETAIL_BYTES = 1025, /* 1 KiB and a NUL */
    VERDICT_TEXT_BYTES = 256,
};

/* One row of the request that Klaviyo refuses. */
struct verdict_row {
    size_t row;         /* position in the request, from 0 */
    const char *code;   /* "invalid"; never NULL */
    const char *detail; /* Klaviyo's words, at most 1 KiB; may quote an address; never NULL */
};

struct verdict {
    enum verdict_action action;
    enum endpoint endpoint;
    int status;             /* 0: no response */
    int64_t retry_after_ms; /* 0: not said; a day at most */

    struct import_job job; /* ACCEPTED only */

    struct verdict_row *rows; /* ascending, each row once (the first error of it counts) */
    size_t n_rows;

    char code[VERDICT_CODE_BYTES]; /* of the first error: [a-z_]{1,64}, or "other"; empty: none */
    char detail[VERDICT_DETAIL_BYTES]; /* the same error's (one that names no row, if any):
                                          Klaviyo's words, for the rejections; elsewhere as
                                          detail_mask() leaves them */
    char why[RESPONSE_WHY_BYTES];      /* without a response: what broke */

    char *text; /* what rows point into */
};

#define VERDICT_INIT ((struct verdict){ .action = VERDICT_AGAIN })

/*
 * request_rows: how many profiles the request carried, 0 for requests without;
 * a pointer to a row beyond names none. now_us: UTC, for a Retry-After that is a
 * date. ERROR_RETRY when out of memory; else *out is to be released.
 */
bool verdict_judge(const struct response *response, size_t request_rows, int64_t now_us,
                   struct verdict *out, struct error *err) MUST_USE;

/* Frees what the verdict owns. Accepts VERDICT_INIT. */
void verdict_release(struct verdict *verdict);

/*
 * For how long nothing more is to go to the endpoint, from any worker of the account: what
 * Klaviyo said, or a second where a limit is reached and it does not say. 0: no such thing.
 */
int64_t verdict_wait_ms(const struct verdict *verdict);

/* "ok", "rows_refused", …: for tests. A static string. */
const char *verdict_action_name(enum verdict_action action);

/*
 * "Klaviyo answered 403 permission_denied to list" or "no response to import:
 * connection refused": status and code, nothing of the detail. Fit for logs,
 * metrics and error texts; text has room for VERDICT_TEXT_BYTES.
 */
void verdict_text(const struct verdict *verdict, char *text);

/*
 * For callers that can do nothing but report: an error with verdict_text() and
 * what to do about it. Kind: RETRY for THROTTLED and AGAIN, else INPUT. False,
 * always; not for OK and ACCEPTED.
 */
bool verdict_error(const struct verdict *verdict, struct error *err);

#endif
