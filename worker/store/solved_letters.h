#ifndef WORKER_STORE_SOLVED_LETTERS_H
#define WORKER_STORE_SOLVED_LETTERS_H

#include "worker/store/db.h"

/*
 * Which dead letters are solved: every export that failed has succeeded since, by
 * a full run where the event asked for one.
 *
 * letters: [{"run", "exports": [names], "full"}], run 0 where none failed (the
 * event was invalid). *json, the caller's: true, false or null in the same order;
 * null where it cannot be told, as the run is not there any more, or not to be
 * seen by this user, or there was none.
 */
bool solved_letters(struct db *db, const char *letters, char **json, struct error *err) MUST_USE;

#endif
