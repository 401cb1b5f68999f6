#ifndef COMMON_HUGE_NUMBERS_H
#define COMMON_HUGE_NUMBERS_H

#include "common/bytes.h"
#include "common/strbuf.h"

/*
 * JSON knows numbers of any size; jansson refuses a whole text that holds an integer beyond
 * 64 bits or a real beyond a double. Values of members may be such numbers, and Klaviyo shows
 * them in its answers.
 *
 * Appends the text with each of them as the string of its characters: 1e400 becomes "1e400".
 * Looks at characters only, so that what is no JSON stays none. out: needs at most twice the
 * bytes of the text; failed where there is no memory.
 */
void quote_huge_numbers(struct bytes json, struct strbuf *out);

#endif
