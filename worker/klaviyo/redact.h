#ifndef WORKER_KLAVIYO_REDACT_H
#define WORKER_KLAVIYO_REDACT_H

/*
 * Somebody else's sentence, made fit for our logs and headers.
 *
 * Replaced by "..." are words with an @, whatever stands in quotes ('…', "…",
 * `…`) and words with six digits in a row: what an error message can repeat of
 * a profile. A value without quotes, an @ or digits stays; no rule finds it.
 */
enum { REDACT_GROWTH = 3 }; /* "@" becomes "..." */

/* out has room for REDACT_GROWTH times the text's length, and a NUL. */
void redact(const char *text, char *out);

#endif
