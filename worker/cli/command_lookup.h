#ifndef WORKER_CLI_COMMAND_LOOKUP_H
#define WORKER_CLI_COMMAND_LOOKUP_H

#include <stddef.h>

#include "common/error.h"
#include "worker/cli/command.h"

/*
 * Finds the command that the words of a command line name. Pure; what is found
 * lives as long as the table.
 */
struct command_table {
    const struct command *const *groups; /* each ends with a row without words */
    size_t n_groups;
};

/*
 * The command whose words argv begins with; *n_words: how many those are. NULL:
 * there is none, and *n_words is 0.
 */
const struct command *command_lookup(const struct command_table *table, size_t n,
                                     char *const argv[], size_t *n_words);

/* The group of which word is the first one: "connection" without a command. NULL: none. */
const struct command *command_lookup_group(const struct command_table *table, const char *word);

/* Why word is no command, with the one that may have been meant. ERROR_INPUT; returns false. */
bool command_lookup_unknown(const struct command_table *table, const char *word, struct error *err);

/* The same of a group and the word after it; second: NULL, there was none. */
bool command_lookup_alone(const struct command *group, const char *second, struct error *err);

/* "connection", the first word of a group. */
enum { COMMAND_WORD_BYTES = 32 };
void command_lookup_word(const struct command *group, char word[COMMAND_WORD_BYTES]);

#endif
