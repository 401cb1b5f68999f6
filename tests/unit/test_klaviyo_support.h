#ifndef TESTS_UNIT_TEST_KLAVIYO_SUPPORT_H
#define TESTS_UNIT_TEST_KLAVIYO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "worker/klaviyo/response.h"

/*
 * Answers as a test writes them down: status, content type and a body, which is
 * text or the name of a file in schemas/klaviyo/answers.
 */
enum { EXAMPLE_MAX_BYTES = 64 * 1024 };

UNUSED static char *read_example(const char *name)
{
    char path[512];
    char *text = calloc(1, EXAMPLE_MAX_BYTES);

    (void)snprintf(path, sizeof path, SOURCE_DIR "/schemas/klaviyo/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(text);
    size_t n = fread(text, 1, EXAMPLE_MAX_BYTES - 1, file);
    assert_true(n > 0);
    assert_int_equal(fclose(file), 0);
    return text;
}

UNUSED static struct response answer_of(enum endpoint endpoint, int status, const char *body)
{
    struct response response = { .endpoint = endpoint,
                                 .transport = TRANSPORT_ANSWERED,
                                 .status = status,
                                 .content_type = strdup("application/vnd.api+json"),
                                 .body = body ? strdup(body) : NULL,
                                 .body_bytes = body ? strlen(body) : 0 };

    return response;
}

UNUSED static struct response answer_from(enum endpoint endpoint, int status, const char *example)
{
    char *body = read_example(example);
    struct response response = answer_of(endpoint, status, body);

    free(body);
    return response;
}

#endif
