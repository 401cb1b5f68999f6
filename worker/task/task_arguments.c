#include "worker/task/task_arguments.h"

const char *task_name(const json_t *arguments)
{
    const char *name = json_string_value(json_object_get(arguments, "name"));

    return name ? name : "";
}
