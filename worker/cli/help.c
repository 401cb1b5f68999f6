#include "worker/cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "worker/cli/print.h"

enum { SUMMARY_COLUMN = 26 };

size_t help_group_word(const struct command *group)
{
    return strcspn(group->words, " ");
}

static void print_summary(const struct command *command)
{
    if (command->hidden)
        return;
    print_line("  %-*s %s", SUMMARY_COLUMN, command->words, command->summary);
}

void help_group(const struct command *group)
{
    print_line("Usage: klaviyo-worker %.*s COMMAND …", (int)help_group_word(group), group->words);
    print_text("\n");
    for (const struct command *c = group; c->words; c++)
        print_summary(c);
    print_text("\nRun COMMAND --help for its options.\n");
}

void help_program(const struct command *const groups[], size_t n)
{
    print_text("Keeps customer segments complete and current in Klaviyo lists.\n\n"
               "Usage: klaviyo-worker COMMAND …\n\n");
    for (size_t i = 0; i < n; i++)
        for (const struct command *c = groups[i]; c->words; c++)
            print_summary(c);
    print_text("\nRun COMMAND --help for its options. `run --help` lists the settings, which are\n"
               "environment variables; `--env-file FILE` before COMMAND reads them from a file;\n"
               "`--version` prints versions.\n"
               "Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later.\n");
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
    print_line("  %-*s %s%s", SUMMARY_COLUMN, name, option->help, nature_of(option));
}

static void print_usage(const struct command *command)
{
    int first = (toupper)((unsigned char)*command->summary);

    print_line("Usage: klaviyo-worker %s%s%s%s", command->words, *command->operands ? " " : "",
               command->operands, command->options ? " [OPTION…]" : "");
    print_text("\n");
    print_line("%c%s.", first, command->summary + 1);
    if (command->details) {
        print_text("\n");
        print_text(command->details);
        print_text("\n");
    }
    if (command->who) {
        print_text("\n");
        print_line("Requires role %s.", command->who);
    }
}

void help_command(const struct command *command)
{
    print_usage(command);
    if (command->options)
        print_text("\nOptions:\n");
    for (const struct option_spec *o = command->options; o && o->name; o++)
        print_option(o);
    if (command->print_details)
        command->print_details();
}
