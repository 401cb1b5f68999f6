#include "worker/admin/task_command.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/wakeup.h"
#include "worker/cli/print.h"
#include "worker/klaviyo/client.h"
#include "worker/store/connections.h"
#include "worker/store/exports.h"
#include "worker/store/tasks.h"
#include "worker/task/task_kind.h"

enum {
    LOOK_EVERY_MS = 250,      /* where no notification comes through */
    UNSERVED_MS = 10000,      /* without a worker that would do it */
    DATABASE_AWAY_MS = 60000, /* that long it is waited for */
};

/* -- Ctrl-C, and the end of the terminal -- */

static int interrupt_fd = -1;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    wakeup_signal(interrupt_fd);
}

/* A hang-up that whoever started us ignores (nohup) stays ignored. */
static void catch_hang_up(const struct sigaction *action)
{
    struct sigaction now;

    if (sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
        (void)sigaction(SIGHUP, action, NULL);
}

/* From now on they are to be read from interrupt_fd. */
static bool catch_interrupts(struct error *err)
{
    struct sigaction action = { .sa_handler = on_interrupt };

    if (interrupt_fd >= 0)
        return true;
    interrupt_fd = wakeup_open(err);
    if (interrupt_fd < 0)
        return false;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    catch_hang_up(&action);
    return true;
}

static bool is_interrupted(void)
{
    struct pollfd fd = { .fd = interrupt_fd, .events = POLLIN };

    return poll(&fd, 1, 0) > 0;
}

static bool interrupted(const struct task_question *question, struct error *err)
{
    const struct task_kind *kind = task_kind_find(question->kind);

    return error_set(err, ERROR_INPUT, "interrupted: the task was dropped%s",
                     kind && kind->begins_run ? "; a run that it had begun goes on: runs list "
                                                "shows it, runs cancel ends it"
                                              : "");
}

/* -- progress -- */

static void show_progress(void *unused, const json_t *progress)
{
    const char *doing = json_string_value(json_object_get(progress, "doing"));
    json_int_t n = json_integer_value(json_object_get(progress, "n"));
    json_int_t of = json_integer_value(json_object_get(progress, "of"));
    char line[256];

    (void)unused;
    if (!doing)
        return;
    if (of > 0)
        (void)snprintf(line, sizeof line, "%s: %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT,
                       doing, n, of);
    else if (n > 0)
        (void)snprintf(line, sizeof line, "%s: %" JSON_INTEGER_FORMAT, doing, n);
    else
        (void)snprintf(line, sizeof line, "%s", doing);
    print_status(line);
}

/* -- on the spot -- */

static json_t *direct_arguments(const struct task_question *question)
{
    json_t *arguments = question->arguments ? json_copy(question->arguments) : json_object();

    (void)json_object_set_new(arguments, "name", json_string(question->name));
    (void)json_object_set_new(arguments, "whole", json_true());
    return arguments;
}

static bool run_kind(struct context *context, const struct task_question *question,
                     const struct seal_pair *pair, const char *no_pair, json_t **answer,
                     struct error *err)
{
    CLEANUP(json_freep) json_t *arguments = direct_arguments(question);
    struct run_control control = { 0 };
    struct run_metrics run_metrics = { 0 };
    const struct task_context how = { .settings = context->settings,
                                      .pair = pair,
                                      .no_pair = no_pair,
                                      .worker = "a command",
                                      .control = &control,
                                      .run_metrics = &run_metrics,
                                      .db = context->db,
                                      .stop_fd = &interrupt_fd,
                                      .note = show_progress };
    const struct task_kind *kind = task_kind_find(question->kind);

    assert(kind);
    if (!arguments)
        return error_no_memory(err);
    bool ok = kind->run(&how, arguments, answer, err);
    print_status("");
    return ok || (is_interrupted() ? interrupted(question, err) : false);
}

/* SECRET_KEY_FILE, read once: it may be a pipe. */
struct key {
    const char *path; /* empty: none is set */
    struct seal_pair pair;
    bool opened;
    struct error why; /* it was not */
};

static void key_open(struct key *key, const char *path)
{
    *key = (struct key){ .path = path, .pair = SEAL_PAIR_INIT, .why = ERROR_INIT };
    key->opened = *path && seal_pair_load(&key->pair, path, &key->why);
}

static void key_release(struct key *key)
{
    seal_pair_release(&key->pair);
}

/* A key file that cannot be read matters only to what needs it. */
static bool do_it_here(struct context *context, const struct task_question *question,
                       const struct key *key, json_t **answer, struct error *err)
{
    if (key->opened && secret_file_exposed(key->path))
        warn_user("every user of this host can read the key file %s: chmod 600 it", key->path);
    if (!client_library_init(err))
        return false;
    bool ok = run_kind(context, question, key->opened ? &key->pair : NULL,
                       *key->path ? key->why.text : NULL, answer, err);
    client_library_release();
    return ok;
}

/* -- by a worker -- */

static bool missing(struct context *context, const struct task_question *question,
                    struct error *err)
{
    return strncmp(question->kind, "connection", strlen("connection")) == 0
               ? connections_missing(context->db, question->name, err)
               : exports_missing(context->db, question->name, err);
}

static bool add_task(struct context *context, const struct task_question *question,
                     int64_t *task_id, struct error *err)
{
    char *arguments = question->arguments ? json_dumps(question->arguments, 0) : strdup("{}");
    bool ok = arguments
                  ? tasks_add(context->db, question->kind, question->name, arguments, task_id, err)
                  : error_no_memory(err);

    free(arguments);
    return ok && (*task_id != 0 || missing(context, question, err));
}

enum look {
    LOOK_AGAIN,
    LOOK_ANSWERED,
    LOOK_FAILED, /* err says why */
    LOOK_UNSERVED,
};

/* A task that is waited for. */
struct wait {
    struct context *context;
    const struct task_question *question;
    int64_t task_id;
    int64_t served_ms;   /* when a worker was last there for it */
    int64_t database_ms; /* when the database was */
};

static enum look look_failed(const json_t *seen, struct error *err)
{
    const char *why = json_string_value(json_object_get(seen, "error"));

    (void)error_set(err, json_is_true(json_object_get(seen, "again")) ? ERROR_RETRY : ERROR_INPUT,
                    "%s", why ? why : "the task was dropped");
    return LOOK_FAILED;
}

static enum look judge(struct wait *wait, const json_t *seen, json_t **answer, struct error *err)
{
    const char *state = json_string_value(json_object_get(seen, "state"));

    if (strcmp(state, "done") == 0) {
        *answer = json_incref(json_object_get(seen, "answer"));
        return LOOK_ANSWERED;
    }
    if (strcmp(state, "waiting") != 0 && strcmp(state, "running") != 0)
        return look_failed(seen, err);
    if (strcmp(state, "running") == 0)
        show_progress(NULL, json_object_get(seen, "progress"));
    else if (json_integer_value(json_object_get(seen, "before")) > 0)
        print_status("waiting for tasks that were asked for before");
    else
        print_status("waiting for a worker");
    if (strcmp(state, "running") == 0 || json_is_true(json_object_get(seen, "served")))
        wait->served_ms = clock_ms();
    return clock_ms() - wait->served_ms > UNSERVED_MS ? LOOK_UNSERVED : LOOK_AGAIN;
}

static enum look look(struct wait *wait, json_t **answer, struct error *err)
{
    struct error why = ERROR_INIT;
    char *text = NULL;

    if (!db_ready(wait->context->db, &why) ||
        !tasks_look(wait->context->db, wait->task_id, &text, &why)) {
        if (why.kind == ERROR_RETRY && clock_ms() - wait->database_ms < DATABASE_AWAY_MS)
            return LOOK_AGAIN;
        *err = why;
        return LOOK_FAILED;
    }
    wait->database_ms = clock_ms();
    CLEANUP(json_freep) json_t *seen = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    free(text);
    if (seen)
        return judge(wait, seen, answer, err);
    (void)error_set(
        err, ERROR_RETRY,
        "the task is gone: its connection was removed, a person in it was forgotten, or "
        "the database was set back: ask again");
    return LOOK_FAILED;
}

static void rest(struct context *context)
{
    struct pollfd fds[] = { { .fd = db_socket(context->db), .events = POLLIN },
                            { .fd = interrupt_fd, .events = POLLIN } };

    (void)poll(fds, 2, LOOK_EVERY_MS);
    if (fds[0].revents)
        (void)db_notified(context->db);
}

static enum look wait_for(struct wait *wait, json_t **answer, struct error *err)
{
    enum look what = LOOK_AGAIN;

    while (what == LOOK_AGAIN) {
        if (is_interrupted()) {
            (void)interrupted(wait->question, err);
            return LOOK_FAILED;
        }
        what = look(wait, answer, err);
        if (what == LOOK_AGAIN)
            rest(wait->context);
    }
    return what;
}

/* An answer may hold values of members: it is not left behind. */
static enum look ask_a_worker(struct context *context, const struct task_question *question,
                              json_t **answer, struct error *err)
{
    struct wait wait = {
        .context = context, .question = question, .served_ms = clock_ms(), .database_ms = clock_ms()
    };
    struct error ignored = ERROR_INIT;

    (void)!db_listen(context->db, DB_CHANNEL_TASKS, &ignored);
    if (!add_task(context, question, &wait.task_id, err))
        return LOOK_FAILED;
    enum look what = wait_for(&wait, answer, err);
    print_status("");
    if (db_ready(context->db, &ignored))
        (void)!tasks_drop(context->db, wait.task_id, &ignored);
    return what;
}

static bool ask(struct context *context, const struct task_question *question,
                const struct key *key, json_t **answer, struct error *err)
{
    struct task_standing standing;

    if (question->direct)
        return do_it_here(context, question, key, answer, err);
    if (!tasks_standing(context->db, question->kind, &standing, err))
        return false;
    bool may_do = standing.may_do && key->opened;
    if (may_do && !(standing.may_ask && standing.served))
        return do_it_here(context, question, key, answer, err);
    switch (ask_a_worker(context, question, answer, err)) {
    case LOOK_ANSWERED:
        return true;
    case LOOK_AGAIN:
    case LOOK_FAILED:
        return false;
    case LOOK_UNSERVED:
        break;
    }
    if (may_do)
        return do_it_here(context, question, key, answer, err);
    return error_set(
        err, ERROR_RETRY,
        "no worker took the task within %d s: start klaviyo-worker run with the key file for "
        "this connection, or use --direct with SECRET_KEY_FILE and role klaviyo_worker",
        UNSERVED_MS / 1000);
}

bool task_ask(struct context *context, const struct task_question *question, json_t **answer,
              struct error *err)
{
    CLEANUP(key_release) struct key key = { .pair = SEAL_PAIR_INIT };

    key_open(&key, context->settings->secret_key_file);
    return catch_interrupts(err) && ask(context, question, &key, answer, err);
}
