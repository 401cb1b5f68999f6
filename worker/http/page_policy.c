#include "worker/http/page_policy.h"

#include <sodium.h>
#include <string.h>

#include "worker/http/page.h"

enum {
    HASH_TEXT_BYTES =
        sodium_base64_ENCODED_LEN(crypto_hash_sha256_BYTES, sodium_base64_VARIANT_ORIGINAL)
};

static void hash_text(const char *text, char *out)
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(hash, (const unsigned char *)text, strlen(text));
    (void)sodium_bin2base64(out, HASH_TEXT_BYTES, hash, sizeof hash,
                            sodium_base64_VARIANT_ORIGINAL);
}

void page_policy(char policy[PAGE_POLICY_BYTES])
{
    char style[HASH_TEXT_BYTES];
    char script[HASH_TEXT_BYTES];

    hash_text(page_style(), style);
    hash_text(page_script(), script);
    (void)snprintf(policy, PAGE_POLICY_BYTES,
                   CLOSED_POLICY "; style-src 'sha256-%s'; script-src 'sha256-%s'; img-src data:; "
                                 "connect-src 'self'; base-uri 'none'; form-action 'none'",
                   style, script);
}
