#ifndef SIMULATOR_IDENTITY_H
#define SIMULATOR_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

/*
 * Identifiers in the shapes that the service gives them. All are random and
 * safe inside a URL and inside JSON.
 */
enum { IDENTITY_UUID_BYTES = 37, IDENTITY_LIST_BYTES = 7, IDENTITY_JOB_BYTES = 192 };

uint64_t identity_random(void);

/* True with that probability. */
int identity_chance(double probability);

void identity_uuid(char *out); /* room for IDENTITY_UUID_BYTES */
void identity_list(char *out); /* 6 letters and digits; IDENTITY_LIST_BYTES */

/* base64url of "ACCOUNT_maintenance.xxxxxx.SECONDS.xxxxxx"; IDENTITY_JOB_BYTES. */
void identity_job(char *out, const char *account, int64_t now_us);

/* Unpadded base64url. out has room for n * 4 / 3 + 4 bytes. */
void identity_base64url(char *out, const char *bytes, size_t n);

#endif
