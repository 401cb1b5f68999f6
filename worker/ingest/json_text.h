#ifndef WORKER_INGEST_JSON_TEXT_H
#define WORKER_INGEST_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/bytes.h"
#include "common/cleanup.h"

/*
 * JSON as text (RFC 8259): whether it is valid, where its members are, the same with one
 * member set. Nothing is converted to a number or a string on the way, so that the parts
 * of an event that we do not know (numbers of any size and length, half surrogates, any
 * depth) are neither checked nor rewritten.
 *
 * All but json_text_check() take texts that have passed it, or parts of those.
 */
enum { JSON_TEXT_MAX_BYTES = 65536 }; /* bounds the depth, too: one bit for each level */

/* One value in UTF-8, with blanks around it. False: *where is the byte at which it is no more. */
bool json_text_check(struct bytes text, size_t *where) MUST_USE;

/* The value, without the blanks around it. */
struct bytes json_text_trim(struct bytes text);

/*
 * The value of an object's member; BYTES_NONE: it has none of that name, or is no
 * object. Of several of one name the last counts. name: ASCII.
 */
struct bytes json_text_member(struct bytes object, const char *name);

/*
 * The characters that a string stands for, in UTF-8; they may hold NULs, and a NUL follows them.
 * They lie in a piece of memory that the caller frees: text->at, which is not NULL then.
 */
enum json_text_string {
    JSON_TEXT_STRING,
    JSON_TEXT_NO_STRING, /* another value, none at all, or half a surrogate pair in it */
    JSON_TEXT_NO_MEMORY,
};
struct json_text_characters {
    char *at;
    size_t n;
};

/* text is written where the result says it is a string; see above: who owns it. */
enum json_text_string json_text_string(struct bytes value, struct json_text_characters *characters)
    MUST_USE;

/*
 * Calls take for each value of an array, in order, until it answers false; false
 * then, and where the value is no array.
 */
typedef bool json_text_take(void *opaque, struct bytes value);
bool json_text_each(struct bytes array, json_text_take *take, void *opaque) MUST_USE;

/*
 * The text with a member of the object in it set to value (JSON), and not a byte
 * changed elsewhere. The caller frees it; *n its length. NULL: out of memory.
 */
char *json_text_set_member(struct bytes text, struct bytes object, const char *name,
                           struct bytes value, size_t *n) MUST_USE;

#endif
