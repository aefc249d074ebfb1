/**
 * handshake - who may speak, before any parser runs.
 *
 *   client                               server
 *     Hello (96 bytes)       ------->      job, versions, role, nonce
 *                            <-------    Challenge (88 bytes): nonce, MAC
 *     checks the server's MAC
 *     Proof (40 bytes)       ------->      checks the client's MAC
 *                            <-------    frames from here on; Welcome first
 *
 * MAC = HMAC-SHA256(key, label || Hello || Challenge without its MAC). The two
 * directions have different labels, so nothing can be reflected; both nonces
 * are fresh, so nothing can be replayed; versions, job, role, rank and
 * incarnation are inside. Without a key file (loopback only) the key is 32
 * zero bytes and the same bytes flow.
 *
 * Messages of fixed size, little-endian; the layouts are in PROTOCOL.md.
 *
 * Thread:  pure. Nonces come from the caller.
 */
#ifndef KV_PROTO_HANDSHAKE_H
#define KV_PROTO_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define HANDSHAKE_HELLO_SIZE 96
#define HANDSHAKE_CHALLENGE_SIZE 88
#define HANDSHAKE_PROOF_SIZE 40
#define HANDSHAKE_KEY_SIZE 32
#define HANDSHAKE_NONCE_SIZE 32
#define HANDSHAKE_JOB_SIZE 16

#define HANDSHAKE_CONTROL 0xffffu       /* hello.target: not a shard. */
#define HANDSHAKE_RANK_NONE 0xffffffffu /* hello.rank: please assign one. */

enum handshake_role { HANDSHAKE_WORKER = 1, HANDSHAKE_SERVER = 2 };

struct hello {
    uint16_t version_min, version_max;
    uint16_t role;        /* enum handshake_role */
    uint16_t target;      /* Shard, or HANDSHAKE_CONTROL. */
    uint32_t server;      /* Which one it takes the other end for. */
    uint32_t rank;        /* Of a worker; index of a server. */
    uint32_t policy;      /* Of a worker, as sent: an enum kv_policy_id. */
    uint64_t incarnation; /* The n-th life of this rank; grows. */
    uint64_t token;       /* Random; tells two processes of one life apart. */
    uint8_t job[HANDSHAKE_JOB_SIZE];
    uint8_t nonce[HANDSHAKE_NONCE_SIZE];
};

struct challenge {
    uint16_t version; /* The one to speak. */
    int16_t status;   /* enum kv_status; an error ends it here. */
    uint32_t server;  /* Which one this is. */
    uint64_t epoch;   /* Life of the server. */
    uint8_t nonce[HANDSHAKE_NONCE_SIZE];
};

void handshake_pack_hello(const struct hello *h,
                          unsigned char out[HANDSHAKE_HELLO_SIZE]);

/* KV_EPROTO when it is none: wrong magic, role, rank beyond a limit. */
KV_MUST_CHECK enum kv_status
handshake_unpack_hello(const unsigned char in[HANDSHAKE_HELLO_SIZE],
                       struct hello *h);

/* The server's answer to `hello` (the bytes as they came). */
void handshake_pack_challenge(const struct challenge *c,
                              const unsigned char key[HANDSHAKE_KEY_SIZE],
                              const unsigned char hello[HANDSHAKE_HELLO_SIZE],
                              unsigned char out[HANDSHAKE_CHALLENGE_SIZE]);

/* KV_EAUTH when the server does not know the key; its status when it refuses;
 * KV_EPROTO for anything that is no challenge, or a version that was not
 * offered. Once the MAC holds, *c is set whatever the result. */
KV_MUST_CHECK enum kv_status
handshake_check_challenge(const unsigned char in[HANDSHAKE_CHALLENGE_SIZE],
                          const unsigned char key[HANDSHAKE_KEY_SIZE],
                          const unsigned char hello[HANDSHAKE_HELLO_SIZE],
                          struct challenge *c);

void handshake_pack_proof(
    const unsigned char key[HANDSHAKE_KEY_SIZE],
    const unsigned char hello[HANDSHAKE_HELLO_SIZE],
    const unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE],
    unsigned char out[HANDSHAKE_PROOF_SIZE]);

/* KV_EAUTH when the client does not know the key. Constant time. */
KV_MUST_CHECK enum kv_status
handshake_check_proof(const unsigned char in[HANDSHAKE_PROOF_SIZE],
                      const unsigned char key[HANDSHAKE_KEY_SIZE],
                      const unsigned char hello[HANDSHAKE_HELLO_SIZE],
                      const unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE]);

/* Read exactly 32 bytes from a regular file that only its owner can read; the
 * sentence in `error` says what is wrong otherwise. */
KV_MUST_CHECK enum kv_status
handshake_read_key(const char *path, unsigned char key[HANDSHAKE_KEY_SIZE],
                   char *error, size_t error_size);

/* Random bytes from the kernel. */
void handshake_random(void *out, size_t size);

#endif
