#ifndef WORKER_EXPORT_DELIVERY_REPLY_H
#define WORKER_EXPORT_DELIVERY_REPLY_H

#include <stdint.h>

#include "worker/export/request_schedule.h"
#include "worker/klaviyo/response.h"
#include "worker/klaviyo/verdict.h"

/*
 * What came of a request that a delivery had sent, and when. All of it is lent for as long as
 * the call that it is given to; that takes what the verdict owns, where it is of use.
 */
struct delivery_reply {
    struct pending_request *pending; /* as in the SEND that it answers */
    const struct response *response;
    struct verdict *verdict;
    int64_t now_ms; /* of clock_ms() */
};

#endif
