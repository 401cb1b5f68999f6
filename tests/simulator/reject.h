#ifndef SIMULATOR_REJECT_H
#define SIMULATOR_REJECT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "tests/simulator/behaviour.h"
#include "tests/simulator/import.h"

/*
 * Reject rules: which addresses an import may not hold, and how it is told.
 * A rule applies to a row if the e-mail is one of `emails`, or begins with
 * `prefix`, or ends with `suffix`.
 */
struct reject {
    char **emails; /* sorted, in normal form */
    size_t n_emails;
    char *prefix, *suffix; /* NULL: none */
    enum place stage;
    bool names_row; /* pointer: row; else the error names nobody */
    bool unnamed;   /* the row counts as failed, and no error says so */
    char code[32];
    char detail[160];
};

struct rejects {
    struct reject *list;
    size_t cap, n;
};

bool rejects_add(struct rejects *rejects, const json_t *rule, struct error *err) MUST_USE;

/* Adds to import->problems (stage sync) and import->failures what the rules refuse. */
void rejects_judge(const struct rejects *rejects, struct import *import);

/* Whether a rule with `unnamed` applies to the row. */
bool rejects_silently(const struct rejects *rejects, const struct import *import, size_t row);

void rejects_release(struct rejects *rejects);

#endif
