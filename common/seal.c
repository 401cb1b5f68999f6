#include "common/seal.h"

#include <assert.h>
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include "common/strbuf.h"

static_assert(SEAL_KEY_BYTES == crypto_box_PUBLICKEYBYTES, "size of a public key");
static_assert(SEAL_KEY_BYTES == crypto_box_SECRETKEYBYTES, "size of a private key");
static_assert(SEAL_EXTRA_BYTES == crypto_box_SEALBYTES, "what a sealed box adds");

enum {
    FILE_MAX_BYTES = 1024, /* of a key file; ours has 45 */
    TEXT_BYTES = sodium_base64_ENCODED_LEN(SEAL_KEY_BYTES, sodium_base64_VARIANT_ORIGINAL),
};

bool seal_pair_generate(struct seal_pair *pair, struct error *err)
{
    struct seal_pair made = SEAL_PAIR_INIT;

    if (!secret_allocate(&made.private_key, SEAL_KEY_BYTES, err))
        return false;
    (void)crypto_box_keypair(made.public_key, (unsigned char *)made.private_key.bytes);
    *pair = made;
    return true;
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

/* A name is on the disk once its directory is. */
static bool sync_directory_of(const char *path)
{
    CLEANUP(strbuf_release) struct strbuf directory = STRBUF_INIT(4096);
    const char *slash = strrchr(path, '/');

    /* "/key" lies in "/", "key" in ".". */
    strbuf_add(&directory, slash ? path : ".", slash && slash > path ? (size_t)(slash - path) : 1);
    if (!strbuf_ok(&directory))
        return false;
    int fd = open(directory.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    (void)close(fd);
    return ok;
}

static bool write_text(const struct seal_pair *pair, int fd)
{
    struct secret text = SECRET_INIT;
    struct error ignored = ERROR_INIT;

    if (!secret_allocate(&text, TEXT_BYTES, &ignored))
        return false;
    (void)sodium_bin2base64(text.bytes, TEXT_BYTES, (const unsigned char *)pair->private_key.bytes,
                            SEAL_KEY_BYTES, sodium_base64_VARIANT_ORIGINAL);
    text.bytes[TEXT_BYTES - 1] = '\n'; /* where the NUL was */
    bool ok = write_all(fd, text.bytes, TEXT_BYTES) && fsync(fd) == 0;
    secret_release(&text);
    return ok;
}

bool seal_pair_save(const struct seal_pair *pair, const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, ERROR_INPUT, "cannot make the key file %s", path);

    bool ok = write_text(pair, fd);
    ok = close(fd) == 0 && ok;
    if (ok && sync_directory_of(path))
        return true;
    (void)error_errno(err, ERROR_INPUT, "cannot write the key file %s", path);
    (void)unlink(path);
    return false;
}

static bool decode(const struct secret *text, struct secret *key, const char *path,
                   struct error *err)
{
    size_t n;

    if (sodium_base642bin((unsigned char *)key->bytes, SEAL_KEY_BYTES, text->bytes, text->len, NULL,
                          &n, NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
        n == SEAL_KEY_BYTES)
        return true;
    return error_set(err, ERROR_INPUT,
                     "%s is not a key file: it must hold what klaviyo-worker keygen wrote", path);
}

bool seal_pair_load(struct seal_pair *pair, const char *path, struct error *err)
{
    CLEANUP(secret_release) struct secret text = SECRET_INIT;
    struct seal_pair read = SEAL_PAIR_INIT;

    if (!secret_read_file(&text, path, FILE_MAX_BYTES, err) ||
        !secret_allocate(&read.private_key, SEAL_KEY_BYTES, err))
        return false;
    if (!decode(&text, &read.private_key, path, err)) {
        seal_pair_release(&read);
        return false;
    }
    (void)crypto_scalarmult_base(read.public_key, (const unsigned char *)read.private_key.bytes);

    *pair = read;
    return true;
}

void seal_pair_release(struct seal_pair *pair)
{
    secret_release(&pair->private_key);
    *pair = SEAL_PAIR_INIT;
}

const char *seal_library_version(void)
{
    return sodium_version_string();
}

bool seal_close(const unsigned char *public_key, const struct secret *secret, unsigned char *sealed,
                struct error *err)
{
    return crypto_box_seal(sealed, (const unsigned char *)secret->bytes, secret->len, public_key) ==
               0 ||
           error_set(
               err, ERROR_INPUT,
               "the newest key pair's public half, in the database, is no key: make another "
               "pair with klaviyo-worker keygen --out FILE, and give the file to the workers");
}

bool seal_open(const struct seal_pair *pair, const unsigned char *sealed, size_t len,
               struct secret *out, struct error *err)
{
    CLEANUP(secret_release) struct secret opened = SECRET_INIT;

    if (len < SEAL_EXTRA_BYTES)
        return error_set(err, ERROR_INPUT, "the sealed key is damaged: it is too short");
    if (!secret_allocate(&opened, len - SEAL_EXTRA_BYTES, err))
        return false;
    if (crypto_box_seal_open((unsigned char *)opened.bytes, sealed, len, pair->public_key,
                             (const unsigned char *)pair->private_key.bytes) != 0)
        return error_set(err, ERROR_INPUT,
                         "the sealed key was sealed for another key file, or is damaged");
    *out = opened;
    opened = SECRET_INIT;
    return true;
}
