#include "worker/http/readiness.h"

enum readiness readiness_judge(const struct service_metrics *metrics, int64_t now_ms)
{
    if (metrics->draining)
        return READINESS_STOPPING;
    if (!metrics->database_reached)
        return READINESS_NO_DATABASE;
    if (now_ms - metrics->database_connected_ms > READINESS_CONNECTION_MS)
        return READINESS_NO_CONNECTION;
    if (!metrics->subscribed)
        return READINESS_NOT_IN_GROUP;
    return READINESS_READY;
}

const char *readiness_text(enum readiness readiness)
{
    switch (readiness) {
    case READINESS_READY:
        break;
    case READINESS_STOPPING:
        return "stopping";
    case READINESS_NO_DATABASE:
        return "not ready: the database is not reached, or takes no writes";
    case READINESS_NO_CONNECTION:
        return "not ready: for a minute the database has taken no new connection";
    case READINESS_NOT_IN_GROUP:
        return "not ready: not in the consumer group";
    }
    return "ready";
}
