#include "tests/simulator/import.h"

#include <stdlib.h>
#include <string.h>

#include "tests/simulator/address.h"
#include "tests/simulator/index.h"
#include "tests/simulator/memory.h"
#include "tests/simulator/scan.h"

#define TEXT_MAX ((size_t)16 * 1024 * 1024)

/* The pass over one body. */
struct pass {
    struct import *import;
    const struct behaviour *behaviour;
    struct scan scan;
    const char *row_pointer; /* what the pointers of a single profile begin with; NULL: bulk */
};

/* Two pointer parts; what a message quotes of a name is cut by the buffer. */
#define QUOTED_MAX 100

static void quote(char *out, const struct scan_text *name)
{
    size_t n = name->n < QUOTED_MAX - 1 ? name->n : QUOTED_MAX - 1;

    memcpy(out, name->at, n);
    out[n] = '\0';
}

/* parent: "" or ends with a slash. */
static void unknown_member(struct pass *pass, int64_t row, const char *parent, const char *resource,
                           const struct scan_text *name)
{
    char quoted[QUOTED_MAX];
    CLEANUP(strbuf_release) struct strbuf pointer = STRBUF_INIT(512);

    quote(quoted, name);
    strbuf_addf(&pointer, "%s%s", parent, quoted);
    problems_add(&pass->import->problems, row, pointer.data,
                 "'%s' is not a valid field for the resource '%s'.", quoted, resource);
    scan_skip(&pass->scan);
}

static void wrong_type(struct pass *pass, int64_t row, const char *pointer, const char *wanted)
{
    problems_add(&pass->import->problems, row, pointer, "This field must be %s.", wanted);
    scan_skip(&pass->scan);
}

/* Enters the value, or notes that it has the wrong type and passes over it. */
static bool enter(struct pass *pass, enum scan_kind kind, int64_t row, const char *pointer)
{
    enum scan_kind found = scan_peek(&pass->scan);

    if (found == kind)
        return scan_open(&pass->scan, kind);
    wrong_type(pass, row, pointer, kind == SCAN_OBJECT ? "an object" : "an array");
    return false;
}

/* Reads a string that must equal `wanted`. */
static bool expect_word(struct pass *pass, int64_t row, const char *pointer, const char *wanted)
{
    struct scan_text text;

    if (scan_peek(&pass->scan) != SCAN_STRING) {
        wrong_type(pass, row, pointer, "a string");
        return false;
    }
    if (!scan_string(&pass->scan, &text))
        return false;
    if (!scan_text_is(&text, wanted))
        problems_add(&pass->import->problems, row, pointer, "Resource type must be '%s'.", wanted);
    return true;
}

/* Keeps a string, escapes resolved; null is the same as absent. */
static void keep_string(struct pass *pass, int64_t row, const char *pointer, struct span *span)
{
    struct strbuf *text = &pass->import->text;
    struct scan_text value;

    *span = (struct span){ 0 };
    if (scan_peek(&pass->scan) == SCAN_NULL) {
        scan_skip(&pass->scan);
        return;
    }
    if (scan_peek(&pass->scan) != SCAN_STRING) {
        wrong_type(pass, row, pointer, "a string");
        return;
    }
    if (!scan_string(&pass->scan, &value))
        return;
    span->at = (uint32_t)text->len;
    scan_text_decode(&value, text);
    span->n = (uint32_t)(text->len - span->at);
    strbuf_add(text, "", 1);
}

static void keep_email(struct pass *pass, int64_t row, struct import_row *out)
{
    struct strbuf *text = &pass->import->text;
    struct scan_text value;

    out->email = (struct span){ 0 };
    if (scan_peek(&pass->scan) != SCAN_STRING) {
        keep_string(pass, row, "attributes/email", &out->email);
        return;
    }
    if (!scan_string(&pass->scan, &value))
        return;
    out->email.at = (uint32_t)text->len;
    if (value.escaped) {
        CLEANUP(strbuf_release) struct strbuf plain = STRBUF_INIT(value.n);
        scan_text_decode(&value, &plain);
        address_normalise(plain.data ? plain.data : "", plain.len, text);
    } else {
        address_normalise(value.at, value.n, text);
    }
    out->email.n = (uint32_t)(text->len - out->email.at);
    strbuf_add(text, "", 1);
    out->email_hash = index_hash(text->data + out->email.at, out->email.n);
}

/*
 * The shape tells whether one import's row replaces an older one completely:
 * it does if both have the same members and no nulls.
 */
static void shape_add(struct import_row *row, bool *nulls, struct pass *pass,
                      const struct scan_text *name)
{
    uint64_t hash = row->shape;

    for (size_t i = 0; i < name->n; i++)
        hash = (hash ^ (unsigned char)name->at[i]) * 1099511628211U;
    row->shape = (hash ^ '"') * 1099511628211U;
    *nulls = *nulls || scan_peek(&pass->scan) == SCAN_NULL;
}

static bool is_location_member(const struct scan_text *name)
{
    static const char *const known[] = { "address1",  "address2", "city", "country",  "latitude",
                                         "longitude", "region",   "zip",  "timezone", "ip" };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (scan_text_is(name, known[i]))
            return true;
    return false;
}

/* A nested object whose members are merged one by one. */
static void inner_object(struct pass *pass, int64_t row, struct import_row *out, bool *nulls,
                         bool location)
{
    struct scan_text name;

    if (scan_peek(&pass->scan) == SCAN_NULL) {
        scan_skip(&pass->scan);
        return;
    }
    if (!enter(pass, SCAN_OBJECT, row, location ? "attributes/location" : "attributes/properties"))
        return;
    while (scan_member(&pass->scan, &name)) {
        shape_add(out, nulls, pass, &name);
        if (location && !is_location_member(&name))
            unknown_member(pass, row, "attributes/location/", "profile", &name);
        else
            scan_skip(&pass->scan);
    }
    out->shape ^= '}';
}

static bool is_plain_attribute(const struct scan_text *name)
{
    static const char *const known[] = { "first_name", "last_name", "organization", "locale",
                                         "title",      "image",     "_kx" };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (scan_text_is(name, known[i]))
            return true;
    return false;
}

static void plain_attribute(struct pass *pass, int64_t row, const struct scan_text *name)
{
    char quoted[QUOTED_MAX];
    enum scan_kind kind = scan_peek(&pass->scan);

    if (kind == SCAN_STRING || kind == SCAN_NULL) {
        scan_skip(&pass->scan);
        return;
    }
    CLEANUP(strbuf_release) struct strbuf pointer = STRBUF_INIT(512);
    quote(quoted, name);
    strbuf_addf(&pointer, "attributes/%s", quoted);
    wrong_type(pass, row, pointer.data, "a string");
}

static void attribute(struct pass *pass, int64_t row, struct import_row *out, bool *nulls,
                      const struct scan_text *name)
{
    shape_add(out, nulls, pass, name);
    if (scan_text_is(name, "email"))
        keep_email(pass, row, out);
    else if (scan_text_is(name, "properties"))
        inner_object(pass, row, out, nulls, false);
    else if (scan_text_is(name, "external_id"))
        keep_string(pass, row, "attributes/external_id", &out->external_id);
    else if (scan_text_is(name, "phone_number"))
        keep_string(pass, row, "attributes/phone_number", &out->phone);
    else if (scan_text_is(name, "location"))
        inner_object(pass, row, out, nulls, true);
    else if (is_plain_attribute(name))
        plain_attribute(pass, row, name);
    else
        unknown_member(pass, row, "attributes/", "profile", name);
}

static void attributes(struct pass *pass, int64_t row, struct import_row *out)
{
    struct scan_text name;
    bool nulls = false;

    if (!enter(pass, SCAN_OBJECT, row, "attributes"))
        return;
    const char *from = pass->scan.at - 1;
    out->shape = 14695981039346656037U;
    while (scan_member(&pass->scan, &name))
        attribute(pass, row, out, &nulls, &name);
    out->attributes = (struct span){ .at = (uint32_t)(from - pass->import->body),
                                     .n = (uint32_t)(pass->scan.at - from) };
    if (nulls)
        out->shape = 0;
}

/* A name or several, as they stand in the body. */
static void unset(struct pass *pass, int64_t row, struct import_row *out)
{
    static const char pointer[] = "meta/patch_properties/unset";
    struct scan_text name;
    enum scan_kind kind = scan_peek(&pass->scan);
    const char *from = pass->scan.at;

    if (kind == SCAN_STRING) {
        scan_skip(&pass->scan);
    } else if (enter(pass, SCAN_ARRAY, row, pointer)) {
        while (scan_element(&pass->scan))
            if (scan_peek(&pass->scan) != SCAN_STRING)
                wrong_type(pass, row, pointer, "a string");
            else if (!scan_string(&pass->scan, &name))
                return;
    }
    out->unset = (struct span){ .at = (uint32_t)(from - pass->import->body),
                                .n = (uint32_t)(pass->scan.at - from) };
}

static void patch_properties(struct pass *pass, int64_t row, struct import_row *out)
{
    struct scan_text name;

    if (!enter(pass, SCAN_OBJECT, row, "meta/patch_properties"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "unset"))
            unset(pass, row, out);
        else if (scan_text_is(&name, "append") || scan_text_is(&name, "unappend"))
            scan_skip(&pass->scan);
        else
            unknown_member(pass, row, "meta/patch_properties/", "profile", &name);
    }
}

static void meta(struct pass *pass, int64_t row, struct import_row *out)
{
    struct scan_text name;

    if (!enter(pass, SCAN_OBJECT, row, "meta"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "patch_properties"))
            patch_properties(pass, row, out);
        else if (scan_text_is(&name, "patch_identifiers"))
            scan_skip(&pass->scan);
        else
            unknown_member(pass, row, "meta/", "profile", &name);
    }
}

static void row_member(struct pass *pass, int64_t row, struct import_row *out, bool *typed,
                       const struct scan_text *name)
{
    if (scan_text_is(name, "attributes"))
        attributes(pass, row, out);
    else if (scan_text_is(name, "type"))
        *typed = expect_word(pass, row, "type", "profile");
    else if (scan_text_is(name, "id"))
        keep_string(pass, row, "id", &out->id);
    else if (scan_text_is(name, "meta"))
        meta(pass, row, out);
    else
        unknown_member(pass, row, "", "profile", name);
}

static void note_failure(struct pass *pass, int place, int64_t row, const char *pointer,
                         const char *detail)
{
    bool sync = place == PLACE_SYNC || pass->row_pointer;

    problems_add(sync ? &pass->import->problems : &pass->import->failures, row, pointer, "%s",
                 detail);
}

static bool has_identifier(const struct import_row *row)
{
    return row->email.n || row->external_id.n || row->phone.n || row->id.n;
}

static void check_row(struct pass *pass, int64_t row, const struct import_row *in, bool typed)
{
    struct problems *problems = &pass->import->problems;
    const char *email = import_text(pass->import, in->email);

    if (!typed)
        problems_add(problems, row, "type", "This field is required.");
    if (in->attributes.n == 0)
        problems_add(problems, row, "attributes", "This field is required.");
    else if (!has_identifier(in))
        problems_add(problems, row, "attributes",
                     "A profile needs at least one identifier: email, phone_number or "
                     "external_id.");
    if (in->email.n && !address_is_valid(email, in->email.n))
        note_failure(pass, pass->behaviour->email_check, row, "attributes/email",
                     "Invalid email address");
    if (in->bytes > IMPORT_ROW_BYTES_MAX)
        note_failure(pass, pass->behaviour->oversize_profile, row, "",
                     "The profile is larger than 100000 bytes.");
}

/* One profile object; the scan stands before it. */
static void one_row(struct pass *pass)
{
    struct import *import = pass->import;
    struct import_row row = { 0 };
    struct scan_text name;
    int64_t number = (int64_t)import->n;
    bool typed = false;

    (void)scan_peek(&pass->scan);
    const char *from = pass->scan.at;
    bool entered = enter(pass, SCAN_OBJECT, number, "");
    while (entered && scan_member(&pass->scan, &name))
        row_member(pass, number, &row, &typed, &name);
    if (pass->scan.wrong)
        return;
    row.bytes = (uint32_t)(pass->scan.at - from);
    if (entered)
        check_row(pass, number, &row, typed);
    import->rows = memory_grow(import->rows, &import->rows_cap, import->n + 1, sizeof row);
    import->rows[import->n++] = row;
}

static void rows(struct pass *pass)
{
    if (!enter(pass, SCAN_ARRAY, PROBLEM_NO_ROW, "/data/attributes/profiles/data"))
        return;
    while (scan_element(&pass->scan)) {
        if (pass->import->n > IMPORT_ROWS_MAX)
            scan_skip(&pass->scan);
        else
            one_row(pass);
    }
}

static void profiles(struct pass *pass)
{
    struct scan_text name;
    bool found = false;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, "/data/attributes/profiles"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "data") && !found) {
            found = true;
            rows(pass);
        } else {
            unknown_member(pass, PROBLEM_NO_ROW, "/data/attributes/profiles/",
                           "profile-bulk-import-job", &name);
        }
    }
    if (!found)
        problems_add(&pass->import->problems, PROBLEM_NO_ROW, "/data/attributes/profiles/data",
                     "This field is required.");
}

static void job_attributes(struct pass *pass)
{
    struct scan_text name;
    bool found = false;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, "/data/attributes"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "profiles") && !found) {
            found = true;
            profiles(pass);
        } else {
            unknown_member(pass, PROBLEM_NO_ROW, "/data/attributes/", "profile-bulk-import-job",
                           &name);
        }
    }
    if (!found)
        problems_add(&pass->import->problems, PROBLEM_NO_ROW, "/data/attributes/profiles",
                     "This field is required.");
}

static void one_list(struct pass *pass)
{
    static const char parent[] = "/data/relationships/lists/data/";
    struct import *import = pass->import;
    struct span id = { 0 };
    struct scan_text name;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, "/data/relationships/lists/data"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "id"))
            keep_string(pass, PROBLEM_NO_ROW, "/data/relationships/lists/data/id", &id);
        else if (scan_text_is(&name, "type"))
            (void)expect_word(pass, PROBLEM_NO_ROW, "/data/relationships/lists/data/type", "list");
        else
            unknown_member(pass, PROBLEM_NO_ROW, parent, "list", &name);
    }
    if (import->n_lists == IMPORT_LISTS_MAX || id.n == 0)
        problems_add(&import->problems, PROBLEM_NO_ROW, "/data/relationships/lists/data",
                     id.n ? "Too many lists." : "A list needs an id.");
    else
        import->lists[import->n_lists++] = id;
}

static void lists(struct pass *pass)
{
    struct scan_text name;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, "/data/relationships/lists"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (!scan_text_is(&name, "data")) {
            unknown_member(pass, PROBLEM_NO_ROW, "/data/relationships/lists/", "list", &name);
            continue;
        }
        if (enter(pass, SCAN_ARRAY, PROBLEM_NO_ROW, "/data/relationships/lists/data"))
            while (scan_element(&pass->scan))
                one_list(pass);
    }
}

static void relationships(struct pass *pass)
{
    struct scan_text name;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, "/data/relationships"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "lists"))
            lists(pass);
        else
            unknown_member(pass, PROBLEM_NO_ROW, "/data/relationships/", "profile-bulk-import-job",
                           &name);
    }
}

static void job_data(struct pass *pass)
{
    struct scan_text name;
    bool typed = false, filled = false;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, "/data"))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "type"))
            typed = expect_word(pass, PROBLEM_NO_ROW, "/data/type", "profile-bulk-import-job");
        else if (scan_text_is(&name, "attributes") && !filled) {
            filled = true;
            job_attributes(pass);
        } else if (scan_text_is(&name, "relationships"))
            relationships(pass);
        else
            unknown_member(pass, PROBLEM_NO_ROW, "/data/", "profile-bulk-import-job", &name);
    }
    if (!typed)
        problems_add(&pass->import->problems, PROBLEM_NO_ROW, "/data/type",
                     "This field is required.");
    if (!filled)
        problems_add(&pass->import->problems, PROBLEM_NO_ROW, "/data/attributes",
                     "This field is required.");
}

/* The outermost object: data and nothing else. */
static void document(struct pass *pass, void (*data)(struct pass *))
{
    struct scan_text name;
    bool found = false;

    if (!enter(pass, SCAN_OBJECT, PROBLEM_NO_ROW, ""))
        return;
    while (scan_member(&pass->scan, &name)) {
        if (scan_text_is(&name, "data") && !found) {
            found = true;
            data(pass);
        } else {
            unknown_member(pass, PROBLEM_NO_ROW, "/", "document", &name);
        }
    }
    if (!found)
        problems_add(&pass->import->problems, PROBLEM_NO_ROW, "/data", "This field is required.");
}

static void parse(struct import *import, const char *body, size_t n,
                  const struct behaviour *behaviour, const char *row_pointer,
                  void (*data)(struct pass *))
{
    struct pass pass = { .import = import, .behaviour = behaviour, .row_pointer = row_pointer };

    *import = (struct import){ .body = body, .text = STRBUF_INIT(TEXT_MAX) };
    scan_init(&pass.scan, body, n);
    document(&pass, data);
    if (scan_finish(&pass.scan))
        return;

    /* What was seen before the fault may be wrong too: only the fault is reported. */
    problems_release(&import->problems);
    problems_add(&import->problems, PROBLEM_NO_ROW, "/data", "Invalid JSON at byte %zu: %s.",
                 (size_t)(pass.scan.at - pass.scan.start), pass.scan.wrong);
}

void import_parse(struct import *import, const char *body, size_t n,
                  const struct behaviour *behaviour)
{
    parse(import, body, n, behaviour, NULL, job_data);
    if (import->n > IMPORT_ROWS_MAX)
        problems_add(&import->problems, PROBLEM_NO_ROW, "/data/attributes/profiles/data",
                     "A request may hold at most %d profiles.", IMPORT_ROWS_MAX);
    else if (import->n == 0 && import->problems.n == 0)
        problems_add(&import->problems, PROBLEM_NO_ROW, "/data/attributes/profiles/data",
                     "At least one profile is required.");
}

void import_parse_one(struct import *import, const char *body, size_t n,
                      const struct behaviour *behaviour)
{
    parse(import, body, n, behaviour, "/data", one_row);
}

void import_release(struct import *import)
{
    strbuf_release(&import->text);
    free(import->rows);
    problems_release(&import->problems);
    problems_release(&import->failures);
    *import = (struct import){ 0 };
}
