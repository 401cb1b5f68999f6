#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/seal.h"

static char folder[] = "/tmp/test_seal.XXXXXX";
static char path[64];

static int set_up(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/key", folder);
    return secret_library_init(&err) ? 0 : -1;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static void make_pair(struct seal_pair *pair)
{
    struct error err = ERROR_INIT;

    assert_true(seal_pair_generate(pair, &err));
}

static struct secret secret_of(const char *text)
{
    struct secret secret = SECRET_INIT;
    struct error err = ERROR_INIT;

    assert_true(secret_allocate(&secret, strlen(text), &err));
    memcpy(secret.bytes, text, strlen(text));
    return secret;
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void what_is_sealed_opens_with_the_same_pair_only(void **state)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT, other = SEAL_PAIR_INIT;
    CLEANUP(secret_release) struct secret key = secret_of("pk_0123"), opened = SECRET_INIT;
    unsigned char sealed[7 + SEAL_EXTRA_BYTES];
    struct error err = ERROR_INIT;

    (void)state;
    make_pair(&pair);
    make_pair(&other);
    assert_true(seal_close(pair.public_key, &key, sealed, &err));
    assert_null(memmem(sealed, sizeof sealed, "0123", 4));

    assert_true(seal_open(&pair, sealed, sizeof sealed, &opened, &err));
    assert_int_equal(opened.len, 7);
    assert_string_equal(opened.bytes, "pk_0123");

    secret_release(&opened);
    assert_false(seal_open(&other, sealed, sizeof sealed, &opened, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_null(opened.bytes);
}

static void nothing_is_sealed_with_what_is_no_public_key(void **state)
{
    CLEANUP(secret_release) struct secret key = secret_of("pk_0123");
    const unsigned char none[SEAL_KEY_BYTES] = { 0 };
    unsigned char sealed[7 + SEAL_EXTRA_BYTES];
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(seal_close(none, &key, sealed, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
}

static void damaged_bytes_do_not_open(void **state)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    CLEANUP(secret_release) struct secret key = secret_of("pk_0123"), opened = SECRET_INIT;
    unsigned char sealed[7 + SEAL_EXTRA_BYTES];
    struct error err = ERROR_INIT;

    (void)state;
    make_pair(&pair);
    assert_true(seal_close(pair.public_key, &key, sealed, &err));
    for (size_t i = 0; i < sizeof sealed; i++) {
        sealed[i] ^= 1;
        assert_false(seal_open(&pair, sealed, sizeof sealed, &opened, &err));
        sealed[i] ^= 1;
    }
    for (size_t len = 0; len < sizeof sealed; len++)
        assert_false(seal_open(&pair, sealed, len, &opened, &err));
}

static void a_saved_pair_is_the_same_when_it_is_loaded(void **state)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT, loaded = SEAL_PAIR_INIT;
    struct error err = ERROR_INIT;
    struct stat status;

    (void)state;
    make_pair(&pair);
    assert_true(seal_pair_save(&pair, path, &err));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(status.st_size, 45);

    assert_true(seal_pair_load(&loaded, path, &err));
    assert_memory_equal(loaded.public_key, pair.public_key, SEAL_KEY_BYTES);
    assert_memory_equal(loaded.private_key.bytes, pair.private_key.bytes, SEAL_KEY_BYTES);
}

static void an_existing_file_is_not_written_over(void **state)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    CLEANUP(secret_release) struct secret kept = SECRET_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    make_pair(&pair);
    write_file("precious");
    assert_false(seal_pair_save(&pair, path, &err));
    assert_non_null(strstr(err.text, path));
    assert_true(secret_read_file(&kept, path, 100, &err));
    assert_string_equal(kept.bytes, "precious");
}

static void a_file_that_is_no_key_is_refused_without_its_text(void **state)
{
    static const char *const wrong[] = {
        "not base64 at all!",
        "c2hvcnQ=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",      /* no padding */
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", /* 34 bytes */
        "-----BEGIN PRIVATE KEY-----",
    };
    struct error err = ERROR_INIT;
    struct seal_pair pair = SEAL_PAIR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_file(wrong[i]);
        assert_false(seal_pair_load(&pair, path, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_null(strstr(err.text, wrong[i]));
        assert_null(pair.private_key.bytes);
    }
}

static void a_key_file_may_end_in_any_white_space(void **state)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    write_file("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \r\n\n");
    assert_true(seal_pair_load(&pair, path, &err));
}

static void a_missing_or_empty_key_file_is_said(void **state)
{
    struct seal_pair pair = SEAL_PAIR_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(seal_pair_load(&pair, path, &err));
    assert_non_null(strstr(err.text, path));
    write_file("\n");
    assert_false(seal_pair_load(&pair, path, &err));
    assert_non_null(strstr(err.text, "empty"));
}

static void nothing_stays_where_the_file_cannot_be_made(void **state)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    make_pair(&pair);
    assert_false(seal_pair_save(&pair, "/tmp/there/is/no/such/folder/key", &err));
    assert_int_equal(err.kind, ERROR_INPUT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_sealed_opens_with_the_same_pair_only),
        TEST(nothing_is_sealed_with_what_is_no_public_key),
        TEST(damaged_bytes_do_not_open),
        TEST(a_saved_pair_is_the_same_when_it_is_loaded),
        TEST(an_existing_file_is_not_written_over),
        TEST(a_file_that_is_no_key_is_refused_without_its_text),
        TEST(a_key_file_may_end_in_any_white_space),
        TEST(a_missing_or_empty_key_file_is_said),
        TEST(nothing_stays_where_the_file_cannot_be_made),
    };
    return cmocka_run_group_tests_name("seal", tests, make_folder, remove_folder);
}
