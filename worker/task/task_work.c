#include "worker/task/task_work.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/json.h"
#include "common/wakeup.h"
#include "worker/task/task_kind.h"

struct task_work {
    struct task_context context;
    const struct task *task;
    pthread_t thread;
    int stop_fd, wakeup_fd;
    atomic_bool ended;
    bool ok; /* these three of the thread until it has ended */
    char *answer;
    struct error why;

    pthread_mutex_t lock;
    char *progress; /* under the lock */
};

static void note_progress(void *opaque, const json_t *progress)
{
    struct task_work *work = opaque;
    char *text = json_dumps(progress, 0);

    (void)pthread_mutex_lock(&work->lock);
    free(work->progress);
    work->progress = text;
    (void)pthread_mutex_unlock(&work->lock);
    wakeup_signal(work->wakeup_fd);
}

bool task_work_has_progress(struct task_work *work)
{
    (void)pthread_mutex_lock(&work->lock);
    bool has = work->progress != NULL;
    (void)pthread_mutex_unlock(&work->lock);
    return has;
}

char *task_work_take_progress(struct task_work *work)
{
    (void)pthread_mutex_lock(&work->lock);
    char *text = work->progress;
    work->progress = NULL;
    (void)pthread_mutex_unlock(&work->lock);
    return text;
}

static bool keep_answer(struct task_work *work, const json_t *answer, struct error *err)
{
    work->answer = json_dumps(answer, 0);
    return work->answer || error_no_memory(err);
}

static bool do_task(struct task_work *work, struct error *err)
{
    const struct db_options how = { .url = work->context.settings->database_url,
                                    .name = "klaviyo-worker task",
                                    .service = true,
                                    .stop_fd = &work->stop_fd };
    CLEANUP(json_freep) json_t *arguments = json_loads(work->task->arguments, 0, NULL);
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(db_freep) struct db *db = NULL;
    const struct task_kind *kind = task_kind_find(work->task->kind);

    assert(kind); /* others are not taken */
    if (!arguments)
        return error_no_memory(err);
    if (!db_open(&db, &how, err))
        return false;
    work->context.db = db;
    return kind->run(&work->context, arguments, &answer, err) && keep_answer(work, answer, err);
}

static void *work_main(void *argument)
{
    struct task_work *work = argument;

    work->ok = do_task(work, &work->why);
    atomic_store(&work->ended, true);
    wakeup_signal(work->wakeup_fd);
    return NULL;
}

static void release(struct task_work *work)
{
    if (work->stop_fd >= 0)
        (void)close(work->stop_fd);
    (void)pthread_mutex_destroy(&work->lock);
    free(work->answer);
    free(work->progress);
    free(work);
}

struct task_work *task_work_start(const struct task_context *context, const struct task *task,
                                  int wakeup_fd, struct error *err)
{
    struct task_work *work = calloc(1, sizeof *work);

    if (!work) {
        (void)error_no_memory(err);
        return NULL;
    }
    work->context = *context;
    work->context.stop_fd = &work->stop_fd;
    work->context.opaque = work;
    work->context.note = note_progress;
    work->context.task = task;
    work->task = task;
    work->wakeup_fd = wakeup_fd;
    (void)pthread_mutex_init(&work->lock, NULL);
    work->stop_fd = wakeup_open(err);
    if (work->stop_fd >= 0 && pthread_create(&work->thread, NULL, work_main, work) == 0)
        return work;
    if (work->stop_fd >= 0)
        (void)error_set(err, ERROR_RETRY, "no thread for a task");
    release(work);
    return NULL;
}

bool task_work_has_ended(const struct task_work *work)
{
    return atomic_load(&work->ended);
}

void task_work_stop(struct task_work *work)
{
    wakeup_signal(work->stop_fd);
}

bool task_work_answer(const struct task_work *work, const char **answer, struct error *err)
{
    assert(task_work_has_ended(work));
    if (!work->ok) {
        *err = work->why;
        return false;
    }
    *answer = work->answer;
    return true;
}

void task_work_free(struct task_work *work)
{
    if (!work)
        return;
    task_work_stop(work);
    (void)pthread_join(work->thread, NULL);
    release(work);
}
