#include "worker/ingest/admission.h"

#include <assert.h>

void admission_take(struct admission *admission, size_t bytes)
{
    admission->events++;
    admission->bytes += bytes;
    if (admission->events >= ADMISSION_EVENTS || admission->bytes >= ADMISSION_BYTES)
        admission->full = true;
}

void admission_give(struct admission *admission, size_t events, size_t bytes)
{
    assert(admission->events >= events && admission->bytes >= bytes);
    admission->events -= events;
    admission->bytes -= bytes;
    if (admission->events <= ADMISSION_EVENTS / 2 && admission->bytes <= ADMISSION_BYTES / 2)
        admission->full = false;
}
