#ifndef WORKER_INGEST_CONFIG_WATCH_H
#define WORKER_INGEST_CONFIG_WATCH_H

#include <stdint.h>

#include "common/error.h"
#include "worker/settings/settings.h"

/*
 * A watch on KAFKA_CONFIG_FILE, which takes effect without a restart. The file is read every
 * five seconds at most; one that cannot be read may be being replaced, and is as it was.
 */
struct config_watch {
    const struct settings *settings;
    uint64_t digest; /* of the file, as it is in use or was refused */
    int64_t read_ms;
};

enum config_change {
    CONFIG_UNCHANGED,
    CONFIG_CHANGED, /* clients that are made from now on follow it */
    CONFIG_REFUSED, /* no client can be made with it; reported once */
};

/* The settings are lent. The file is in use as it is now. */
void config_watch_init(struct config_watch *watch, const struct settings *settings);

/* REFUSED: err says why; it is untouched otherwise. */
enum config_change config_watch_check(struct config_watch *watch, int64_t now_ms,
                                      struct error *err);

#endif
