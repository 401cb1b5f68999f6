#include "worker/service/http_library.h"

#include <microhttpd.h>

const char *http_library_version(void)
{
    return MHD_get_version();
}
