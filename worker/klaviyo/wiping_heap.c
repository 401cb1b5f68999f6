#include "worker/klaviyo/wiping_heap.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void wiping_free(void *memory)
{
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

/* Never in place: the C library's own would leave the old bytes where they were. */
void *wiping_realloc(void *memory, size_t size)
{
    size_t old = memory ? malloc_usable_size(memory) : 0;

    if (old >= size && size > old / 2)
        return memory;
    void *moved = malloc(size > 0 ? size : 1);
    if (!moved)
        return NULL;
    if (memory)
        memcpy(moved, memory, old < size ? old : size);
    wiping_free(memory);
    return moved;
}
