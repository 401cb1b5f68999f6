#ifndef WORKER_HTTP_PAGE_POLICY_H
#define WORKER_HTTP_PAGE_POLICY_H

/*
 * What a browser may load for our answers (header Content-Security-Policy):
 * nothing, but for the pages' own style and script, which are allowed by their hashes,
 * and the page itself, which the script asks for again.
 */
#define CLOSED_POLICY "default-src 'none'; frame-ancestors 'none'"

enum { PAGE_POLICY_BYTES = 320 };

/* The status pages', for page_style() and page_script(). Never fails; any thread. */
void page_policy(char policy[PAGE_POLICY_BYTES]);

#endif
