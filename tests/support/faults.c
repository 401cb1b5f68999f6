#include "tests/support/faults.h"

#include <curl/curl.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <libsmartcols/libsmartcols.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRAMES = 24 };

#undef curl_easy_setopt
#undef curl_easy_getinfo

/*
 * Every call that can fail: result, name, parameters, arguments, and what it is
 * when it fails. fail_calls() in tests/CMakeLists.txt reads the names from here.
 */
/* clang-format off */
#define CALLS \
    CALL(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), (errno = EIO, -1)) \
    CALL(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), (errno = ENOSPC, -1)) \
    CALL(int, fsync, (int fd), (fd), (errno = EIO, -1)) \
    CALL(int, unlink, (const char *path), (path), (errno = EROFS, -1)) \
    CALL(int, stat, (const char *path, struct stat *to), (path, to), (errno = EACCES, -1)) \
    CALL(int, fstat, (int fd, struct stat *to), (fd, to), (errno = EIO, -1)) \
    CALL(FILE *, fopen, (const char *path, const char *mode), (path, mode), (errno = EMFILE, NULL)) \
    CALL(int, fflush, (FILE *file), (file), (errno = ENOSPC, EOF)) \
    CALL(int, eventfd, (unsigned n, int flags), (n, flags), (errno = EMFILE, -1)) \
    CALL(int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), (errno = EMFILE, -1)) \
    CALL(int, poll, (struct pollfd *fds, nfds_t n, int ms), (fds, n, ms), (errno = EINTR, -1)) \
    CALL(int, socket, (int family, int type, int protocol), (family, type, protocol), (errno = EMFILE, -1)) \
    CALL(int, bind, (int fd, const struct sockaddr *to, socklen_t n), (fd, to, n), (errno = EADDRINUSE, -1)) \
    CALL(int, listen, (int fd, int n), (fd, n), (errno = EADDRINUSE, -1)) \
    CALL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t n), \
         (fd, level, name, value, n), (errno = ENOMEM, -1)) \
    CALL(int, getsockname, (int fd, struct sockaddr *to, socklen_t *n), (fd, to, n), (errno = ENOBUFS, -1)) \
    CALL(int, getaddrinfo, (const char *node, const char *service, const struct addrinfo *hints, \
         struct addrinfo **to), (node, service, hints, to), EAI_AGAIN) \
    CALL(int, gethostname, (char *to, size_t n), (to, n), (errno = ENAMETOOLONG, -1)) \
    CALL(int, pthread_create, (pthread_t *to, const pthread_attr_t *how, void *(*run)(void *), void *with), \
         (to, how, run, with), EAGAIN) \
    CALL(int, pthread_mutex_init, (pthread_mutex_t *to, const pthread_mutexattr_t *how), (to, how), ENOMEM) \
    CALL(int, pthread_cond_init, (pthread_cond_t *to, const pthread_condattr_t *how), (to, how), ENOMEM) \
    CALL(int, sodium_init, (void), (), -1) \
    CALL(void *, sodium_malloc, (size_t n), (n), (errno = ENOMEM, NULL)) \
    CALL(int, crypto_box_seal, (unsigned char *to, const unsigned char *from, unsigned long long n, \
         const unsigned char *key), (to, from, n, key), -1) \
    CALL(int, crypto_box_seal_open, (unsigned char *to, const unsigned char *from, unsigned long long n, \
         const unsigned char *key, const unsigned char *secret), (to, from, n, key, secret), -1) \
    CALL(PGconn *, PQconnectStartParams, (const char *const *names, const char *const *values, int expand), \
         (names, values, expand), NULL) \
    CALL(PostgresPollingStatusType, PQconnectPoll, (PGconn *c), (c), PGRES_POLLING_FAILED) \
    CALL(PGresult *, PQexec, (PGconn *c, const char *sql), (c, sql), NULL) \
    CALL(int, PQsendQueryParams, (PGconn *c, const char *sql, int n, const Oid *types, \
         const char *const *values, const int *lengths, const int *formats, int format), \
         (c, sql, n, types, values, lengths, formats, format), 0) \
    CALL(PGresult *, PQgetResult, (PGconn *c), (c), no_result(c)) \
    CALL(int, PQconsumeInput, (PGconn *c), (c), 0) \
    CALL(int, PQgetCopyData, (PGconn *c, char **to, int async), (c, to, async), -2) \
    CALL(int, PQpipelineSync, (PGconn *c), (c), 0) \
    CALL(int, PQenterPipelineMode, (PGconn *c), (c), 0) \
    CALL(int, PQexitPipelineMode, (PGconn *c), (c), 0) \
    CALL(PGcancel *, PQgetCancel, (PGconn *c), (c), NULL) \
    CALL(int, PQcancel, (PGcancel *c, char *why, int n), (c, why, n), (why[0] = '\0', 0)) \
    CALL(PQconninfoOption *, PQconninfoParse, (const char *text, char **why), (text, why), (*why = NULL, NULL)) \
    CALL(const char *, PQparameterStatus, (const PGconn *c, const char *name), (c, name), NULL) \
    CALL(CURLcode, curl_global_init_mem, (long flags, curl_malloc_callback m, curl_free_callback f, \
         curl_realloc_callback r, curl_strdup_callback s, curl_calloc_callback c), \
         (flags, m, f, r, s, c), CURLE_FAILED_INIT) \
    CALL(CURL *, curl_easy_init, (void), (), NULL) \
    CALL(CURL *, curl_easy_duphandle, (CURL *easy), (easy), NULL) \
    CALL(char *, curl_easy_escape, (CURL *easy, const char *text, int n), (easy, text, n), NULL) \
    CALL(CURLHcode, curl_easy_header, (CURL *easy, const char *name, size_t i, unsigned origin, int request, \
         struct curl_header **to), (easy, name, i, origin, request, to), CURLHE_OUT_OF_MEMORY) \
    CALL(CURLU *, curl_url, (void), (), NULL) \
    CALL(CURLU *, curl_url_dup, (const CURLU *url), (url), NULL) \
    CALL(CURLUcode, curl_url_get, (const CURLU *url, CURLUPart part, char **to, unsigned flags), \
         (url, part, to, flags), CURLUE_OUT_OF_MEMORY) \
    CALL(CURLUcode, curl_url_set, (CURLU *url, CURLUPart part, const char *text, unsigned flags), \
         (url, part, text, flags), CURLUE_OUT_OF_MEMORY) \
    CALL(struct curl_slist *, curl_slist_append, (struct curl_slist *list, const char *text), (list, text), NULL) \
    CALL(CURLM *, curl_multi_init, (void), (), NULL) \
    CALL(CURLMcode, curl_multi_add_handle, (CURLM *multi, CURL *easy), (multi, easy), CURLM_OUT_OF_MEMORY) \
    CALL(CURLMcode, curl_multi_perform, (CURLM *multi, int *n), (multi, n), CURLM_OUT_OF_MEMORY) \
    CALL(CURLMcode, curl_multi_poll, (CURLM *multi, struct curl_waitfd *fds, unsigned n, int ms, int *ready), \
         (multi, fds, n, ms, ready), CURLM_OUT_OF_MEMORY) \
    CALL(struct MHD_Response *, MHD_create_response_from_buffer, (size_t n, void *from, \
         enum MHD_ResponseMemoryMode mode), (n, from, mode), NULL) \
    CALL(enum MHD_Result, MHD_add_response_header, (struct MHD_Response *to, const char *name, const char *value), \
         (to, name, value), MHD_NO) \
    CALL(enum MHD_Result, MHD_queue_response, (struct MHD_Connection *c, unsigned status, struct MHD_Response *r), \
         (c, status, r), MHD_NO) \
    CALL(enum MHD_Result, MHD_run, (struct MHD_Daemon *daemon), (daemon), MHD_NO) \
    CALL(rd_kafka_t *, rd_kafka_new, (rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t n), \
         (type, conf, why, n), ((void)snprintf(why, n, "a fault"), NULL)) \
    CALL(rd_kafka_conf_res_t, rd_kafka_conf_set, (rd_kafka_conf_t *conf, const char *name, const char *value, \
         char *why, size_t n), (conf, name, value, why, n), \
         ((void)snprintf(why, n, "a fault"), RD_KAFKA_CONF_INVALID)) \
    CALL(rd_kafka_resp_err_t, rd_kafka_poll_set_consumer, (rd_kafka_t *rk), (rk), RD_KAFKA_RESP_ERR__STATE) \
    CALL(rd_kafka_resp_err_t, rd_kafka_subscribe, (rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *to), \
         (rk, to), RD_KAFKA_RESP_ERR__FAIL) \
    CALL(rd_kafka_resp_err_t, rd_kafka_assign, (rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *to), \
         (rk, to), RD_KAFKA_RESP_ERR__FAIL) \
    CALL(rd_kafka_error_t *, rd_kafka_incremental_assign, (rd_kafka_t *rk, \
         const rd_kafka_topic_partition_list_t *to), (rk, to), a_kafka_error()) \
    CALL(rd_kafka_error_t *, rd_kafka_incremental_unassign, (rd_kafka_t *rk, \
         const rd_kafka_topic_partition_list_t *to), (rk, to), a_kafka_error()) \
    CALL(rd_kafka_resp_err_t, rd_kafka_offsets_store, (rd_kafka_t *rk, rd_kafka_topic_partition_list_t *to), \
         (rk, to), RD_KAFKA_RESP_ERR__FAIL) \
    CALL(rd_kafka_resp_err_t, rd_kafka_pause_partitions, (rd_kafka_t *rk, rd_kafka_topic_partition_list_t *to), \
         (rk, to), RD_KAFKA_RESP_ERR__FAIL) \
    CALL(rd_kafka_resp_err_t, rd_kafka_resume_partitions, (rd_kafka_t *rk, rd_kafka_topic_partition_list_t *to), \
         (rk, to), RD_KAFKA_RESP_ERR__FAIL) \
    CALL(rd_kafka_resp_err_t, rd_kafka_committed, (rd_kafka_t *rk, rd_kafka_topic_partition_list_t *to, int ms), \
         (rk, to, ms), RD_KAFKA_RESP_ERR__TIMED_OUT) \
    CALL(rd_kafka_resp_err_t, rd_kafka_commit_queue, (rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *to, \
         rd_kafka_queue_t *queue, void (*cb)(rd_kafka_t *, rd_kafka_resp_err_t, \
         rd_kafka_topic_partition_list_t *, void *), void *opaque), (rk, to, queue, cb, opaque), \
         RD_KAFKA_RESP_ERR__FAIL) \
    CALL(rd_kafka_resp_err_t, rd_kafka_metadata, (rd_kafka_t *rk, int all, rd_kafka_topic_t *only, \
         const struct rd_kafka_metadata **to, int ms), (rk, all, only, to, ms), RD_KAFKA_RESP_ERR__TRANSPORT) \
    CALL(rd_kafka_resp_err_t, rd_kafka_query_watermark_offsets, (rd_kafka_t *rk, const char *topic, \
         int32_t partition, int64_t *low, int64_t *high, int ms), (rk, topic, partition, low, high, ms), \
         RD_KAFKA_RESP_ERR__TIMED_OUT) \
    CALL(rd_kafka_resp_err_t, rd_kafka_flush, (rd_kafka_t *rk, int ms), (rk, ms), RD_KAFKA_RESP_ERR__TIMED_OUT) \
    CALL(rd_kafka_topic_t *, rd_kafka_topic_new, (rd_kafka_t *rk, const char *name, rd_kafka_topic_conf_t *conf), \
         (rk, name, conf), NULL) \
    CALL(int, rd_kafka_consume_start_queue, (rd_kafka_topic_t *topic, int32_t partition, int64_t offset, \
         rd_kafka_queue_t *queue), (topic, partition, offset, queue), (errno = EINVAL, -1)) \
    CALL(rd_kafka_error_t *, rd_kafka_produceva, (rd_kafka_t *rk, const rd_kafka_vu_t *vus, size_t n), \
         (rk, vus, n), a_kafka_error()) \
    CALL(rd_kafka_error_t *, rd_kafka_consumer_close_queue, (rd_kafka_t *rk, rd_kafka_queue_t *queue), \
         (rk, queue), a_kafka_error()) \
    CALL(rd_kafka_resp_err_t, rd_kafka_header_add, (rd_kafka_headers_t *to, const char *name, ssize_t name_n, \
         const void *value, ssize_t n), (to, name, name_n, value, n), RD_KAFKA_RESP_ERR__FAIL) \
    CALL(struct libscols_table *, scols_new_table, (void), (), NULL) \
    CALL(struct libscols_column *, scols_table_new_column, (struct libscols_table *table, const char *name, \
         double width, int flags), (table, name, width, flags), NULL) \
    CALL(struct libscols_line *, scols_table_new_line, (struct libscols_table *table, \
         struct libscols_line *parent), (table, parent), NULL) \
    CALL(int, scols_line_set_data, (struct libscols_line *line, size_t n, const char *text), (line, n, text), -ENOMEM) \
    CALL(int, scols_print_table, (struct libscols_table *table), (table), -ENOMEM)
/* clang-format on */

/* These take a list of arguments of any length, or are one fault together. */
#define OTHERS           \
    OTHER(memory)        \
    OTHER(clock_gettime) \
    OTHER(open) OTHER(curl_easy_setopt) OTHER(curl_easy_getinfo) OTHER(MHD_start_daemon)

enum number {
#define CALL(result, name, parameters, arguments, failing) NUMBER_##name,
#define OTHER(name) NUMBER_##name,
    CALLS OTHERS
#undef CALL
#undef OTHER
        N_FAULTS
};

#define NAMED(text)   \
    {                 \
        .name = #text \
    }
static struct fault own[N_FAULTS] = {
#define CALL(result, name, parameters, arguments, failing) NAMED(name),
#define OTHER(name) NAMED(name),
    CALLS OTHERS
#undef CALL
#undef OTHER
};
static struct fault *faults = own;

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

extern const char _end[];

static bool is_ours(const void *address)
{
    return (uintptr_t)address >= (uintptr_t)__ehdr_start && (uintptr_t)address < (uintptr_t)_end;
}

/* One number for the functions of ours that led here: the same in each process. */
static uint64_t way_here(void)
{
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    uint64_t way = 14695981039346656037u; /* FNV-1a */

    for (int i = 0; i < n; i++)
        if (is_ours(frames[i]))
            way = (way ^ ((uintptr_t)frames[i] - (uintptr_t)__ehdr_start)) * 1099511628211u;
    return way;
}

static void note_way(struct fault *fault, uint64_t way, uint64_t call)
{
    for (int i = 0; i < FAULT_WAYS; i++) {
        struct fault_way *slot = &fault->ways[(way + (uint64_t)i) % FAULT_WAYS];
        uint64_t found = 0;
        if (__atomic_compare_exchange_n(&slot->way, &found, way, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            __atomic_store_n(&slot->call, call, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&slot->way, __ATOMIC_SEQ_CST) == way)
            return;
    }
}

static bool fails(enum number number, const void *from)
{
    struct fault *fault = &faults[number];
    uint64_t address = (uint64_t)((uintptr_t)from - (uintptr_t)__ehdr_start);
    uint64_t call = __atomic_add_fetch(&fault->calls, 1, __ATOMIC_SEQ_CST);
    uint64_t at = __atomic_load_n(&fault->fail_at, __ATOMIC_SEQ_CST);

    note_way(fault, way_here(), call);
    if (at == 0 || call < at || call - at >= fault->times)
        return false;
    fault->where = address;
    __atomic_add_fetch(&fault->failed, 1, __ATOMIC_SEQ_CST);
    return true;
}

#define FAILS(name) fails(NUMBER_##name, __builtin_return_address(0))

PGresult *__real_PQgetResult(PGconn *c);

/* What libpq gives where it has no memory for a result. */
static PGresult *no_result(PGconn *c)
{
    PGresult *result = __real_PQgetResult(c);

    if (!result)
        return NULL;
    PQclear(result);
    return PQmakeEmptyPGresult(c, PGRES_FATAL_ERROR);
}

static rd_kafka_error_t *a_kafka_error(void)
{
    return rd_kafka_error_new(RD_KAFKA_RESP_ERR__FAIL, "a fault");
}

#define CALL(result, name, parameters, arguments, failing) \
    result __real_##name parameters;                       \
    result __wrap_##name parameters;                       \
    result __wrap_##name parameters                        \
    {                                                      \
        if (FAILS(name))                                   \
            return failing;                                \
        return __real_##name arguments;                    \
    }
/* NOLINTNEXTLINE(readability-function-size): as many parameters as libpq's own has */
CALLS
#undef CALL

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    if (FAILS(open)) {
        errno = EMFILE;
        return -1;
    }
    return __real_open(path, flags, mode);
}

CURLcode __real_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    va_list args;

    va_start(args, option);
    void *value = va_arg(args, void *); /* a long, an offset or a pointer: all of one size */
    va_end(args);
    return FAILS(curl_easy_setopt) ? CURLE_OUT_OF_MEMORY
                                   : __real_curl_easy_setopt(easy, option, value);
}

CURLcode __real_curl_easy_getinfo(CURL *easy, CURLINFO info, ...);
CURLcode __wrap_curl_easy_getinfo(CURL *easy, CURLINFO info, ...);
CURLcode __wrap_curl_easy_getinfo(CURL *easy, CURLINFO info, ...)
{
    va_list args;

    va_start(args, info);
    void *to = va_arg(args, void *);
    va_end(args);
    return FAILS(curl_easy_getinfo) ? CURLE_OUT_OF_MEMORY
                                    : __real_curl_easy_getinfo(easy, info, to);
}

struct MHD_Daemon *__wrap_MHD_start_daemon(unsigned flags, uint16_t port,
                                           MHD_AcceptPolicyCallback accept, void *accept_with,
                                           MHD_AccessHandlerCallback handle, void *handle_with,
                                           ...);
struct MHD_Daemon *__wrap_MHD_start_daemon(unsigned flags, uint16_t port,
                                           MHD_AcceptPolicyCallback accept, void *accept_with,
                                           MHD_AccessHandlerCallback handle, void *handle_with, ...)
{
    struct MHD_Daemon *daemon = NULL;
    va_list args;

    va_start(args, handle_with);
    if (!FAILS(MHD_start_daemon))
        daemon = MHD_start_daemon_va(flags, port, accept, accept_with, handle, handle_with, args);
    va_end(args);
    return daemon;
}

/*
 * The wall clock does not fail: it is wrong. With fail_at it is `times` seconds off, or stands
 * at the `times` seconds since 1970 that fail_at = 2 says.
 */
int __real_clock_gettime(clockid_t id, struct timespec *to);
int __wrap_clock_gettime(clockid_t id, struct timespec *to);
int __wrap_clock_gettime(clockid_t id, struct timespec *to)
{
    const struct fault *clock = &faults[NUMBER_clock_gettime];
    int failed = __real_clock_gettime(id, to);

    if (id != CLOCK_REALTIME || clock->fail_at == 0)
        return failed;
    *to =
        (struct timespec){ .tv_sec = (time_t)clock->times + (clock->fail_at == 1 ? to->tv_sec : 0),
                           .tv_nsec = clock->fail_at == 1 ? to->tv_nsec : 0 };
    return failed;
}

#define ALLOCATION(result, name, parameters, arguments, failing) \
    result __real_##name parameters;                             \
    result __wrap_##name parameters;                             \
    result __wrap_##name parameters                              \
    {                                                            \
        if (FAILS(memory)) {                                     \
            errno = ENOMEM;                                      \
            return failing;                                      \
        }                                                        \
        return __real_##name arguments;                          \
    }
ALLOCATION(void *, malloc, (size_t n), (n), NULL)
ALLOCATION(void *, calloc, (size_t n, size_t size), (n, size), NULL)
ALLOCATION(void *, realloc, (void *old, size_t n), (old, n), NULL)
ALLOCATION(void *, reallocarray, (void *old, size_t n, size_t size), (old, n, size), NULL)
ALLOCATION(char *, strdup, (const char *text), (text), NULL)
ALLOCATION(char *, strndup, (const char *text, size_t n), (text, n), NULL)
ALLOCATION(int, vasprintf, (char **to, const char *fmt, va_list args), (to, fmt, args), -1)

static struct fault *named(const char *name)
{
    for (int i = 0; i < N_FAULTS; i++)
        if (strcmp(faults[i].name, name) == 0)
            return &faults[i];
    abort();
}

void fault_arm(const char *name, uint64_t nth, uint64_t times)
{
    struct fault *fault = named(name);

    fault->failed = 0;
    fault->times = times;
    __atomic_store_n(&fault->fail_at, fault->calls + nth, __ATOMIC_SEQ_CST);
}

bool fault_disarm(const char *name)
{
    struct fault *fault = named(name);

    fault->fail_at = 0;
    return fault->failed > 0;
}

/* What the file says to fail fails from the first call of the program on. */
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_FILE"); /* NOLINT(concurrency-mt-unsafe): no thread yet */

    json_set_alloc_funcs(__wrap_malloc, free);
    if (!path)
        return;
    int fd = __real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)sizeof own) != 0)
        abort();
    faults = mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (faults == MAP_FAILED)
        abort();
    for (int i = 0; i < N_FAULTS; i++)
        (void)snprintf(faults[i].name, FAULT_NAME_BYTES, "%s", own[i].name);
}
