#include "worker/task/task_kind.h"

#include <string.h>

const struct task_kind task_kinds[] = {
    { "connection lists", connection_lists_task, false },
    { "connection verify", connection_verify_task, false },
    { "export preview", export_preview_task, false },
    { "export try", export_try_task, true },
    { "export verify", export_verify_task, false },
    { NULL, NULL, false },
};

const struct task_kind *task_kind_find(const char *name)
{
    for (const struct task_kind *kind = task_kinds; kind->name; kind++)
        if (strcmp(kind->name, name) == 0)
            return kind;
    return NULL;
}
