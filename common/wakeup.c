#include "common/wakeup.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int wakeup_open(struct error *err)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0)
        error_errno(err, ERROR_FATAL, "opening a wake-up descriptor");
    return fd;
}

void wakeup_signal(int fd)
{
    const uint64_t one = 1;
    int kept = errno;

    (void)!write(fd, &one, sizeof one); /* full: it has been signalled */
    errno = kept;
}

bool wakeup_clear(int fd)
{
    uint64_t times;

    return read(fd, &times, sizeof times) == sizeof times;
}
