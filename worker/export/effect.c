#include "worker/export/effect.h"

const char *effect_name(enum effect_kind kind)
{
    static const char *const names[] = {
        [EFFECT_NONE] = "none",
        [EFFECT_MARK_SENT] = "mark_sent",
        [EFFECT_RESEND] = "resend",
        [EFFECT_SETTLE_LATE_JOB] = "settle_late_job",
        [EFFECT_LEAVE_LATE_JOB] = "leave_late_job",
        [EFFECT_CONFIRM] = "confirm",
        [EFFECT_SPLIT] = "split",
        [EFFECT_BLOCK_ACCOUNT] = "block",
        [EFFECT_STORE_LIST_NAME] = "list_name",
        [EFFECT_GIVE_UP_LISTING] = "no_listing",
        [EFFECT_KEEP_WORDS] = "keep_words",
        [EFFECT_FETCH_PLANNED] = "fetch",
        [EFFECT_LOAD_BODY] = "load",
        [EFFECT_CLAIM_LIST] = "claim",
        [EFFECT_RELEASE_HELD] = "release",
        [EFFECT_FETCH_LEAVERS] = "leavers",
        [EFFECT_FORGET_LEAVERS] = "forget",
        [EFFECT_SEND] = "send",
        [EFFECT_FAIL] = "fail",
        [EFFECT_DONE] = "done",
    };

    return names[kind];
}
