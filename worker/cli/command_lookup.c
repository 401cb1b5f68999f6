#include "worker/cli/command_lookup.h"

#include <string.h>

#include "common/nearest.h"
#include "worker/cli/help.h"

enum { WORDS_MAX = 64 }; /* of all commands */

/* How many words of argv are the command's name; 0: it is another one. */
static size_t words_matched(const struct command *command, size_t n, char *const argv[])
{
    const char *rest = command->words;

    for (size_t i = 0; i < n; i++) {
        size_t length = strcspn(rest, " ");
        if (strlen(argv[i]) != length || memcmp(argv[i], rest, length) != 0)
            return 0;
        if (rest[length] == '\0')
            return i + 1;
        rest += length + 1;
    }
    return 0;
}

const struct command *command_lookup(const struct command_table *table, size_t n,
                                     char *const argv[], size_t *n_words)
{
    *n_words = 0;
    for (size_t i = 0; i < table->n_groups; i++)
        for (const struct command *c = table->groups[i]; c->words; c++) {
            *n_words = words_matched(c, n, argv);
            if (*n_words > 0)
                return c;
        }
    return NULL;
}

const struct command *command_lookup_group(const struct command_table *table, const char *word)
{
    for (size_t i = 0; i < table->n_groups; i++) {
        const struct command *group = table->groups[i];
        size_t n = help_group_word(group);
        if (group->words[n] && strlen(word) == n && memcmp(group->words, word, n) == 0)
            return group;
    }
    return NULL;
}

void command_lookup_word(const struct command *group, char word[COMMAND_WORD_BYTES])
{
    (void)snprintf(word, COMMAND_WORD_BYTES, "%.*s", (int)help_group_word(group), group->words);
}

bool command_lookup_unknown(const struct command_table *table, const char *word, struct error *err)
{
    struct nearest nearest = NEAREST_INIT(word);
    char words[WORDS_MAX][COMMAND_WORD_BYTES];
    size_t n = 0;

    for (size_t i = 0; i < table->n_groups; i++)
        for (const struct command *c = table->groups[i]; c->words && n < WORDS_MAX; c++) {
            command_lookup_word(c, words[n]);
            nearest_offer(&nearest, words[n++]);
        }
    if (nearest.best)
        return error_set(err, ERROR_INPUT, "there is no command %s: did you mean %s?", word,
                         nearest.best);
    return error_set(err, ERROR_INPUT, "there is no command %s", word);
}

bool command_lookup_alone(const struct command *group, const char *second, struct error *err)
{
    char word[COMMAND_WORD_BYTES];

    command_lookup_word(group, word);
    if (!second)
        return error_set(err, ERROR_INPUT, "missing subcommand of %s", word);
    return error_set(err, ERROR_INPUT, "there is no command %s %s", word, second);
}
