/* The handshake: what an honest pair packs both take, and whatever a stranger
 * changes of it is refused. */
#include "common/base/check.h"
#include "proto/handshake.h"
#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

struct exchange {
    unsigned char key[HANDSHAKE_KEY_SIZE];
    unsigned char hello[HANDSHAKE_HELLO_SIZE];
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    unsigned char proof[HANDSHAKE_PROOF_SIZE];
};

/* Bytes as they came: a Hello that is taken is within limits, and says the same
 * when it is packed again. */
static void try_hello(const unsigned char *bytes)
{
    unsigned char again[HANDSHAKE_HELLO_SIZE];
    struct hello h, same;

    if (handshake_unpack_hello(bytes, &h) != KV_OK) {
        return;
    }
    KV_CHECK(h.version_min >= 1 && h.version_min <= h.version_max);
    KV_CHECK(h.role == HANDSHAKE_WORKER || h.role == HANDSHAKE_SERVER);
    KV_CHECK(h.target == HANDSHAKE_CONTROL || h.target < KV_SHARDS_MAX);
    KV_CHECK(h.rank < KV_RANKS_MAX ||
             (h.rank == HANDSHAKE_RANK_NONE && h.target == HANDSHAKE_CONTROL));
    KV_CHECK(h.server < KV_SERVERS_MAX);
    handshake_pack_hello(&h, again);
    KV_CHECK(handshake_unpack_hello(again, &same) == KV_OK);
    KV_CHECK(memcmp(h.nonce, same.nonce, sizeof h.nonce) == 0);
    KV_CHECK(memcmp(h.job, same.job, sizeof h.job) == 0);
    KV_CHECK(h.rank == same.rank && h.token == same.token &&
             h.incarnation == same.incarnation && h.policy == same.policy &&
             h.server == same.server);
}

/* Whatever bytes come, they are only read. */
static void try_bytes(const struct exchange *x)
{
    struct challenge c;

    (void)!handshake_check_challenge(x->challenge, x->key, x->hello, &c);
    (void)!handshake_check_proof(x->proof, x->key, x->hello, x->challenge);
}

static void pack(struct exchange *x, struct fuzz_input *in)
{
    struct challenge c = {.version = (uint16_t)fuzz_take(in, 2),
                          .status = (int16_t)fuzz_take(in, 2),
                          .epoch = fuzz_take(in, 8),
                          .server = (uint32_t)fuzz_take(in, 4)};

    fuzz_copy(in, c.nonce, sizeof c.nonce);
    handshake_pack_challenge(&c, x->key, x->hello, x->challenge);
    handshake_pack_proof(x->key, x->hello, x->challenge, x->proof);
}

/* Only a server's status and a version that was not offered stand between an
 * honest challenge and its being taken. */
static void try_honest(const struct exchange *x)
{
    struct hello h;
    struct challenge c;
    enum kv_status status;

    KV_CHECK(handshake_check_proof(x->proof, x->key, x->hello, x->challenge) ==
             KV_OK);
    status = handshake_check_challenge(x->challenge, x->key, x->hello, &c);
    KV_CHECK(status != KV_EAUTH || c.status == KV_EAUTH);
    if (status == KV_OK && handshake_unpack_hello(x->hello, &h) == KV_OK) {
        KV_CHECK(c.status == KV_OK && c.version >= h.version_min &&
                 c.version <= h.version_max);
    }
}

static void flip(unsigned char *bytes, size_t size, uint64_t where)
{
    bytes[where / 8 % size] ^= (unsigned char)(1u << where % 8);
}

/* One bit, anywhere: who checks what it is in sees it. */
static void try_changed(struct exchange *x, uint64_t what, uint64_t where)
{
    bool client = true, server = true;
    struct challenge c;

    switch (what % 4) {
    case 0:
        flip(x->hello, sizeof x->hello, where);
        break;
    case 1:
        flip(x->key, sizeof x->key, where);
        break;
    case 2:
        flip(x->challenge, sizeof x->challenge, where);
        server = false; /* It knows what it sent. */
        break;
    default:
        flip(x->proof, sizeof x->proof, where);
        client = false;
    }
    KV_CHECK(!client || handshake_check_challenge(x->challenge, x->key,
                                                  x->hello, &c) != KV_OK);
    KV_CHECK(!server || handshake_check_proof(x->proof, x->key, x->hello,
                                              x->challenge) != KV_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct exchange x;

    fuzz_copy(&in, x.hello, sizeof x.hello);
    try_hello(x.hello);
    fuzz_copy(&in, x.key, sizeof x.key);
    fuzz_copy(&in, x.challenge, sizeof x.challenge);
    fuzz_copy(&in, x.proof, sizeof x.proof);
    try_bytes(&x);
    pack(&x, &in);
    try_honest(&x);
    try_changed(&x, fuzz_take(&in, 1), fuzz_take(&in, 2));
    return 0;
}
