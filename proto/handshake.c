#include "proto/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "proto/limits.h"

#define HELLO_MAGIC UINT32_C(0x3148564b)     /* "KVH1" */
#define CHALLENGE_MAGIC UINT32_C(0x3143564b) /* "KVC1" */
#define PROOF_MAGIC UINT32_C(0x3150564b)     /* "KVP1" */

/* Offsets. What is not named here is sent as 0 and not looked at. */
enum {
    HELLO_VERSION_MIN = 4,
    HELLO_VERSION_MAX = 6,
    HELLO_ROLE = 8,
    HELLO_TARGET = 10,
    HELLO_RANK = 12,
    HELLO_POLICY = 16,
    HELLO_SERVER = 20,
    HELLO_INCARNATION = 24,
    HELLO_TOKEN = 32,
    HELLO_JOB = 40,
    HELLO_NONCE = 56,

    CHALLENGE_VERSION = 4,
    CHALLENGE_STATUS = 6,
    CHALLENGE_EPOCH = 8,
    CHALLENGE_NONCE = 16,
    CHALLENGE_SERVER = 48,
    CHALLENGE_MAC = 56,

    PROOF_MAC = 8,
};

#define MAC_SIZE 32
_Static_assert(CHALLENGE_MAC + MAC_SIZE == HANDSHAKE_CHALLENGE_SIZE, "layout");
_Static_assert(PROOF_MAC + MAC_SIZE == HANDSHAKE_PROOF_SIZE, "layout");

#define LABEL_SIZE 11
static const char server_label[] = "kvs1-server";
static const char client_label[] = "kvs1-client";

/* --- The MAC ------------------------------------------------------------- */

static void mac_of(const char *label, const unsigned char *key,
                   const unsigned char *hello, const unsigned char *challenge,
                   unsigned char out[MAC_SIZE])
{
    unsigned char text[LABEL_SIZE + HANDSHAKE_HELLO_SIZE + CHALLENGE_MAC];
    unsigned size = 0;

    memcpy(text, label, LABEL_SIZE);
    memcpy(text + LABEL_SIZE, hello, HANDSHAKE_HELLO_SIZE);
    memcpy(text + LABEL_SIZE + HANDSHAKE_HELLO_SIZE, challenge, CHALLENGE_MAC);
    KV_CHECK(HMAC(EVP_sha256(), key, HANDSHAKE_KEY_SIZE, text, sizeof text, out,
                  &size) != NULL);
    KV_CHECK(size == MAC_SIZE);
}

/* --- Hello --------------------------------------------------------------- */

void handshake_pack_hello(const struct hello *h,
                          unsigned char out[HANDSHAKE_HELLO_SIZE])
{
    memset(out, 0, HANDSHAKE_HELLO_SIZE);
    bytes_put_u32(out, HELLO_MAGIC);
    bytes_put_u16(out + HELLO_VERSION_MIN, h->version_min);
    bytes_put_u16(out + HELLO_VERSION_MAX, h->version_max);
    bytes_put_u16(out + HELLO_ROLE, h->role);
    bytes_put_u16(out + HELLO_TARGET, h->target);
    bytes_put_u32(out + HELLO_RANK, h->rank);
    bytes_put_u32(out + HELLO_POLICY, h->policy);
    bytes_put_u32(out + HELLO_SERVER, h->server);
    bytes_put_u64(out + HELLO_INCARNATION, h->incarnation);
    bytes_put_u64(out + HELLO_TOKEN, h->token);
    memcpy(out + HELLO_JOB, h->job, sizeof h->job);
    memcpy(out + HELLO_NONCE, h->nonce, sizeof h->nonce);
}

/* Versions may be none of ours: the door answers that with a status. */
static bool hello_ok(const struct hello *h)
{
    uint32_t rank_max =
        h->role == HANDSHAKE_WORKER ? KV_RANKS_MAX : KV_SERVERS_MAX;

    if (h->version_min < 1 || h->version_max < h->version_min) {
        return false;
    }
    if (h->role != HANDSHAKE_WORKER && h->role != HANDSHAKE_SERVER) {
        return false;
    }
    if (h->target != HANDSHAKE_CONTROL && h->target >= KV_SHARDS_MAX) {
        return false;
    }
    if (h->server >= KV_SERVERS_MAX) {
        return false;
    }
    if (h->rank == HANDSHAKE_RANK_NONE) {
        return h->role == HANDSHAKE_WORKER && h->target == HANDSHAKE_CONTROL;
    }
    return h->rank < rank_max;
}

enum kv_status
handshake_unpack_hello(const unsigned char in[HANDSHAKE_HELLO_SIZE],
                       struct hello *h)
{
    struct hello got;

    got.version_min = bytes_get_u16(in + HELLO_VERSION_MIN);
    got.version_max = bytes_get_u16(in + HELLO_VERSION_MAX);
    got.role = bytes_get_u16(in + HELLO_ROLE);
    got.target = bytes_get_u16(in + HELLO_TARGET);
    got.rank = bytes_get_u32(in + HELLO_RANK);
    got.policy = bytes_get_u32(in + HELLO_POLICY);
    got.server = bytes_get_u32(in + HELLO_SERVER);
    got.incarnation = bytes_get_u64(in + HELLO_INCARNATION);
    got.token = bytes_get_u64(in + HELLO_TOKEN);
    memcpy(got.job, in + HELLO_JOB, sizeof got.job);
    memcpy(got.nonce, in + HELLO_NONCE, sizeof got.nonce);
    if (bytes_get_u32(in) != HELLO_MAGIC || !hello_ok(&got)) {
        return KV_EPROTO;
    }
    *h = got;
    return KV_OK;
}

/* --- Challenge ----------------------------------------------------------- */

void handshake_pack_challenge(const struct challenge *c,
                              const unsigned char key[HANDSHAKE_KEY_SIZE],
                              const unsigned char hello[HANDSHAKE_HELLO_SIZE],
                              unsigned char out[HANDSHAKE_CHALLENGE_SIZE])
{
    memset(out, 0, HANDSHAKE_CHALLENGE_SIZE);
    bytes_put_u32(out, CHALLENGE_MAGIC);
    bytes_put_u16(out + CHALLENGE_VERSION, c->version);
    bytes_put_u16(out + CHALLENGE_STATUS, (uint16_t)c->status);
    bytes_put_u64(out + CHALLENGE_EPOCH, c->epoch);
    bytes_put_u32(out + CHALLENGE_SERVER, c->server);
    memcpy(out + CHALLENGE_NONCE, c->nonce, sizeof c->nonce);
    mac_of(server_label, key, hello, out, out + CHALLENGE_MAC);
}

enum kv_status
handshake_check_challenge(const unsigned char in[HANDSHAKE_CHALLENGE_SIZE],
                          const unsigned char key[HANDSHAKE_KEY_SIZE],
                          const unsigned char hello[HANDSHAKE_HELLO_SIZE],
                          struct challenge *c)
{
    unsigned char mac[MAC_SIZE];

    if (bytes_get_u32(in) != CHALLENGE_MAGIC) {
        return KV_EPROTO;
    }
    mac_of(server_label, key, hello, in, mac);
    if (CRYPTO_memcmp(mac, in + CHALLENGE_MAC, MAC_SIZE) != 0) {
        return KV_EAUTH;
    }
    c->version = bytes_get_u16(in + CHALLENGE_VERSION);
    c->status = (int16_t)bytes_get_u16(in + CHALLENGE_STATUS);
    c->epoch = bytes_get_u64(in + CHALLENGE_EPOCH);
    c->server = bytes_get_u32(in + CHALLENGE_SERVER);
    memcpy(c->nonce, in + CHALLENGE_NONCE, sizeof c->nonce);
    if (!kv_status_known(c->status)) {
        return KV_EPROTO;
    }
    if (c->status != KV_OK) {
        return (enum kv_status)c->status;
    }
    if (c->version < bytes_get_u16(hello + HELLO_VERSION_MIN) ||
        c->version > bytes_get_u16(hello + HELLO_VERSION_MAX)) {
        return KV_EPROTO;
    }
    return KV_OK;
}

/* --- Proof --------------------------------------------------------------- */

void handshake_pack_proof(
    const unsigned char key[HANDSHAKE_KEY_SIZE],
    const unsigned char hello[HANDSHAKE_HELLO_SIZE],
    const unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE],
    unsigned char out[HANDSHAKE_PROOF_SIZE])
{
    memset(out, 0, HANDSHAKE_PROOF_SIZE);
    bytes_put_u32(out, PROOF_MAGIC);
    mac_of(client_label, key, hello, challenge, out + PROOF_MAC);
}

enum kv_status
handshake_check_proof(const unsigned char in[HANDSHAKE_PROOF_SIZE],
                      const unsigned char key[HANDSHAKE_KEY_SIZE],
                      const unsigned char hello[HANDSHAKE_HELLO_SIZE],
                      const unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE])
{
    unsigned char proof[HANDSHAKE_PROOF_SIZE];

    handshake_pack_proof(key, hello, challenge, proof);
    return CRYPTO_memcmp(proof, in, sizeof proof) == 0 ? KV_OK : KV_EAUTH;
}

/* --- The key file -------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static enum kv_status
refuse(char *error, size_t error_size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error, error_size, fmt, args);
    va_end(args);
    return KV_EINVAL;
}

/* Exactly the key, and then the end of the file. */
static bool read_exactly(int fd, unsigned char key[HANDSHAKE_KEY_SIZE])
{
    unsigned char text[HANDSHAKE_KEY_SIZE + 1];
    size_t size = 0;
    ssize_t n = 1;

    while (n > 0 && size < sizeof text) {
        n = read(fd, text + size, sizeof text - size);
        size += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno == EINTR) {
            n = 1;
        }
    }
    if (n == 0 && size == HANDSHAKE_KEY_SIZE) {
        memcpy(key, text, HANDSHAKE_KEY_SIZE);
    }
    OPENSSL_cleanse(text, sizeof text);
    return n == 0 && size == HANDSHAKE_KEY_SIZE;
}

static enum kv_status read_key(int fd, const char *path,
                               unsigned char key[HANDSHAKE_KEY_SIZE],
                               char *error, size_t error_size)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return refuse(error, error_size, "key file %s: %s", path,
                      strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return refuse(error, error_size, "key file %s is not a regular file",
                      path);
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return refuse(error, error_size,
                      "key file %s has mode %04o: others than its owner may "
                      "use it; chmod 0600 it",
                      path, (unsigned)st.st_mode & 07777);
    }
    if (!read_exactly(fd, key)) {
        return refuse(error, error_size,
                      "key file %s does not hold exactly %d bytes", path,
                      HANDSHAKE_KEY_SIZE);
    }
    return KV_OK;
}

enum kv_status handshake_read_key(const char *path,
                                  unsigned char key[HANDSHAKE_KEY_SIZE],
                                  char *error, size_t error_size)
{
    enum kv_status status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0 && errno == ELOOP) {
        return refuse(error, error_size, "key file %s is a symbolic link",
                      path);
    }
    if (fd < 0) {
        return refuse(error, error_size, "key file %s: %s", path,
                      strerror(errno));
    }
    status = read_key(fd, path, key, error, error_size);
    close(fd);
    return status;
}

/* --- Nonces -------------------------------------------------------------- */

void handshake_random(void *out, size_t size)
{
    unsigned char *at = out;

    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);

        KV_CHECK(n > 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
}
