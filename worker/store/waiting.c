#include "worker/store/waiting.h"

#include <pthread.h>

#include "common/error.h"
#include "common/wakeup.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int fd = -1;

static void open_fd(void)
{
    struct error ignored = ERROR_INIT;

    fd = wakeup_open(&ignored);
}

int waiting_fd(void)
{
    (void)pthread_once(&once, open_fd);
    return fd;
}

void waiting_end(void)
{
    if (waiting_fd() >= 0)
        wakeup_signal(fd);
}
