#ifndef WORKER_KLAVIYO_DETAIL_MASK_H
#define WORKER_KLAVIYO_DETAIL_MASK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The detail of an error of Klaviyo, without what may be personal data (pure): the rest
 * may be in a log, a dead letter's header, on the page.
 *
 * Masked is
 *     what is in quotes,
 *     a word (between blanks) that holds an @ or a digit,
 *     all from the first word on that holds a character beyond ASCII,
 *     each run of letters that occurs in a value of the request, in any case,
 *     the last word of a text that is as long as a detail can be: it may be cut.
 *
 * A word occurs in a value where no letter or digit is next to it there. Values
 * are those of the profile objects of an import (import_body.h) but for their own
 * type; the names of attributes and properties are not values, names within a
 * property's value are.
 */
enum {
    DETAIL_MASK_MAX_BYTES = 1024, /* of a text: what is beyond is left out */
};

#define DETAIL_MASK_MARK "***"

/*
 * Writes it to out: printable ASCII in one line with single blanks, at most
 * size - 1 bytes and whole words, size > 0. The n bytes of objects are profile
 * objects with anything between them; n 0: the request held no values. One pass over
 * them. True: nothing was masked or left out.
 */
bool detail_mask(char *out, size_t size, const char *text, const char *objects, size_t n);

#endif
