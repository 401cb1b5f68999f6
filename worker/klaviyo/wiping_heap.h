#ifndef WORKER_KLAVIYO_WIPING_HEAP_H
#define WORKER_KLAVIYO_WIPING_HEAP_H

#include <stddef.h>

/*
 * The heap as libcurl uses it: what is freed is wiped first, since libcurl
 * builds requests in buffers of its own and the API key is in each of them.
 * The functions have the contracts of their namesakes in the C library, whose
 * memory they hand out, so that free() may free it as well.
 */
void wiping_free(void *memory);
void *wiping_realloc(void *memory, size_t size);

#endif
