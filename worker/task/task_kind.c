#include "worker/task/task_kind.h"

#include <string.h>

const struct task_kind task_kinds[] = {
    { "connection lists", connection_lists_task }, { "connection verify", connection_verify_task },
    { "export preview", export_preview_task },     { "export try", export_try_task },
    { "export verify", export_verify_task },       { NULL, NULL },
};

const struct task_kind *task_kind_find(const char *name)
{
    for (const struct task_kind *kind = task_kinds; kind->name; kind++)
        if (strcmp(kind->name, name) == 0)
            return kind;
    return NULL;
}
