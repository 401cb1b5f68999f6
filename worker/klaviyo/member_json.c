#include "worker/klaviyo/member_json.h"

#include "common/huge_numbers.h"

json_t *member_json_load(struct bytes text)
{
    CLEANUP(strbuf_release) struct strbuf quoted = STRBUF_INIT(2 * text.n);
    json_t *root = json_loadb(text.at, text.n, 0, NULL);

    if (root)
        return root;
    quote_huge_numbers(text, &quoted);
    return quoted.data && strbuf_ok(&quoted) ? json_loadb(quoted.data, quoted.len, 0, NULL) : NULL;
}
