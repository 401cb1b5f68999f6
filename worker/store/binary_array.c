#include "worker/store/binary_array.h"

enum {
    MAX_BYTES = 32 * 1024 * 1024, /* 10,000 addresses of 254 bytes, or long profile ids */
    HEADER_BYTES = 20,            /* dimensions, flags, element's type, elements, first index */
    COUNT_AT = 12,
};

static void add_number(struct strbuf *buf, uint64_t number, size_t n)
{
    char bytes[sizeof number];

    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(number >> (8 * (n - 1 - i)));
    strbuf_add(buf, bytes, n);
}

void binary_array_init(struct binary_array *array, enum array_element element)
{
    *array = (struct binary_array){ .bytes = STRBUF_INIT(MAX_BYTES) };
    add_number(&array->bytes, 1, 4);
    add_number(&array->bytes, 0, 4); /* whether there are nulls: the server looks itself */
    add_number(&array->bytes, element, 4);
    add_number(&array->bytes, 0, 4);
    add_number(&array->bytes, 1, 4);
}

void binary_array_release(struct binary_array *array)
{
    strbuf_release(&array->bytes);
    array->n = 0;
}

void binary_array_clear(struct binary_array *array)
{
    if (array->bytes.len >= HEADER_BYTES)
        strbuf_rewind(&array->bytes, HEADER_BYTES);
    array->n = 0;
}

void binary_array_text(struct binary_array *array, const char *text, size_t len)
{
    array->n++;
    if (!text) {
        add_number(&array->bytes, UINT32_MAX, 4);
        return;
    }
    add_number(&array->bytes, len, 4);
    strbuf_add(&array->bytes, text, len);
}

void binary_array_int64(struct binary_array *array, int64_t number)
{
    array->n++;
    add_number(&array->bytes, 8, 4);
    add_number(&array->bytes, (uint64_t)number, 8);
}

void binary_array_bool(struct binary_array *array, bool value)
{
    array->n++;
    add_number(&array->bytes, 1, 4);
    add_number(&array->bytes, value, 1);
}

bool binary_array_close(struct binary_array *array)
{
    if (!strbuf_ok(&array->bytes))
        return false;
    for (size_t i = 0; i < 4; i++)
        array->bytes.data[COUNT_AT + i] = (char)(array->n >> (8 * (3 - i)));
    return true;
}
