#include "worker/task/task_context.h"

#include <poll.h>

#include "common/json.h"

bool task_is_stopped(const struct task_context *context)
{
    struct pollfd fd = { .fd = context->stop_fd ? *context->stop_fd : -1, .events = POLLIN };

    return fd.fd >= 0 && poll(&fd, 1, 0) > 0;
}

bool task_progress(const struct task_context *context, const char *doing, int64_t n, int64_t of,
                   struct error *err)
{
    if (context->note) {
        CLEANUP(json_freep)
        json_t *progress =
            json_pack("{s:s, s:I, s:I}", "doing", doing, "n", (json_int_t)n, "of", (json_int_t)of);
        context->note(context->opaque, progress);
    }
    return !task_is_stopped(context) || error_set(err, ERROR_LOST, "the task was stopped");
}
