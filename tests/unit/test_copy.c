#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/store/copy.h"

#define HEADER "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"
#define ROW "\0\3\0\0\0\2ab\377\377\377\377\0\0\0\4\377\377\377\376"
#define TRAILER "\377\377"

enum { FIELDS = 3 };

static enum copy_read read_message(struct copy_reader *reader, const char *message, size_t len,
                                   struct bytes *fields)
{
    return copy_read(reader, message, len, fields, FIELDS);
}

static void a_header_comes_with_the_first_row_or_alone(void **state)
{
    static const char together[] = HEADER ROW;
    struct copy_reader one = { 0 }, two = { 0 };
    struct bytes f[FIELDS];

    (void)state;
    assert_int_equal(read_message(&one, together, sizeof together - 1, f), COPY_ROW);
    assert_int_equal(read_message(&two, HEADER, sizeof HEADER - 1, f), COPY_NO_ROW);
    assert_int_equal(read_message(&two, ROW, sizeof ROW - 1, f), COPY_ROW);
    assert_memory_equal(f[0].at, "ab", 2);
    assert_int_equal(f[0].n, 2);
    assert_null(f[1].at);
    assert_int_equal(copy_int(&f[1]), 0);
    assert_int_equal(copy_int(&f[2]), -2);
    assert_int_equal(read_message(&two, TRAILER, sizeof TRAILER - 1, f), COPY_NO_ROW);
}

/* At the end of a page behind which there is none: who reads on is ended by the kernel. */
static void every_cut_row_is_broken_and_read_no_further_than_it_goes(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct bytes f[FIELDS];

    (void)state;
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    for (size_t n = 0; n < sizeof ROW - 1; n++) {
        struct copy_reader reader = { .past_header = true };
        assert_int_equal(read_message(&reader, memcpy(pages + page - n, ROW, n), n, f),
                         COPY_BROKEN);
    }
    for (size_t n = 0; n < sizeof HEADER - 1; n++) {
        struct copy_reader reader = { 0 };
        assert_int_equal(read_message(&reader, memcpy(pages + page - n, HEADER, n), n, f),
                         COPY_BROKEN);
    }
    assert_int_equal(munmap(pages, 2 * page), 0);
}

static void other_formats_are_broken(void **state)
{
    static const char longer[] = ROW "x", fewer[] = "\0\1\0\0\0\0",
                      negative[] = "\0\3\377\377\377\376";
    struct copy_reader reader = { .past_header = true };
    struct bytes f[FIELDS];

    (void)state;
    assert_int_equal(read_message(&reader, longer, sizeof longer - 1, f), COPY_BROKEN);
    assert_int_equal(read_message(&reader, fewer, sizeof fewer - 1, f), COPY_BROKEN);
    assert_int_equal(read_message(&reader, negative, sizeof negative - 1, f), COPY_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_with_the_first_row_or_alone),
        cmocka_unit_test(every_cut_row_is_broken_and_read_no_further_than_it_goes),
        cmocka_unit_test(other_formats_are_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
