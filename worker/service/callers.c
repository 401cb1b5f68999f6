#include "worker/service/callers.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void note_address(struct caller *caller, const struct sockaddr *address)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;

    caller->address[0] = (unsigned char)address->sa_family;
    if (address->sa_family == AF_INET)
        memcpy(caller->address + 1, &four->sin_addr, sizeof four->sin_addr);
    else if (address->sa_family == AF_INET6)
        memcpy(caller->address + 1, &six->sin6_addr, sizeof six->sin6_addr);
}

static void cut(struct caller *caller, int64_t *total)
{
    caller->cut = true;
    (*total)++;
    (void)shutdown(caller->fd, SHUT_RDWR);
}

static bool is_neighbour(const struct caller *a, const struct caller *b)
{
    return memcmp(a->address, b->address, sizeof a->address) == 0;
}

static size_t count_neighbours(const struct callers *callers, const struct caller *of)
{
    size_t n = 0;

    for (const struct caller *at = callers->first; at; at = at->later)
        n += !at->cut && is_neighbour(at, of);
    return n;
}

static size_t count_all(const struct callers *callers)
{
    size_t n = 0;

    for (const struct caller *at = callers->first; at; at = at->later)
        n += !at->cut;
    return n;
}

static bool can_be_spared(const struct caller *caller, int64_t now_ms)
{
    bool slow = !caller->waiting_ms && now_ms - caller->since_ms >= CALLERS_GRACE_MS;

    return !caller->cut && (caller->answered || slow);
}

static void mind_crowd(struct callers *callers, int64_t now_ms)
{
    if (callers->n <= CALLERS_PER_ADDRESS || now_ms - callers->looked_ms < CALLERS_LOOK_MS)
        return;
    callers->looked_ms = now_ms;
    for (struct caller *at = callers->first; at; at = at->later)
        if (can_be_spared(at, now_ms) && (count_neighbours(callers, at) > CALLERS_PER_ADDRESS ||
                                          count_all(callers) > CALLERS_CROWD))
            cut(at, &callers->cut_crowded);
}

static void append(struct callers *callers, struct caller *caller)
{
    caller->earlier = callers->last;
    if (callers->last)
        callers->last->later = caller;
    else
        callers->first = caller;
    callers->last = caller;
    callers->n++;
}

struct caller *callers_add(struct callers *callers, int fd, const struct sockaddr *address,
                           int64_t now_ms)
{
    struct caller *caller = calloc(1, sizeof *caller);

    if (!caller)
        return NULL;
    caller->fd = fd;
    caller->since_ms = now_ms;
    note_address(caller, address);
    append(callers, caller);
    return caller;
}

void callers_remove(struct callers *callers, struct caller *caller)
{
    if (caller->earlier)
        caller->earlier->later = caller->later;
    else
        callers->first = caller->later;
    if (caller->later)
        caller->later->earlier = caller->earlier;
    else
        callers->last = caller->earlier;
    callers->n--;
    free(caller);
}

static void mind_deadlines(struct callers *callers, int64_t now_ms)
{
    for (struct caller *at = callers->first; at; at = at->later) {
        if (now_ms - at->since_ms < CALLERS_LIFETIME_MS)
            return;
        if (!at->cut)
            cut(at, &callers->cut_late);
    }
}

void callers_mind(struct callers *callers, int64_t now_ms)
{
    mind_deadlines(callers, now_ms);
    mind_crowd(callers, now_ms);
}

int64_t callers_next_ms(const struct callers *callers)
{
    if (callers->n > CALLERS_PER_ADDRESS)
        return callers->looked_ms + CALLERS_LOOK_MS;
    for (const struct caller *at = callers->first; at; at = at->later)
        if (!at->cut)
            return at->since_ms + CALLERS_LIFETIME_MS;
    return INT64_MAX;
}

bool callers_should_go(const struct callers *callers, const struct caller *caller, int64_t now_ms)
{
    return callers->n > CALLERS_PER_ADDRESS / 2 ||
           now_ms - caller->since_ms >= CALLERS_LAST_ANSWER_MS;
}
