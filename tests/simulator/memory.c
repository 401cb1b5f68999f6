#include "tests/simulator/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void give_up(void)
{
    (void)fputs("klaviyo-simulator: out of memory\n", stderr);
    abort();
}

void *memory_new(size_t n)
{
    void *block = calloc(1, n ? n : 1);

    if (!block)
        give_up();
    return block;
}

void *memory_raw(size_t n)
{
    void *block = malloc(n ? n : 1);

    if (!block)
        give_up();
    return block;
}

void *memory_grow(void *old, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return old;

    size_t bigger = *cap ? *cap : 8;
    while (bigger < need)
        bigger *= 2;

    char *block = reallocarray(old, bigger, size);
    if (!block)
        give_up();
    memset(block + *cap * size, 0, (bigger - *cap) * size);
    *cap = bigger;
    return block;
}

char *memory_text(const char *text, size_t n)
{
    char *copy = memory_raw(n + 1);

    if (n > 0)
        memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

char *memory_string(const char *text)
{
    return text ? memory_text(text, strlen(text)) : NULL;
}
