/* klaviyo-worker: the commands it has, nothing else. */
#include "common/process.h"
#include "common/seal.h"
#include "worker/admin/audit.h"
#include "worker/admin/complete.h"
#include "worker/admin/connection.h"
#include "worker/admin/dead_letters.h"
#include "worker/admin/export.h"
#include "worker/admin/member.h"
#include "worker/admin/program.h"
#include "worker/admin/publish.h"
#include "worker/admin/run_service.h"
#include "worker/admin/runs.h"
#include "worker/admin/segment.h"
#include "worker/admin/setup.h"
#include "worker/cli/table.h"
#include "worker/http/http_server.h"
#include "worker/kafka/library.h"
#include "worker/klaviyo/client.h"
#include "worker/store/db.h"

static const struct command *const groups[] = {
    run_commands,          setup_commands,  connection_commands, segment_commands,
    export_commands,       member_commands, publish_commands,    runs_commands,
    dead_letters_commands, audit_commands,  complete_commands
};

static const struct component components[] = {
    { "librdkafka", kafka_library_version },   { "libcurl", client_library_version },
    { "jansson", json_library_version },       { "libpq", store_library_version },
    { "libsodium", seal_library_version },     { "libmicrohttpd", http_library_version },
    { "libsmartcols", table_library_version },
};

static const struct program program = { .commands = { groups, sizeof groups / sizeof groups[0] },
                                        .components = components,
                                        .n_components = sizeof components / sizeof components[0] };

int main(int argc, char *argv[])
{
    process_init();
    int status = program_main(&program, argc, argv);

    kafka_library_end(status);
    return status;
}
