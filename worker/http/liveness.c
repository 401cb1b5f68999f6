#include "worker/http/liveness.h"

static bool is_over(const struct liveness_facts *facts, int64_t since_ms, int64_t limit_ms)
{
    int64_t from_ms = since_ms > facts->started_ms ? since_ms : facts->started_ms;

    return facts->now_ms - from_ms > limit_ms;
}

int64_t liveness_look(struct liveness_look *look, int64_t loop_ms, int64_t now_ms)
{
    if (look->since_ms == 0 || look->loop_ms != loop_ms)
        *look = (struct liveness_look){ .loop_ms = loop_ms, .since_ms = now_ms };
    return look->since_ms;
}

bool liveness_is_in_doubt(const struct liveness_facts *facts)
{
    if (facts->draining || facts->open_events == 0 || facts->free_slots <= 0)
        return false;
    return is_over(facts, facts->progress_ms, LIVENESS_STALL_MS) &&
           (is_over(facts, facts->intake_ms, LIVENESS_STALL_MS) ||
            is_over(facts, facts->run_poll_ms, LIVENESS_STALL_MS));
}

enum liveness liveness_judge(const struct liveness_facts *facts)
{
    if (is_over(facts, facts->loop_ms, LIVENESS_LOOP_MS))
        return facts->now_ms - facts->look_ms >= LIVENESS_LOOK_MS ? LIVENESS_LOOP_STANDS
                                                                  : LIVENESS_ALIVE;
    if (facts->answer_ms == 0 || facts->now_ms - facts->answer_ms > LIVENESS_ANSWER_MS)
        return LIVENESS_ALIVE;
    return liveness_is_in_doubt(facts) ? LIVENESS_STALLED : LIVENESS_ALIVE;
}

const char *liveness_text(enum liveness liveness)
{
    switch (liveness) {
    case LIVENESS_ALIVE:
        return "alive";
    case LIVENESS_LOOP_STANDS:
        return "the control loop does not turn";
    case LIVENESS_STALLED:
        break;
    }
    return "events are open and a run slot is free, but nothing moves";
}
