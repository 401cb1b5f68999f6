#include "tests/simulator/diary.h"

#include <stdlib.h>

#include "tests/simulator/memory.h"

static struct diary_entry *entry_at(const struct diary *diary, size_t i)
{
    return &diary->ring[(diary->first + i) % diary->cap];
}

static void entry_release(struct diary_entry *entry)
{
    free(entry->path);
    free(entry->user_agent);
    free(entry->traceparent);
    free(entry->body);
    *entry = (struct diary_entry){ 0 };
}

static void grow(struct diary *diary)
{
    size_t cap = diary->cap ? diary->cap * 2 : 256;

    if (cap > diary->max)
        cap = diary->max;
    struct diary_entry *ring = memory_new(cap * sizeof *ring);
    for (size_t i = 0; i < diary->n; i++)
        ring[i] = *entry_at(diary, i);
    free(diary->ring);
    diary->ring = ring;
    diary->cap = cap;
    diary->first = 0;
}

static void forget_oldest(struct diary *diary)
{
    entry_release(entry_at(diary, 0));
    diary->first = (diary->first + 1) % diary->cap;
    diary->n--;
}

uint64_t diary_add(struct diary *diary, struct diary_entry *entry)
{
    if (diary->n == diary->max)
        forget_oldest(diary);
    else if (diary->n == diary->cap)
        grow(diary);
    entry->seq = ++diary->last_seq;
    *entry_at(diary, diary->n++) = *entry;
    *entry = (struct diary_entry){ 0 };
    return diary->last_seq;
}

/* How many entries come before the one numbered seq + 1. */
static size_t place_after(const struct diary *diary, uint64_t seq)
{
    uint64_t before_first = diary->last_seq - diary->n;

    if (seq <= before_first)
        return 0;
    return seq >= diary->last_seq ? diary->n : (size_t)(seq - before_first);
}

const struct diary_entry *diary_find(const struct diary *diary, uint64_t seq)
{
    size_t i = seq > 0 ? place_after(diary, seq - 1) : diary->n;

    return i < diary->n && entry_at(diary, i)->seq == seq ? entry_at(diary, i) : NULL;
}

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

static json_t *number_or_null(int64_t number)
{
    return number >= 0 ? json_integer(number) : json_null();
}

static json_t *entry_json(const struct diary_entry *entry)
{
    json_t *since = entry->since_promise_us < 0
                        ? json_null()
                        : json_real((double)entry->since_promise_us / 1000.0);

    return json_pack("{s:I, s:f, s:f, s:s, s:s, s:o, s:o, s:o, s:i, s:o, s:o, s:I, s:o, s:o, s:o, "
                     "s:o, s:o, s:b, s:o, s:o, s:b, s:o}",
                     "seq", (json_int_t)entry->seq, "at", (double)entry->at_us / 1e6, "done_at",
                     (double)entry->done_us / 1e6, "method", entry->method, "path", entry->path,
                     "endpoint", text_or_null(entry->endpoint), "account",
                     text_or_null(entry->account), "key_hint", text_or_null(entry->key_hint),
                     "status", entry->status, "retry_after", number_or_null(entry->retry_after),
                     "profiles", number_or_null(entry->profiles), "bytes", (json_int_t)entry->bytes,
                     "job", text_or_null(entry->job), "list", text_or_null(entry->list), "revision",
                     text_or_null(entry->revision), "user_agent", text_or_null(entry->user_agent),
                     "traceparent", text_or_null(entry->traceparent), "early", entry->early,
                     "since_promise_ms", since, "fault",
                     number_or_null(entry->fault ? (int64_t)entry->fault : -1), "forbidden",
                     entry->forbidden, "sha256", text_or_null(entry->sha256));
}

json_t *diary_json(const struct diary *diary, uint64_t after, size_t limit)
{
    json_t *entries = json_array();
    size_t i = place_after(diary, after);
    uint64_t next = after;

    for (size_t n = 0; i < diary->n && n < limit; i++, n++) {
        json_array_append_new(entries, entry_json(entry_at(diary, i)));
        next = entry_at(diary, i)->seq;
    }
    return json_pack("{s:o, s:I}", "entries", entries, "next", (json_int_t)next);
}

void diary_clear(struct diary *diary)
{
    while (diary->n > 0)
        forget_oldest(diary);
}

void diary_release(struct diary *diary)
{
    diary_clear(diary);
    free(diary->ring);
    diary->ring = NULL;
    diary->cap = 0;
}
