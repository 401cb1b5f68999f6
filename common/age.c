#include "common/age.h"

#include <inttypes.h>
#include <string.h>

#include "common/parse.h"

void age_add_span(struct strbuf *out, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = { { INT64_C(24) * 3600, "d" }, { 3600, "h" }, { 60, "min" } };

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (seconds >= 2 * units[i].seconds) {
            strbuf_addf(out, "%" PRId64 " %s", seconds / units[i].seconds, units[i].name);
            return;
        }
    strbuf_addf(out, "%" PRId64 " s", seconds > 0 ? seconds : 0);
}

bool age_add(struct strbuf *out, const char *time, int64_t now_us)
{
    int64_t at_us;

    if (!parse_rfc3339(time, strlen(time), &at_us))
        return false;
    int64_t seconds = (now_us - at_us) / 1000000;
    strbuf_add_str(out, seconds < 0 ? "in " : "");
    age_add_span(out, seconds < 0 ? -seconds : seconds);
    strbuf_add_str(out, seconds < 0 ? "" : " ago");
    return true;
}
