/*
 * count-allocations EXPORT: reads the members of an export as a run would, and prints how
 * many allocations our code made while it did; then how many a batch takes that is filled
 * and cleared a hundred times. Libraries' own are not counted: the linker replaces calls
 * of our objects only (--wrap).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/secret.h"
#include "worker/export/preview.h"
#include "worker/store/batch_rows.h"
#include "worker/store/db.h"
#include "worker/store/run_task.h"

enum { FILLED = 100, ROWS = 10000 };

static atomic_llong allocations;

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void *__real_reallocarray(void *old, size_t n, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

void *__wrap_malloc(size_t n)
{
    (void)atomic_fetch_add(&allocations, 1);
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    (void)atomic_fetch_add(&allocations, 1);
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n)
{
    (void)atomic_fetch_add(&allocations, 1);
    return __real_realloc(old, n);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
    (void)atomic_fetch_add(&allocations, 1);
    return __real_reallocarray(old, n, size);
}

char *__wrap_strdup(const char *text)
{
    (void)atomic_fetch_add(&allocations, 1);
    return __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t n)
{
    (void)atomic_fetch_add(&allocations, 1);
    return __real_strndup(text, n);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static bool read_members(const char *export_name, struct error *err)
{
    const struct secret_source url = { .text = getenv("DATABASE_URL") };
    const struct db_options how = { .url = url, .name = "count-allocations" };
    CLEANUP(db_freep) struct db *db = NULL;
    CLEANUP(run_task_freep) struct run_task *task = NULL;
    CLEANUP(preview_release) struct preview preview = { 0 };

    if (!db_open(&db, &how, err) || !run_task_for_preview(db, export_name, &task, err))
        return false;
    long long before = atomic_load(&allocations);
    const struct preview_options options = { .database_url = url, .task = task };
    if (!preview_read(&options, &preview, err))
        return false;
    printf("%lld members, %lld allocations\n", (long long)preview.counts.read,
           atomic_load(&allocations) - before);
    return true;
}

static void fill(struct batch_rows *rows)
{
    const struct batch_row row = { .address = { "someone@shop.example", 20 },
                                   .profile_id = { "p1", 2 } };

    for (int i = 0; i < ROWS; i++)
        batch_rows_add(rows, &row);
    batch_rows_clear(rows);
}

static void fill_batches(void)
{
    CLEANUP(batch_rows_release) struct batch_rows rows;

    batch_rows_init(&rows);
    fill(&rows);
    long long before = atomic_load(&allocations);
    for (int i = 0; i < FILLED; i++)
        fill(&rows);
    printf("%d batches, %lld allocations\n", FILLED, atomic_load(&allocations) - before);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;

    if (argc != 2)
        return 2;
    if (!secret_library_init(&err) || !read_members(argv[1], &err)) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    fill_batches();
    return 0;
}
