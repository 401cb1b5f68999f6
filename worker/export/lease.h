#ifndef WORKER_EXPORT_LEASE_H
#define WORKER_EXPORT_LEASE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The lease: until when a run is ours (pure; times of clock_ms()).
 *
 * It is renewed five times in its length. It counts from before the renewal
 * was sent, so that we hold it to be over before the database does. In its
 * last third no import is begun: one that takes long must not arrive after
 * somebody else has taken the run.
 */
struct lease {
    int64_t length_ms;
    int64_t renewed_ms; /* before the last renewal was sent */
    int64_t next_ms;
};

/*
 * taken_ms: clock_ms() before the run was taken. Due: it is time to renew.
 * Over: the run is no longer ours, to be on the safe side. Imports may begin
 * until the last third. renewed: sent_ms is before the renewal was sent.
 */
void lease_init(struct lease *lease, int64_t length_ms, int64_t taken_ms);
bool lease_is_due(const struct lease *lease, int64_t now_ms);
bool lease_is_over(const struct lease *lease, int64_t now_ms);
bool lease_allows_import(const struct lease *lease, int64_t now_ms);
int64_t lease_imports_until_ms(const struct lease *lease);
void lease_renewed(struct lease *lease, int64_t sent_ms);

#endif
