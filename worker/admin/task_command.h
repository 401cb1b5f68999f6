#ifndef WORKER_ADMIN_TASK_COMMAND_H
#define WORKER_ADMIN_TASK_COMMAND_H

#include <jansson.h>

#include "worker/cli/command.h"

/*
 * A command that is a task (worker/task/task_kind.h): asks for it, shows how far
 * it is, and brings its answer.
 *
 * A worker does it. It is done on the spot with --direct, and where no worker is
 * there but the user has the workers' rights and the key; else that is ERROR_RETRY
 * after a few seconds. Ctrl-C drops it, and so does the end of the terminal; what nobody
 * has asked for within two minutes is begun by no worker.
 */
struct task_question {
    const char *kind;  /* the words of the command */
    const char *name;  /* of the connection or export */
    json_t *arguments; /* an object, lent; NULL: none */
    bool direct;
};

/* *answer is the caller's. ERROR_INPUT: there is no such connection or export, … */
bool task_ask(struct context *context, const struct task_question *question, json_t **answer,
              struct error *err) MUST_USE;

#define OPTION_DIRECT                                                                             \
    {                                                                                             \
        "--direct", OPTION_FLAG, false, NULL,                                                     \
            "do it here, not in a worker: needs the rights of klaviyo_worker and SECRET_KEY_FILE" \
    }

/* For --help of such a command. */
#define TASK_DETAILS                                                                        \
    "A worker (klaviyo-worker run) does it. Without a worker it is done here if you have\n" \
    "the rights of klaviyo_worker and SECRET_KEY_FILE; else it ends after some seconds (75)."

#endif
