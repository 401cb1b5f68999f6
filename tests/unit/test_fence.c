#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/store/fence.h"

static int answered; /* rows */

static PGresult *rows_of(int n)
{
    static char name[] = "run_id", value[] = "7";
    PGresAttDesc column = { .name = name };
    PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

    assert_int_equal(PQsetResultAttrs(rows, 1, &column), 1);
    for (int i = 0; i < n; i++)
        assert_int_equal(PQsetvalue(rows, i, 0, value, 1), 1);
    return rows;
}

bool __wrap_db_query(struct db *db, const char *sql, const struct args *args, PGresult **out,
                     struct error *err);
bool __wrap_db_query(struct db *db UNUSED, const char *sql UNUSED, const struct args *args UNUSED,
                     PGresult **out, struct error *err UNUSED)
{
    *out = rows_of(answered);
    return true;
}

bool __wrap_db_await(struct db *db, PGresult **out, struct error *err);
bool __wrap_db_await(struct db *db UNUSED, PGresult **out, struct error *err UNUSED)
{
    *out = rows_of(answered);
    return true;
}

/* Whose take does not hold any more gets no row; nothing else says so. */
static void a_write_that_wrote_no_row_is_one_for_a_run_that_was_lost(void **state)
{
    (void)state;
    for (answered = 0; answered <= 1; answered++) {
        CLEANUP(result_freep) PGresult *rows = NULL;
        struct error waiting = ERROR_INIT, at_once = ERROR_INIT;

        assert_int_equal(db_fenced(NULL, "", NULL, &rows, &at_once), answered == 1);
        assert_int_equal(rows != NULL, answered == 1);
        assert_int_equal(db_fenced_await(NULL, &waiting), answered == 1);
        assert_int_equal(at_once.kind, answered == 1 ? ERROR_NONE : ERROR_LOST);
        assert_int_equal(waiting.kind, answered == 1 ? ERROR_NONE : ERROR_LOST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_that_wrote_no_row_is_one_for_a_run_that_was_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
