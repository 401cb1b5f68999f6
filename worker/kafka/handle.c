#include "worker/kafka/handle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/log.h"
#include "worker/kafka/client_log.h"

enum { DESTROY_SECONDS = 2 };

static void set_callbacks(rd_kafka_conf_t *conf, const struct kafka_handle_callbacks *callbacks)
{
    rd_kafka_conf_set_log_cb(conf, callbacks && callbacks->log ? callbacks->log : client_log_write);
    if (!callbacks)
        return;
    rd_kafka_conf_set_opaque(conf, callbacks->opaque);
    if (callbacks->rebalance)
        rd_kafka_conf_set_rebalance_cb(conf, callbacks->rebalance);
    if (callbacks->committed)
        rd_kafka_conf_set_offset_commit_cb(conf, callbacks->committed);
    if (callbacks->error)
        rd_kafka_conf_set_error_cb(conf, callbacks->error);
    if (callbacks->statistics)
        rd_kafka_conf_set_stats_cb(conf, callbacks->statistics);
    if (callbacks->delivered)
        rd_kafka_conf_set_dr_msg_cb(conf, callbacks->delivered);
}

rd_kafka_t *kafka_handle_new(const struct settings *settings, enum handle_role role,
                             const struct kafka_handle_callbacks *callbacks, struct error *err)
{
    CLEANUP(conf_freep) rd_kafka_conf_t *conf = handle_config_new(settings, role, err);
    char why[512];

    if (!conf)
        return NULL;
    set_callbacks(conf, callbacks);
    rd_kafka_type_t type = role == HANDLE_WRITER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
    rd_kafka_t *handle = rd_kafka_new(type, conf, why, sizeof why);
    if (!handle) {
        error_set(err, ERROR_FATAL,
                  "librdkafka %s refuses its configuration: %s: check KAFKA_BOOTSTRAP_SERVERS "
                  "and KAFKA_CONFIG_FILE",
                  rd_kafka_version_str(), why);
        return NULL;
    }
    (void)conf_take(&conf); /* the handle's now */
    return handle;
}

static atomic_bool left_behind;

void kafka_handle_leave_behind(void)
{
    left_behind = true;
}

bool kafka_handle_is_left_behind(void)
{
    return left_behind;
}

static void *destroy(void *handle)
{
    rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

/* librdkafka 2.0.2 can hang here for ever after a deleted topic: so on a thread of its own, and
 * with a deadline. */
bool kafka_handle_free(rd_kafka_t *handle)
{
    struct timespec until;
    pthread_t thread;

    if (!handle)
        return true;
    if (pthread_create(&thread, NULL, destroy, handle) == 0) {
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += DESTROY_SECONDS;
        if (pthread_timedjoin_np(thread, NULL, &until) == 0)
            return true;
        (void)pthread_detach(thread);
    }
    log_warn("kafka_client_left_behind", LOG_STR("reason", "librdkafka did not end in time"));
    kafka_handle_leave_behind();
    return false;
}

static void *retire(void *handle)
{
    (void)kafka_handle_free(handle);
    return NULL;
}

void kafka_handle_retire(rd_kafka_t *handle)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, retire, handle) == 0)
        (void)pthread_detach(thread);
    else
        (void)kafka_handle_free(handle);
}

void kafka_handle_watch(rd_kafka_queue_t *queue, int fd)
{
    static const uint64_t one = 1;

    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof one);
}
