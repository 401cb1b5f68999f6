/* A member: the address in the first line, then a line for each of three mapped fields. */
#include <assert.h>

#include "tests/fuzz/fuzz_input.h"
#include "worker/export/address.h"
#include "worker/export/mapping.h"
#include "worker/ingest/json_text.h"

enum { FIELDS = 3, OBJECT_MAX_BYTES = 1 << 24 };

static struct mapping *new_mapping(void)
{
    static char first_name[] = "first_name", city[] = "location.city";
    static char tier[] = "tier \"of\" \x01 customers";
    static const struct export_field fields[FIELDS] = {
        { .name = first_name },
        { .name = city },
        { .is_property = true, .name = tier },
    };

    return mapping_new(fields, FIELDS);
}

/* Values are what PostgreSQL gives: JSON without blanks around it, or null. */
static bool is_json(struct bytes line)
{
    size_t where = 0;

    return line.n > 0 && json_text_check(line, &where) && json_text_trim(line).n == line.n;
}

static void must_be_a_profile(const struct strbuf *out, struct bytes address)
{
    struct bytes text = { out->data, out->len };
    size_t n = 0;
    size_t where = 0;
    const char *found = mapping_address(out->data, out->len, &n);
    struct bytes email;

    if (out->len <= JSON_TEXT_MAX_BYTES)
        assert(json_text_check(text, &where));
    email = json_text_member(json_text_member(text, "attributes"), "email");
    assert(email.n == address.n + 2 && memcmp(email.at + 1, address.at, address.n) == 0);
    assert(n == address.n && memcmp(found, address.at, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    struct bytes address = fuzz_line(&input);
    struct bytes values[FIELDS] = { { NULL, 0 } };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(OBJECT_MAX_BYTES);
    struct mapping *mapping = NULL;

    if (address_check(address.at, address.n) != ADDRESS_FINE)
        return 0;
    assert(address.n <= ADDRESS_MAX);
    for (size_t i = 0; i < FIELDS; i++) {
        struct bytes line = fuzz_line(&input);

        if (is_json(line))
            values[i] = (struct bytes){ line.at, line.n };
    }
    mapping = new_mapping();
    assert(mapping);
    mapping_add(mapping, &out, address.at, address.n, values);
    must_be_a_profile(&out, address);
    mapping_free(mapping);
    return 0;
}
