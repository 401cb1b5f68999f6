#include "worker/admin/complete.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/store/names.h"

enum { WORDS_MAX = 64 };

/* What an option's value names, and what the operands of a command name. */
struct rule {
    const char *words;
    enum names_kind kind;
};
static const struct rule options[] = { { "--connection", NAMES_CONNECTIONS },
                                       { "--export", NAMES_EXPORTS },
                                       { "--segment", NAMES_SEGMENTS } };
static const struct rule commands[] = {
    { "connection show", NAMES_CONNECTIONS },
    { "connection verify", NAMES_CONNECTIONS },
    { "connection grant", NAMES_CONNECTIONS },
    { "connection revoke", NAMES_CONNECTIONS },
    { "connection rotate-key", NAMES_CONNECTIONS },
    { "connection update", NAMES_CONNECTIONS },
    { "connection lists", NAMES_CONNECTIONS },
    { "connection remove", NAMES_CONNECTIONS },
    { "export show", NAMES_EXPORTS },
    { "export update", NAMES_EXPORTS },
    { "export preview", NAMES_EXPORTS },
    { "export pause", NAMES_EXPORTS },
    { "export resume", NAMES_EXPORTS },
    { "export remove", NAMES_EXPORTS },
    { "export try", NAMES_EXPORTS },
    { "export verify", NAMES_EXPORTS },
    { "segment fields", NAMES_SEGMENTS },
    { "publish", NAMES_SEGMENTS },
    { "runs show", NAMES_RUNS },
    { "runs watch", NAMES_RUNS },
    { "runs cancel", NAMES_RUNS },
    { "runs rejections", NAMES_RUNS },
};

static bool find_rule(const struct rule *rules, size_t n, const char *words, enum names_kind *kind)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rules[i].words, words) == 0) {
            *kind = rules[i].kind;
            return true;
        }
    return false;
}

/* The words before the last one: "--export", or "export show". False: no name belongs here. */
static bool kind_of(const char *const words[], size_t n, enum names_kind *kind)
{
    char both[64];

    if (n >= 2 && strncmp(words[n - 2], "--", 2) == 0)
        return find_rule(options, sizeof options / sizeof options[0], words[n - 2], kind);
    if (n >= 2 && find_rule(commands, sizeof commands / sizeof commands[0], words[0], kind))
        return true;
    if (n < 3)
        return false;
    (void)snprintf(both, sizeof both, "%.20s %.20s", words[0], words[1]);
    return find_rule(commands, sizeof commands / sizeof commands[0], both, kind);
}

static void print_names(const char *json, const char *beginning)
{
    CLEANUP(json_freep) json_t *names = json_loads(json, 0, NULL);

    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));

        if (name && strncmp(name, beginning, strlen(beginning)) == 0)
            print_line("%s", name);
    }
}

static bool complete(struct context *context, struct error *err)
{
    const char *const *words = context->arguments->operands;
    size_t n = context->arguments->n_operands;
    enum names_kind kind;
    char *json;

    if (!kind_of(words, n, &kind))
        return true;
    if (!names_list(context->db, kind, &json, err))
        return false;
    print_names(json, words[n - 1]);
    free(json);
    return true;
}

const struct command complete_commands[] = {
    { .words = "__complete",
      .operands = "-- WORD…",
      .min_operands = 1,
      .max_operands = WORDS_MAX,
      .needs = NEEDS_DATABASE,
      .hidden = true,
      .summary = "names that a word could become",
      .run = complete },
    { .words = NULL },
};
