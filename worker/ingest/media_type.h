#ifndef WORKER_INGEST_MEDIA_TYPE_H
#define WORKER_INGEST_MEDIA_TYPE_H

#include <stdbool.h>

#include "common/bytes.h"

/*
 * The media type that a content-type names, as RFC 9110 has it: "type/subtype",
 * whatever the case; blanks around it and parameters behind it do not count.
 */
bool media_type_is(struct bytes content_type, const char *name);

#endif
