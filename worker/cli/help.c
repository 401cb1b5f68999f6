#include "worker/cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { SUMMARY_COLUMN = 26 };

size_t help_group_word(const struct command *group)
{
    return strcspn(group->words, " ");
}

static void print_summary(const struct command *command)
{
    (void)printf("  %-*s %s\n", SUMMARY_COLUMN, command->words, command->summary);
}

void help_group(const struct command *group)
{
    (void)printf("Usage: klaviyo-worker %.*s COMMAND …\n\n", (int)help_group_word(group),
                 group->words);
    for (const struct command *c = group; c->words; c++)
        print_summary(c);
    (void)fputs("\n`--help` behind a command says what it takes.\n", stdout);
}

void help_program(const struct command *const groups[], size_t n)
{
    (void)fputs("Keeps customer segments complete and current in Klaviyo lists.\n\n"
                "Usage: klaviyo-worker COMMAND …\n\n",
                stdout);
    for (size_t i = 0; i < n; i++)
        for (const struct command *c = groups[i]; c->words; c++)
            print_summary(c);
    (void)fputs("\n`--help` behind a command says what it takes; `run --help` lists the settings,\n"
                "which are environment variables; `--version` prints versions.\n"
                "Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later.\n",
                stdout);
}

static const char *nature_of(const struct option_spec *option)
{
    if (option->kind == OPTION_LIST)
        return option->required ? " (one or more)" : " (any number of times)";
    return option->required ? " (required)" : "";
}

static void print_option(const struct option_spec *option)
{
    char name[64];

    (void)snprintf(name, sizeof name, "%s%s%s", option->name, option->value ? " " : "",
                   option->value ? option->value : "");
    (void)printf("  %-*s %s%s\n", SUMMARY_COLUMN, name, option->help, nature_of(option));
}

static void print_usage(const struct command *command)
{
    int first = (toupper)((unsigned char)*command->summary);

    (void)printf("Usage: klaviyo-worker %s%s%s%s\n\n", command->words,
                 *command->operands ? " " : "", command->operands,
                 command->options ? " [OPTION…]" : "");
    (void)printf("%c%s.\n", first, command->summary + 1);
    if (command->details)
        (void)printf("\n%s\n", command->details);
    if (command->who)
        (void)printf("\nFor database users who are members of %s.\n", command->who);
}

void help_command(const struct command *command)
{
    print_usage(command);
    if (command->options)
        (void)fputs("\nOptions:\n", stdout);
    for (const struct option_spec *o = command->options; o && o->name; o++)
        print_option(o);
    if (command->print_details)
        command->print_details();
}
