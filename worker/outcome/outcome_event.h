#ifndef WORKER_OUTCOME_OUTCOME_EVENT_H
#define WORKER_OUTCOME_OUTCOME_EVENT_H

#include "common/cleanup.h"
#include "worker/kafka/record.h"
#include "worker/store/outcomes.h"

/*
 * An outcome as its record: a CloudEvents 1.0 event in binary mode, whose key is
 * the segment. Its id is that of the run's end, RUN-EPOCH, so that a record
 * that is sent twice can be recognised; its source names the export, percent-encoded
 * as a URI reference. schemas/asyncapi.yaml describes it for consumers.
 */

/* Pure. The record is the caller's. NULL: out of memory. */
struct record *outcome_event_record(const struct outcome *outcome) MUST_USE;

#endif
