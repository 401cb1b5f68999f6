#include "common/memory.h"

#include <stdlib.h>
#include <unistd.h>

void memory_exhausted(void)
{
    static const char text[] = "out of memory for a few bytes: the process ends\n";

    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    abort();
}

void *memory_needed(void *memory)
{
    if (!memory)
        memory_exhausted();
    return memory;
}
