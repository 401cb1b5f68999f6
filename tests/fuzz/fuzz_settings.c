/* What a person writes into a setting or a file of settings. */
#include <assert.h>
#include <stdio.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base_url.h"
#include "common/parse.h"
#include "tests/fuzz/fuzz_input.h"
#include "worker/kafka/properties.h"
#include "worker/store/database_url.h"

static void must_say_nothing_of(const struct error *err, const char *text)
{
    assert(err->text[0] != '\0');
    if (strlen(text) >= 24)
        assert(!strstr(err->text, text));
}

static void read_properties(const char *text, size_t n)
{
    char path[64];
    struct properties properties = PROPERTIES_INIT;
    struct error err = ERROR_INIT;
    int file = memfd_create("properties", MFD_CLOEXEC);

    assert(file >= 0 && write(file, text, n) == (ssize_t)n);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (properties_load(&properties, path, &err)) {
        for (size_t i = 0; i < properties.n; i++)
            assert(properties.items[i].name[0] && properties.items[i].line > 0);
        (void)properties_digest(&properties);
    } else {
        must_say_nothing_of(&err, text);
    }
    properties_release(&properties);
    (void)close(file);
}

static void check_urls(const char *text)
{
    struct error err = ERROR_INIT;

    if (base_url_check(text, false, &err))
        assert(strncasecmp(text, "https://", 8) == 0 || base_url_is_loopback(text));
    err = ERROR_INIT;
    if (!database_url_check(text, &err))
        must_say_nothing_of(&err, text);
}

static void parse_texts(const char *text, size_t n)
{
    int64_t number = 0;

    (void)!parse_rfc3339(text, n, &number);
    if (parse_int64(text, -5, 5, &number))
        assert(number >= -5 && number <= 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text((struct bytes){ (const char *)data, size });

    read_properties(text, size);
    check_urls(text);
    parse_texts(text, size);
    free(text);
    return 0;
}
