#include <string.h>

#include "tests/simulator/page.h"
#include "tests/simulator/resource.h"

void call_accounts(struct call *call)
{
    bool one = call->operation == OP_ACCOUNT;

    if (one && strcmp(call->id, call->account->id) != 0) {
        answer_error(call->answer, 404, "not_found", "Not found.", "/data",
                     "Account with id %s not found.", call->id);
        return;
    }
    struct strbuf *out = answer_document(call->answer, 200);
    strbuf_add_str(out, one ? "{\"data\":" : "{\"data\":[");
    resource_account(call, out, call->account);
    strbuf_add_str(out, one ? "," : "],");
    page_add_self(out, call->request);
    strbuf_add_str(out, "}");
}

void call_usage(struct call *call)
{
    struct strbuf *out = answer_document(call->answer, 200);

    strbuf_add_str(out, "{\"data\":[");
    resource_usage(call, out, call->account);
    strbuf_add_str(out, "],");
    page_add_links(out, call->request, false, 0, 0);
    strbuf_add_str(out, "}");
}

bool call_allows(struct call *call, const char *const *allowed)
{
    const struct request *request = call->request;

    for (size_t i = 0; i < request->n_args; i++) {
        size_t k = 0;

        while (allowed[k] && strcmp(allowed[k], request->args[i].name) != 0)
            k++;
        if (allowed[k])
            continue;
        answer_bad_parameter(call->answer, request->args[i].name, "'%s' is not a valid parameter.",
                             request->args[i].name);
        return false;
    }
    return true;
}
