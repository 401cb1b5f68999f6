#include "common/secret.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool secret_library_init(struct error *err)
{
    if (sodium_init() < 0)
        return error_set(err, ERROR_FATAL, "libsodium does not start: no source of randomness");
    return true;
}

bool secret_allocate(struct secret *secret, size_t len, struct error *err)
{
    char *bytes = sodium_malloc(len + 1);

    if (!bytes)
        return error_no_memory(err);
    bytes[len] = '\0';
    *secret = (struct secret){ .bytes = bytes, .len = len };
    return true;
}

/* Reads until the end or until the room is full; false on a failed read. */
static bool read_all(int fd, char *room, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size) {
        ssize_t n = read(fd, room + *got, size - *got);
        if (n < 0)
            return false;
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return true;
}

static void trim_end(struct secret *secret)
{
    assert(secret->bytes);
    while (secret->len > 0 && isspace((unsigned char)secret->bytes[secret->len - 1]))
        secret->len--;
    secret->bytes[secret->len] = '\0';
}

static bool read_secret(struct secret *secret, int fd, const char *name, size_t max,
                        struct error *err)
{
    CLEANUP(secret_release) struct secret room = SECRET_INIT;
    size_t got;

    if (!secret_allocate(&room, max + 1, err))
        return false;
    if (!read_all(fd, room.bytes, max + 1, &got))
        return error_errno(err, ERROR_INPUT, "cannot read %s", name);
    if (got > max)
        return error_set(err, ERROR_INPUT, "%s holds more than %zu bytes: is it the right file?",
                         name, max);
    room.len = got;
    trim_end(&room);
    if (room.len == 0)
        return error_set(err, ERROR_INPUT, "%s is empty: put the secret into it", name);

    *secret = room;
    room = SECRET_INIT;
    return true;
}

bool secret_read_file(struct secret *secret, const char *path, size_t max, struct error *err)
{
    if (strcmp(path, "-") == 0)
        return read_secret(secret, STDIN_FILENO, "standard input", max, err);

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, ERROR_INPUT, "cannot open the secret's file %s", path);
    bool ok = read_secret(secret, fd, path, max, err);
    (void)close(fd);
    return ok;
}

bool secret_file_exposed(const char *path)
{
    struct stat status;

    return strcmp(path, "-") != 0 && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
           (status.st_mode & S_IROTH) != 0;
}

void secret_fingerprint(const struct secret *secret, char out[SECRET_FINGERPRINT_BYTES])
{
    static const unsigned char purpose[] = "klaviyo-worker secret_fingerprint";
    unsigned char hash[crypto_generichash_BYTES_MIN];

    (void)crypto_generichash(hash, sizeof hash, (const unsigned char *)secret->bytes, secret->len,
                             purpose, sizeof purpose);
    (void)sodium_bin2hex(out, SECRET_FINGERPRINT_BYTES, hash, SECRET_FINGERPRINT_BYTES / 2);
}

void secret_release(struct secret *secret)
{
    sodium_free(secret->bytes); /* wipes; accepts NULL */
    *secret = SECRET_INIT;
}
