#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/handshake.h"
#include "proto/limits.h"

struct fixture {
    struct hello hello;
    struct challenge challenge;
    unsigned char key[HANDSHAKE_KEY_SIZE];
    unsigned char hello_wire[HANDSHAKE_HELLO_SIZE];
    unsigned char challenge_wire[HANDSHAKE_CHALLENGE_SIZE];
    unsigned char proof_wire[HANDSHAKE_PROOF_SIZE];
    char folder[32], path[64];
};

static void shake(struct fixture *f)
{
    handshake_pack_hello(&f->hello, f->hello_wire);
    handshake_pack_challenge(&f->challenge, f->key, f->hello_wire,
                             f->challenge_wire);
    handshake_pack_proof(f->key, f->hello_wire, f->challenge_wire,
                         f->proof_wire);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->hello.version_min = 1;
    f->hello.version_max = 3;
    f->hello.role = HANDSHAKE_WORKER;
    f->hello.target = 2;
    f->hello.rank = 5;
    f->hello.policy = 1;
    f->hello.server = 4;
    f->hello.incarnation = 7;
    f->hello.token = UINT64_C(0x1122334455667788);
    memset(f->hello.job, 0x55, sizeof f->hello.job);
    f->challenge.version = 2;
    f->challenge.epoch = 9;
    f->challenge.server = 4;
    handshake_random(f->hello.nonce, sizeof f->hello.nonce);
    handshake_random(f->challenge.nonce, sizeof f->challenge.nonce);
    handshake_random(f->key, sizeof f->key);
    shake(f);
    strcpy(f->folder, "/tmp/kv-handshake-XXXXXX");
    if (mkdtemp(f->folder) == NULL) {
        return -1;
    }
    snprintf(f->path, sizeof f->path, "%s/key", f->folder);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static enum kv_status check_challenge(const struct fixture *f,
                                      struct challenge *c)
{
    return handshake_check_challenge(f->challenge_wire, f->key, f->hello_wire,
                                     c);
}

static enum kv_status check_proof(const struct fixture *f)
{
    return handshake_check_proof(f->proof_wire, f->key, f->hello_wire,
                                 f->challenge_wire);
}

static void expect(enum kv_status status, enum kv_status expected)
{
    assert_string_equal(kv_strstatus(status), kv_strstatus(expected));
}

/* --- Agreement ------------------------------------------------------------ */

static void test_both_sides_agree(void **state)
{
    struct fixture *f = *state;
    struct challenge c = {0};
    struct hello h = {0};

    expect(handshake_unpack_hello(f->hello_wire, &h), KV_OK);
    assert_int_equal(h.version_min, 1);
    assert_int_equal(h.version_max, 3);
    assert_int_equal(h.role, HANDSHAKE_WORKER);
    assert_int_equal(h.target, 2);
    assert_int_equal(h.rank, 5);
    assert_int_equal(h.policy, 1);
    assert_int_equal(h.server, 4);
    assert_int_equal(h.incarnation, 7);
    assert_int_equal(h.token, f->hello.token);
    assert_memory_equal(h.job, f->hello.job, sizeof h.job);
    assert_memory_equal(h.nonce, f->hello.nonce, sizeof h.nonce);
    expect(check_challenge(f, &c), KV_OK);
    assert_int_equal(c.version, 2);
    assert_int_equal(c.status, KV_OK);
    assert_int_equal(c.epoch, 9);
    assert_int_equal(c.server, 4);
    assert_memory_equal(c.nonce, f->challenge.nonce, sizeof c.nonce);
    expect(check_proof(f), KV_OK);
}

static void test_a_refusal_is_told_and_proven(void **state)
{
    struct fixture *f = *state;
    struct challenge c = {0};

    f->challenge.status = KV_ESTALE;
    f->challenge.version = 40;
    shake(f);
    expect(check_challenge(f, &c), KV_ESTALE);
    assert_int_equal(c.version, 40);
    f->key[0] ^= 1;
    expect(check_challenge(f, &c), KV_EAUTH);
}

static void test_an_unknown_status_is_no_challenge(void **state)
{
    struct fixture *f = *state;
    struct challenge c;

    f->challenge.status = 12;
    shake(f);
    expect(check_challenge(f, &c), KV_EPROTO);
    f->challenge.status = -30000;
    shake(f);
    expect(check_challenge(f, &c), KV_EPROTO);
}

static void test_random_differs(void **state)
{
    unsigned char a[300], b[300];

    (void)state;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    handshake_random(a, sizeof a);
    handshake_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 268, b + 268, 32);
}

/* --- Attacks -------------------------------------------------------------- */

static void test_a_wrong_key_is_refused_on_both_sides(void **state)
{
    struct fixture *f = *state;
    struct challenge c;

    for (int bit = 0; bit < 8 * HANDSHAKE_KEY_SIZE; bit++) {
        f->key[bit / 8] ^= (unsigned char)(1u << bit % 8);
        expect(check_challenge(f, &c), KV_EAUTH);
        expect(check_proof(f), KV_EAUTH);
        f->key[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static void test_a_replayed_challenge_is_refused(void **state)
{
    struct fixture *f = *state;
    struct challenge c;

    f->hello.nonce[31] ^= 1;
    handshake_pack_hello(&f->hello, f->hello_wire);
    expect(check_challenge(f, &c), KV_EAUTH);
}

static void test_a_replayed_proof_is_refused(void **state)
{
    struct fixture *f = *state;

    f->challenge.nonce[0] ^= 0x80;
    handshake_pack_challenge(&f->challenge, f->key, f->hello_wire,
                             f->challenge_wire);
    expect(check_proof(f), KV_EAUTH);
}

/* The server's own MAC, or one that it can be made to compute, is no proof. */
static void test_a_reflected_mac_is_refused(void **state)
{
    struct fixture *f = *state;
    struct challenge c;

    memcpy(f->proof_wire + HANDSHAKE_PROOF_SIZE - 32,
           f->challenge_wire + HANDSHAKE_CHALLENGE_SIZE - 32, 32);
    expect(check_proof(f), KV_EAUTH);
    shake(f);
    memcpy(f->challenge_wire + HANDSHAKE_CHALLENGE_SIZE - 32,
           f->proof_wire + HANDSHAKE_PROOF_SIZE - 32, 32);
    expect(check_challenge(f, &c), KV_EAUTH);
}

/* Versions, job, role, rank, incarnation, nonces, MACs: all of it is bound. */
static void test_no_flipped_bit_is_accepted(void **state)
{
    struct fixture *f = *state;
    struct challenge c;

    for (int bit = 0; bit < 8 * HANDSHAKE_HELLO_SIZE; bit++) {
        f->hello_wire[bit / 8] ^= (unsigned char)(1u << bit % 8);
        expect(check_challenge(f, &c), KV_EAUTH);
        expect(check_proof(f), KV_EAUTH);
        f->hello_wire[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (int bit = 0; bit < 8 * HANDSHAKE_CHALLENGE_SIZE; bit++) {
        f->challenge_wire[bit / 8] ^= (unsigned char)(1u << bit % 8);
        expect(check_challenge(f, &c), bit < 32 ? KV_EPROTO : KV_EAUTH);
        if (bit < 8 * (HANDSHAKE_CHALLENGE_SIZE - 32)) {
            expect(check_proof(f), KV_EAUTH);
        }
        f->challenge_wire[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (int bit = 0; bit < 8 * HANDSHAKE_PROOF_SIZE; bit++) {
        f->proof_wire[bit / 8] ^= (unsigned char)(1u << bit % 8);
        expect(check_proof(f), KV_EAUTH);
        f->proof_wire[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

/* Someone on the way makes the client offer less than it did, or the server
 * choose what was not offered. */
static void test_a_version_downgrade_is_refused(void **state)
{
    struct fixture *f = *state;
    unsigned char sent[HANDSHAKE_HELLO_SIZE];
    struct challenge c;

    memcpy(sent, f->hello_wire, sizeof sent);
    f->hello.version_max = 1;
    f->challenge.version = 1;
    shake(f);
    memcpy(f->hello_wire, sent, sizeof sent);
    expect(check_challenge(f, &c), KV_EAUTH);

    f->hello.version_min = 2;
    f->hello.version_max = 3;
    for (uint16_t version = 0; version < 6; version++) {
        f->challenge.version = version;
        shake(f);
        expect(check_challenge(f, &c),
               version == 2 || version == 3 ? KV_OK : KV_EPROTO);
    }
}

static void expect_no_hello(struct fixture *f)
{
    struct hello h = {0};

    handshake_pack_hello(&f->hello, f->hello_wire);
    expect(handshake_unpack_hello(f->hello_wire, &h), KV_EPROTO);
    assert_int_equal(h.version_max, 0);
}

static void expect_hello(struct fixture *f)
{
    struct hello h;

    handshake_pack_hello(&f->hello, f->hello_wire);
    expect(handshake_unpack_hello(f->hello_wire, &h), KV_OK);
}

static void test_a_hello_out_of_range_is_none(void **state)
{
    struct fixture *f = *state;
    const struct hello good = f->hello;
    struct hello h;

    f->hello.role = 0;
    expect_no_hello(f);
    f->hello.role = 3;
    expect_no_hello(f);
    f->hello = good;
    f->hello.rank = KV_RANKS_MAX;
    expect_no_hello(f);
    f->hello.rank = HANDSHAKE_RANK_NONE; /* Only on a control link. */
    expect_no_hello(f);
    f->hello.target = HANDSHAKE_CONTROL;
    expect_hello(f);
    f->hello.role = HANDSHAKE_SERVER;
    expect_no_hello(f);
    f->hello.rank = KV_SERVERS_MAX - 1;
    expect_hello(f);
    f->hello = good;
    f->hello.target = KV_SHARDS_MAX;
    expect_no_hello(f);
    f->hello = good;
    f->hello.server = KV_SERVERS_MAX;
    expect_no_hello(f);
    f->hello = good;
    f->hello.version_min = 0;
    expect_no_hello(f);
    f->hello.version_min = 4;
    expect_no_hello(f);
    f->hello.version_min = 200; /* None of ours; the door says so. */
    f->hello.version_max = 201;
    expect_hello(f);
    f->hello_wire[0] = 'G';
    expect(handshake_unpack_hello(f->hello_wire, &h), KV_EPROTO);
}

/* --- The key file --------------------------------------------------------- */

static void write_key(struct fixture *f, size_t size, mode_t mode)
{
    FILE *file = fopen(f->path, "wb");

    assert_non_null(file);
    for (size_t i = 0; i < size; i++) {
        fputc((int)i + 1, file);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(f->path, mode), 0);
}

static void expect_key(const struct fixture *f, const char *path,
                       const char *complaint)
{
    unsigned char key[HANDSHAKE_KEY_SIZE] = {0};
    char error[256] = "";
    enum kv_status status = handshake_read_key(path, key, error, sizeof error);

    (void)f;
    if (complaint == NULL) {
        expect(status, KV_OK);
        assert_int_equal(key[0], 1);
        assert_int_equal(key[31], 32);
        return;
    }
    expect(status, KV_EINVAL);
    assert_non_null(strstr(error, complaint));
    assert_non_null(strstr(error, path));
    assert_int_equal(key[0], 0);
}

static void test_a_good_key_file_is_read(void **state)
{
    struct fixture *f = *state;

    write_key(f, 32, 0600);
    expect_key(f, f->path, NULL);
    write_key(f, 32, 0400);
    expect_key(f, f->path, NULL);
}

static void test_a_key_of_another_size_is_refused(void **state)
{
    static const size_t sizes[] = {0, 1, 31, 33, 64, 5000};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        write_key(f, sizes[i], 0600);
        expect_key(f, f->path, "exactly 32 bytes");
    }
}

static void test_a_key_that_others_can_use_is_refused(void **state)
{
    static const mode_t modes[] = {0644, 0640, 0604, 0620, 0602, 0610, 0666};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        write_key(f, 32, modes[i]);
        expect_key(f, f->path, "chmod 0600");
    }
}

static void test_what_is_no_regular_file_is_refused(void **state)
{
    struct fixture *f = *state;
    char other[80];

    expect_key(f, f->path, "No such file");
    expect_key(f, f->folder, "regular file");
    write_key(f, 32, 0600);
    snprintf(other, sizeof other, "%s/link", f->folder);
    assert_int_equal(symlink(f->path, other), 0);
    expect_key(f, other, "symbolic link");
    unlink(other);
    assert_int_equal(mkfifo(other, 0600), 0);
    expect_key(f, other, "regular file"); /* And does not wait for one. */
    unlink(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_sides_agree),
        TEST(test_a_refusal_is_told_and_proven),
        TEST(test_an_unknown_status_is_no_challenge),
        TEST(test_random_differs),
        TEST(test_a_wrong_key_is_refused_on_both_sides),
        TEST(test_a_replayed_challenge_is_refused),
        TEST(test_a_replayed_proof_is_refused),
        TEST(test_a_reflected_mac_is_refused),
        TEST(test_no_flipped_bit_is_accepted),
        TEST(test_a_version_downgrade_is_refused),
        TEST(test_a_hello_out_of_range_is_none),
        TEST(test_a_good_key_file_is_read),
        TEST(test_a_key_of_another_size_is_refused),
        TEST(test_a_key_that_others_can_use_is_refused),
        TEST(test_what_is_no_regular_file_is_refused),
    };

    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
