#include "worker/cli/confirm.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "worker/cli/print.h"

enum { ANSWER_BYTES = 64 };

static bool is_yes(char *answer)
{
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcasecmp(answer, "yes") == 0 || strcasecmp(answer, "y") == 0;
}

bool confirm(const struct arguments *arguments, const char *question, struct error *err)
{
    char answer[ANSWER_BYTES];

    if (arguments_flag(arguments, "--yes") || !isatty(STDIN_FILENO))
        return true;
    print_prompt(question);
    print_prompt(" [yes/no] ");
    if (fgets(answer, sizeof answer, stdin) && is_yes(answer))
        return true;
    return error_set(err, ERROR_INPUT, "not confirmed: nothing was done");
}
