#include "worker/kafka/library.h"

#include <librdkafka/rdkafka.h>
#include <unistd.h>

#include "worker/kafka/handle.h"

const char *kafka_library_version(void)
{
    return rd_kafka_version_str();
}

void kafka_library_end(int status)
{
    if (kafka_handle_is_left_behind())
        _exit(status);
}
