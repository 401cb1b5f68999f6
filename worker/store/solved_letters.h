#ifndef WORKER_STORE_SOLVED_LETTERS_H
#define WORKER_STORE_SOLVED_LETTERS_H

#include "worker/store/db.h"

/*
 * Which dead letters are solved (letter_rule.h).
 *
 * letters: [{"run", "exports": [names], "full"}], run 0 where none failed (the
 * event was invalid). *json, the caller's: true, false or null (not known)
 * in the same order.
 */
bool solved_letters(struct db *db, const char *letters, char **json, struct error *err) MUST_USE;

#endif
