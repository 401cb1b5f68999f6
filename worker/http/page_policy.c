#include "worker/http/page_policy.h"

#include <sodium.h>
#include <string.h>

#include "worker/http/page.h"

void page_policy(char policy[PAGE_POLICY_BYTES])
{
    const char *style = page_style();
    unsigned char hash[crypto_hash_sha256_BYTES];
    char text[sodium_base64_ENCODED_LEN(sizeof hash, sodium_base64_VARIANT_ORIGINAL)];

    (void)crypto_hash_sha256(hash, (const unsigned char *)style, strlen(style));
    (void)sodium_bin2base64(text, sizeof text, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
    (void)snprintf(policy, PAGE_POLICY_BYTES,
                   CLOSED_POLICY "; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'",
                   text);
}
