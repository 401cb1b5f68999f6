#ifndef SIMULATOR_BEHAVIOUR_H
#define SIMULATOR_BEHAVIOUR_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * The behaviour that a test may choose, above all where the real
 * service's behaviour is not known. Read and written under /control/settings;
 * the members have the names and the order of the table in behaviour.c.
 */
enum place { PLACE_SYNC, PLACE_IMPORT_ERROR };
enum payload { PAYLOAD_FLAT, PAYLOAD_WRAPPED, PAYLOAD_NULL };
enum stamps { STAMPS_MICRO, STAMPS_WHOLE, STAMPS_MIXED };
enum unknown_id { UNKNOWN_ID_404, UNKNOWN_ID_400, UNKNOWN_ID_IGNORE };

struct behaviour {
    bool limits;                   /* rate limits are enforced */
    bool require_revision;         /* a missing or malformed revision header is a 400 */
    int queued_ms;                 /* a job waits this long */
    int processing_ms;             /* and works this long, */
    int processing_us_per_profile; /* and this much longer for each row */
    int oversize_status;           /* for more than 5,000,000 bytes: 400 or 413 */
    int oversize_profile;          /* enum place: of more than 100,000 bytes */
    int email_check;               /* enum place: of a malformed address */
    bool pointer_index;            /* import errors say which row they are about */
    int payload;                   /* enum payload: original_payload of import errors */
    bool completed_includes_failed;
    int timestamps;      /* enum stamps */
    int sync_errors_max; /* how many row errors one 400 lists; 0: all */
    int slow_body_ms;    /* pause in the middle of every answer's body */
    int unknown_profile; /* enum unknown_id: on adding to and removing from a list */
    bool keep_bodies;    /* the diary keeps request bodies */
    bool keep_emails;    /* every address received is kept, with the request's number */
};

void behaviour_init(struct behaviour *behaviour);

/* Applies the members that are there. False (ERROR_INPUT) and nothing changed if one is bad. */
bool behaviour_apply(struct behaviour *behaviour, json_t *object, struct error *err) MUST_USE;

/* The caller owns the result. */
json_t *behaviour_json(const struct behaviour *behaviour) MUST_USE;

#endif
