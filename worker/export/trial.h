#ifndef WORKER_EXPORT_TRIAL_H
#define WORKER_EXPORT_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "worker/store/members.h"

/*
 * Which members a trial sends (pure): the first N that may be sent, in
 * the order of their addresses, whether they were sent before or not; or one
 * profile. Never more than one request holds.
 */
enum { TRIAL_MAX_ROWS = 100 };

struct trial_row {
    char *profile_id;
    char *address;
    char *object; /* as sent */
};

struct trial {
    int64_t wanted;      /* rows */
    const char *profile; /* this one alone; NULL: any. Lent */
    size_t max_bytes;    /* of all objects */
    struct trial_row row[TRIAL_MAX_ROWS];
    int64_t n;
    size_t bytes;
    bool profile_seen; /* it is a member */
    const char *code;  /* why it may not be sent; NULL: it may, or was not seen. A literal */
};

/* 1 to TRIAL_MAX_ROWS rows. release frees the rows; accepts a zeroed trial. */
void trial_init(struct trial *trial, int64_t rows, const char *profile, size_t max_bytes);
void trial_release(struct trial *trial);

/* A member is read (NULL: none): may it be one of the trial's? Notes the profile that is wanted. */
bool trial_considers(struct trial *trial, const struct member *member);

/* It may be sent, with this object: it is one of the trial's. False: out of memory. */
bool trial_add(struct trial *trial, const struct member *member, const struct strbuf *object)
    MUST_USE;

/* Does the object still fit, and is it wanted? */
bool trial_wants(const struct trial *trial, const struct strbuf *object);

/* It needs no more members. */
bool trial_is_complete(const struct trial *trial);

#endif
