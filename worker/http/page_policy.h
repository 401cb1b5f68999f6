#ifndef WORKER_HTTP_PAGE_POLICY_H
#define WORKER_HTTP_PAGE_POLICY_H

/*
 * What a browser may load for our answers (header Content-Security-Policy):
 * nothing, but for the page's own style, which is allowed by its hash.
 */
#define CLOSED_POLICY "default-src 'none'; frame-ancestors 'none'"

enum { PAGE_POLICY_BYTES = 192 };

/* The status page's, for page_style(). Never fails; any thread. */
void page_policy(char policy[PAGE_POLICY_BYTES]);

#endif
