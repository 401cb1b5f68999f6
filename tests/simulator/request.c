#include "tests/simulator/request.h"

#include <string.h>

const char *request_arg(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->n_args; i++)
        if (strcmp(request->args[i].name, name) == 0)
            return request->args[i].value;
    return NULL;
}
