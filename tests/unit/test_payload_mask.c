#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/task/payload_mask.h"

struct row {
    const char *payload;
    const char *masked;
};

static const struct row rows[] = {
    { "{\"type\":\"profile\",\"attributes\":{\"email\":\"ada@example.test\"}}",
      "{\"type\":\"profile\",\"attributes\":{\"email\":\"<string>\"}}" },
    { "{\"attributes\":{\"properties\":{\"points\":7,\"score\":1.5,\"vip\":true,\"old\":false,"
      "\"none\":null}}}",
      "{\"attributes\":{\"properties\":{\"points\":\"<number>\",\"score\":\"<number>\",\"vip\":"
      "\"<boolean>\",\"old\":\"<boolean>\",\"none\":null}}}" },
    { "{\"attributes\":{\"properties\":{\"tags\":[\"a\",[1]],\"address\":{\"city\":\"Ulm\"}}}}",
      "{\"attributes\":{\"properties\":{\"tags\":[\"<string>\",[\"<number>\"]],\"address\":"
      "{\"city\":\"<string>\"}}}}" },
    { "{\"type\":\"profile\",\"attributes\":{},\"meta\":{\"patch_properties\":{\"unset\":[\"p\"]}}}",
      "{\"type\":\"profile\",\"attributes\":{},\"meta\":{\"patch_properties\":{\"unset\":[\"p\"]}}}" },
    { "{}", "{}" },
};

static void names_and_types_stay_and_values_go(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *payload = json_loads(rows[i].payload, 0, NULL);

        assert_true(payload_mask(payload));
        char *text = json_dumps(payload, JSON_COMPACT);
        assert_string_equal(text, rows[i].masked);
        free(text);
        json_decref(payload);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_and_types_stay_and_values_go) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
