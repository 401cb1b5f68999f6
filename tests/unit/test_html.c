#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "worker/http/chart.h"
#include "worker/http/html.h"

#define NOW_US INT64_C(1795593600000000) /* 2026-11-25T08:00:00Z */

static void text_and_arguments_are_escaped(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);

    (void)state;
    html_add_text(&out, "<a href=\"x\">&\x1b[1m\u202e");
    assert_string_equal(out.data, "&lt;a href=&quot;x&quot;&gt;&amp;\\u001b[1m\\u202e");
    strbuf_rewind(&out, 0);
    html_add_argument(&out, "EU, UK & ü");
    assert_string_equal(out.data, "EU%2C%20UK%20%26%20%C3%BC");
}

static void numbers_are_grouped(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100);

    (void)state;
    html_add_count(&out, 1234567);
    assert_string_equal(out.data, "1\u202f234\u202f567");
}

static void a_time_is_said_from_now_on_and_whole(void **state)
{
    static const struct {
        const char *time, *words;
    } cases[] = { { "2026-11-25T07:57:00.000000Z", ">3 min ago</time>" },
                  { "2026-11-25T08:00:30Z", ">in 30 s</time>" },
                  { "2026-11-25T07:57:00Z", "title=\"2026-11-25 07:57:00 UTC\"" },
                  { "", "–" },
                  { "soon", "–" } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(400);

        html_add_time(&out, cases[i].time, NOW_US);
        assert_non_null(strstr(out.data, cases[i].words));
    }
}

static void bars_are_one_path_for_each_class(void **state)
{
    static const struct chart_bar bars[] = { { 100, "good" }, { 0, "bad" }, { 25, "good" } };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);

    (void)state;
    chart_add_bars(&out, bars, 3, "three \"runs\"");
    assert_non_null(strstr(out.data, "aria-label=\"three &quot;runs&quot;\""));
    assert_non_null(
        strstr(out.data, "<path class=\"good\" d=\"M102 0h5v24h-5zM114 11h5v13h-5z\"/>"));
    assert_non_null(strstr(out.data, "<path class=\"bad\" d=\"M108 22h5v2h-5z\"/>"));
}

static void parts_are_as_wide_as_their_share(void **state)
{
    static const struct chart_part parts[] = { { "sent", 75, "good" },
                                               { "none", 0, "bad" },
                                               { "open", 25, "soft" } };
    static const struct chart_part nothing[] = { { "sent", 0, "good" } };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(2000);

    (void)state;
    chart_add_parts(&out, parts, 3, "parts");
    assert_non_null(strstr(out.data, "class=\"good\" x=\"0\" width=\"750\""));
    assert_non_null(strstr(out.data, "class=\"soft\" x=\"750\" width=\"250\""));
    assert_null(strstr(out.data, "<rect class=\"bad\""));
    assert_non_null(strstr(out.data, "none <b>0</b>"));
    strbuf_rewind(&out, 0);
    chart_add_parts(&out, nothing, 1, "parts");
    assert_null(strstr(out.data, "<rect"));
}

static void spans_are_where_they_began_and_never_too_thin_to_be_seen(void **state)
{
    static const struct chart_span spans[] = {
        { 0, 0.5, "good" }, { 0.25, 0.25, "bad" }, { 0.9, 1.5, "busy" }, { 1, 1, "good" }
    };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(2000);

    (void)state;
    chart_add_spans(&out, spans, 4, "spans");
    assert_non_null(strstr(out.data, "viewBox=\"0 0 1000 48\""));
    assert_non_null(strstr(out.data, " height=\"48\">"));
    assert_non_null(strstr(out.data, "\"good\" x=\"0\" width=\"500\" y=\"0\" height=\"9\""));
    assert_non_null(strstr(out.data, "\"bad\" x=\"250\" width=\"3\" y=\"12\""));
    assert_non_null(strstr(out.data, "\"busy\" x=\"900\" width=\"100\" y=\"24\""));
    assert_non_null(strstr(out.data, "\"good\" x=\"997\" width=\"3\" y=\"36\""));
}

static void a_gauge_never_runs_over(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);

    (void)state;
    chart_add_gauge(&out, 300, 150, "used");
    assert_non_null(strstr(out.data, "class=\"wait\" x=\"0\" width=\"1000\""));
    strbuf_rewind(&out, 0);
    chart_add_gauge(&out, 3, 0, "used");
    assert_non_null(strstr(out.data, "width=\"0\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_arguments_are_escaped),
        cmocka_unit_test(numbers_are_grouped),
        cmocka_unit_test(a_time_is_said_from_now_on_and_whole),
        cmocka_unit_test(bars_are_one_path_for_each_class),
        cmocka_unit_test(parts_are_as_wide_as_their_share),
        cmocka_unit_test(spans_are_where_they_began_and_never_too_thin_to_be_seen),
        cmocka_unit_test(a_gauge_never_runs_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
