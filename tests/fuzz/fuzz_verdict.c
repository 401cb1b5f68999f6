/* A response: endpoint and status, content type, Retry-After, each a line; then the body. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/klaviyo/account.h"
#include "worker/klaviyo/import_errors.h"
#include "worker/klaviyo/job_listing.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/usage.h"
#include "worker/klaviyo/verdict.h"

enum { ROWS = 10, DAY_MS = 86400000 };
static const int64_t now_us = 1800000000000000;

static void must_be_fit_for_a_log(const char *text, size_t size)
{
    assert(strlen(text) < size);
    for (; *text; text++)
        assert((unsigned char)*text >= ' ' && *text != 0x7f);
}

static void must_keep_its_promises(const struct verdict *verdict)
{
    char text[VERDICT_TEXT_BYTES];

    assert(verdict->retry_after_ms >= 0 && verdict->retry_after_ms <= DAY_MS);
    for (size_t i = 0; i < verdict->n_rows; i++) {
        assert(verdict->rows[i].row < ROWS && verdict->rows[i].code && verdict->rows[i].detail);
        assert(i == 0 || verdict->rows[i].row > verdict->rows[i - 1].row);
    }
    if (verdict->action == VERDICT_ROWS_REFUSED)
        assert(verdict->n_rows > 0);
    if (verdict->action == VERDICT_ACCEPTED)
        assert(verdict->job.id[0] && strlen(verdict->job.id) < IMPORT_JOB_ID_BYTES);
    verdict_text(verdict, text);
    must_be_fit_for_a_log(text, sizeof text);
}

static void read_page(const struct response *response)
{
    struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    struct error err = ERROR_INIT;

    if (!import_error_page_parse(response, &page, &err))
        return;
    for (size_t i = 0; i < page.n; i++)
        assert(page.errors[i].row >= -1 && page.errors[i].code && page.errors[i].detail);
    import_error_page_release(&page);
}

static void read_jobs(const struct response *response)
{
    struct job_listing listing = JOB_LISTING_INIT;
    struct import_job job = { .status = IMPORT_JOB_UNKNOWN };
    struct error err = ERROR_INIT;

    if (import_job_parse(response, &job, &err))
        assert(job.id[0] && job.failed >= IMPORT_JOB_NOT_COUNTED);
    if (!job_listing_parse(response, &listing, &err))
        return;
    for (size_t i = 0; i < listing.n; i++)
        assert(job_listing_find(&listing, listing.jobs[i].id));
    job_listing_release(&listing);
}

static void read_documents(const struct response *response)
{
    struct usage usage = { .n = 0 };
    struct klaviyo_list list = { .id = "" };
    struct account account = { .id = "" };
    struct error err = ERROR_INIT;

    if (usage_parse(response, &usage, &err))
        assert(usage.n <= USAGE_MAX_ROWS);
    if (klaviyo_list_parse(response, &list, &err))
        assert(list.id[0]);
    if (account_parse(response, &account, &err))
        assert(account.id[0]);
}

static struct response response_of(struct fuzz_input *input)
{
    struct bytes line = fuzz_line(input);
    struct response response = { .transport = TRANSPORT_ANSWERED };
    unsigned number = 0;

    for (size_t i = 0; i < line.n && i < 6; i++)
        number = number * 10 + (unsigned char)line.at[i] % 10;
    response.endpoint = (enum endpoint)(number / 1000 % ENDPOINT_COUNT);
    response.status = (int)(number % 1000);
    response.content_type = fuzz_text(fuzz_line(input));
    response.retry_after = fuzz_text(fuzz_line(input));
    response.body = fuzz_text((struct bytes){ input->at, input->n });
    response.body_bytes = input->n;
    return response;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    struct response response = response_of(&input);
    struct verdict verdict = VERDICT_INIT;
    struct error err = ERROR_INIT;

    if (verdict_judge(&response, ROWS, now_us, &verdict, &err)) {
        must_keep_its_promises(&verdict);
        verdict_release(&verdict);
    }
    read_page(&response);
    read_jobs(&response);
    read_documents(&response);
    response_release(&response);
    return 0;
}
