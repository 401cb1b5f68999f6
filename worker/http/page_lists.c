#include "worker/http/page_lists.h"

static json_t *parse(const char *text, const char *otherwise)
{
    return json_loads(text ? text : otherwise, 0, NULL);
}

bool page_lists_parse(struct page_lists *lists, const struct overview_lists *texts,
                      struct error *err)
{
    *lists = (struct page_lists){ .runs = parse(texts->runs, "[]"),
                                  .exports = parse(texts->exports, "[]"),
                                  .report = parse(texts->report, "{}") };
    return (lists->runs && lists->exports && lists->report) ||
           error_set(err, ERROR_RETRY, "what the database listed could not be understood");
}

void page_lists_release(struct page_lists *lists)
{
    json_decref(lists->runs);
    json_decref(lists->exports);
    json_decref(lists->report);
    *lists = (struct page_lists){ .runs = NULL };
}
