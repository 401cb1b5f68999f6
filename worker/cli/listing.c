#include "worker/cli/listing.h"

#include <string.h>

static bool choose_colours(struct context *context, const char *when, struct table_style *style,
                           struct error *err)
{
    if (!when || strcmp(when, "auto") == 0)
        return true;
    style->colours = strcmp(when, "always") == 0;
    if (style->colours || strcmp(when, "never") == 0)
        return true;
    return wrong_usage(context, err, "--color %s: it is auto, always or never", when);
}

bool listing_style_of(struct context *context, struct table_style *style, struct error *err)
{
    bool as_json = arguments_flag(context->arguments, "--json");
    bool as_csv = arguments_flag(context->arguments, "--csv");
    struct table_style chosen = table_style_of_output();

    if (as_json && as_csv)
        return wrong_usage(context, err, "--json and --csv cannot be had at once");
    if (!choose_colours(context, arguments_value(context->arguments, "--color"), &chosen, err))
        return false;
    chosen.form = as_json ? TABLE_AS_JSON : as_csv ? TABLE_AS_CSV : TABLE_FOR_PEOPLE;
    chosen.ages = chosen.ages && !arguments_flag(context->arguments, "--utc");
    *style = chosen;
    return true;
}

bool listing_print(struct context *context, const struct column *columns, const char *json,
                   const char *nothing, struct error *err)
{
    struct table_style style;

    return listing_style_of(context, &style, err) &&
           table_print_styled(columns, json, &style, nothing, err);
}
