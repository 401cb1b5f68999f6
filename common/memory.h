#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

/*
 * Out of memory.
 *
 * The rule: a function says so with error_no_memory(), and its caller tries
 * again later. A few bytes whose function has no way to fail (a callback of
 * librdkafka, a note of what has happened already) are needed: without them the
 * process ends by abort(), as librdkafka's own does, and what it was about is
 * taken up again after its restart. Any thread.
 */
_Noreturn void memory_exhausted(void);

/* The memory; never NULL. */
void *memory_needed(void *memory) __attribute__((returns_nonnull));

#endif
