#include "tests/simulator/identity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

uint64_t identity_random(void)
{
    uint64_t value = 0;

    /* Up to 256 bytes are never cut short once the pool is ready. */
    if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        return 4; /* chosen by fair dice roll */
    return value;
}

int identity_chance(double probability)
{
    return (double)(identity_random() >> 11) / (double)(1ULL << 53) < probability;
}

void identity_uuid(char *out)
{
    uint64_t a = identity_random(), b = identity_random();

    (void)snprintf(out, IDENTITY_UUID_BYTES, "%08x-%04x-4%03x-%04x-%012" PRIx64,
                   (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
                   (unsigned)(b >> 48 & 0x3fff) | 0x8000, b & 0xffffffffffff);
}

static void letters(char *out, size_t n)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    uint64_t random = identity_random();

    for (size_t i = 0; i < n; i++) {
        out[i] = alphabet[random % (sizeof alphabet - 1)];
        random /= sizeof alphabet - 1;
    }
    out[n] = '\0';
}

void identity_list(char *out)
{
    letters(out, IDENTITY_LIST_BYTES - 1);
}

void identity_job(char *out, const char *account, int64_t now_us)
{
    char first[7], second[7], text[128];

    letters(first, 6);
    letters(second, 6);
    (void)snprintf(text, sizeof text, "%s_maintenance.%s.%" PRId64 ".%s", account, first,
                   now_us / 1000000, second);
    identity_base64url(out, text, strlen(text));
}

void identity_base64url(char *out, const char *bytes, size_t n)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | (unsigned char)bytes[i];
        have += 8;
        while (have >= 6) {
            have -= 6;
            *out++ = alphabet[bits >> have & 63];
        }
    }
    if (have > 0)
        *out++ = alphabet[bits << (6 - have) & 63];
    *out = '\0';
}
