#include "worker/kafka/record.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef int name_compare(const char *, const char *);

static const struct record_header *find_last(const struct record *record, const char *name,
                                             name_compare *compare)
{
    for (size_t i = record->headers_n; i > 0; i--)
        if (compare(record->headers[i - 1].name, name) == 0)
            return &record->headers[i - 1];
    return NULL;
}

const struct record_header *record_header_find(const struct record *record, const char *name)
{
    return find_last(record, name, strcmp);
}

const struct record_header *record_header_find_any_case(const struct record *record,
                                                        const char *name)
{
    return find_last(record, name, strcasecmp);
}

/* The copy: the record, its headers, then all texts and bytes one after another. */
struct copy {
    struct record record;
    struct record_header headers[];
};

size_t record_bytes(const struct record *record)
{
    size_t total = sizeof(struct copy) + record->headers_n * sizeof(struct record_header);

    total += strlen(record->topic) + 1 + record->key_bytes + record->value_bytes;
    for (size_t i = 0; i < record->headers_n; i++)
        total += strlen(record->headers[i].name) + 1 + record->headers[i].value_bytes;
    return total;
}

/* Puts n bytes at *at and moves it on; null stays null. */
static const void *put(char **at, const void *bytes, size_t n)
{
    char *start = *at;

    if (!bytes)
        return NULL;
    if (n > 0)
        memcpy(start, bytes, n);
    *at += n;
    return start;
}

static const char *put_text(char **at, const char *text)
{
    return put(at, text, strlen(text) + 1);
}

struct record *record_copy(const struct record *record)
{
    struct copy *copy = malloc(record_bytes(record));
    if (!copy)
        return NULL;

    char *at = (char *)&copy->headers[record->headers_n];
    copy->record = *record;
    copy->record.headers = copy->headers;
    for (size_t i = 0; i < record->headers_n; i++) {
        const struct record_header *from = &record->headers[i];
        copy->headers[i] = *from;
        copy->headers[i].name = put_text(&at, from->name);
        copy->headers[i].value = put(&at, from->value, from->value_bytes);
    }
    copy->record.topic = put_text(&at, record->topic);
    copy->record.key = put(&at, record->key, record->key_bytes);
    copy->record.value = put(&at, record->value, record->value_bytes);
    return &copy->record;
}

void record_free(struct record *record)
{
    free(record); /* the first member of its struct copy */
}
