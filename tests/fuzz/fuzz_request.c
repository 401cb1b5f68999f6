/* What goes into a request to Klaviyo: an id, a parameter, a link of Klaviyo's, a header, each a
 * line. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/klaviyo/header.h"
#include "worker/klaviyo/url.h"

static const char base_url[] = "https://a.klaviyo.com";

static bool has_step_up(const char *url, size_t n)
{
    for (size_t i = 0; i + 3 <= n; i++)
        if (strncmp(url + i, "/..", 3) == 0 && (i + 3 == n || url[i + 3] == '/'))
            return true;
    return false;
}

static void must_lead_to_klaviyo(const char *url, enum endpoint endpoint)
{
    struct endpoint_path path = endpoint_path(endpoint);

    assert(strncmp(url, base_url, sizeof base_url - 1) == 0);
    assert(strncmp(url + sizeof base_url - 1, path.before, strlen(path.before)) == 0);
    assert(!has_step_up(url, strcspn(url, "?")));
    for (; *url; url++)
        assert(*url > ' ' && *url <= '~');
}

static void make_url(enum endpoint endpoint, const char *id, const char *value, const char *link)
{
    struct request request = { .endpoint = endpoint,
                               .id = endpoint_path(endpoint).after ? id : NULL };
    struct error err = ERROR_INIT;
    char *url = NULL;

    request.query[0] = (struct request_parameter){ "filter", value };
    request.link = link[0] ? link : NULL;
    if (!url_make(base_url, &request, &url, &err)) {
        assert(err.text[0] != '\0');
        return;
    }
    must_lead_to_klaviyo(url, endpoint);
    free(url);
}

static void make_header(const char *value)
{
    char header[256];

    if (!header_format(header, sizeof header, "x-name", value)) {
        assert(header[0] == '\0');
        return;
    }
    for (const char *at = header; *at; at++)
        assert(*at >= ' ' && *at <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    char *id = fuzz_text(fuzz_line(&input));
    char *value = fuzz_text(fuzz_line(&input));
    char *link = fuzz_text(fuzz_line(&input));
    char *header = fuzz_text((struct bytes){ input.at, input.n });

    for (int endpoint = 0; id[0] && endpoint < ENDPOINT_COUNT; endpoint++)
        make_url((enum endpoint)endpoint, id, value, link);
    make_header(header);
    free(id);
    free(value);
    free(link);
    free(header);
    return 0;
}
