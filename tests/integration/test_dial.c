/* dial: against a peer that plays a server, or something worse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/dial.h"

enum peer_mode {
    PEER_GOOD,
    PEER_OTHER_KEY,
    PEER_REFUSES,
    PEER_IS_ANOTHER,
    PEER_OTHER_VERSION,
    PEER_TALKS_NONSENSE,
    PEER_HANGS_UP,
    PEER_HANGS_UP_LATE,
    PEER_DRIBBLES,
    PEER_IS_SILENT
};

/* --- The peer: one connection, in a thread of its own --------------------- */

struct peer {
    uv_thread_t thread;
    int listener;
    enum peer_mode mode;
    enum kv_status proof; /* What it thought of the client. */
    struct hello hello;
    char rest[16]; /* What came behind the proof. */
};

static const unsigned char our_key[HANDSHAKE_KEY_SIZE] = {1, 2, 3};
static const unsigned char other_key[HANDSHAKE_KEY_SIZE] = {3, 2, 1};

static bool read_exactly(int fd, void *to, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, (char *)to + got, size - got);

        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    return true;
}

static void say(const struct peer *p, int fd, const unsigned char *data,
                size_t size)
{
    size_t step = p->mode == PEER_DRIBBLES ? 1 : size;

    for (size_t at = 0; at < size; at += step) {
        KV_CHECK(send(fd, data + at, step, MSG_NOSIGNAL) == (ssize_t)step);
    }
}

static void make_challenge(const struct peer *p, const unsigned char *hello,
                           unsigned char *out)
{
    struct challenge c = {.version = KV_VERSION_MAX, .epoch = 7};

    handshake_random(c.nonce, sizeof c.nonce);
    if (p->mode == PEER_REFUSES) {
        c.status = KV_ESTALE;
    } else if (p->mode == PEER_IS_ANOTHER) {
        c.status = KV_EINVAL;
        c.server = 7;
    } else if (p->mode == PEER_OTHER_VERSION) {
        c.version = KV_VERSION_MAX + 1;
    }
    handshake_pack_challenge(
        &c, p->mode == PEER_OTHER_KEY ? other_key : our_key, hello, out);
    if (p->mode == PEER_TALKS_NONSENSE) {
        memset(out, 'x', HANDSHAKE_CHALLENGE_SIZE);
    }
}

static void serve(struct peer *p, int fd)
{
    unsigned char hello[HANDSHAKE_HELLO_SIZE];
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    unsigned char proof[HANDSHAKE_PROOF_SIZE];
    char byte;

    if (p->mode == PEER_HANGS_UP || !read_exactly(fd, hello, sizeof hello) ||
        handshake_unpack_hello(hello, &p->hello) != KV_OK ||
        p->mode == PEER_HANGS_UP_LATE) {
        return;
    }
    if (p->mode != PEER_IS_SILENT) {
        make_challenge(p, hello, challenge);
        say(p, fd, challenge, sizeof challenge);
    }
    if (!read_exactly(fd, proof, sizeof proof)) {
        return;
    }
    p->proof = handshake_check_proof(proof, our_key, hello, challenge);
    say(p, fd, (const unsigned char *)"welcome", 8);
    (void)!read(fd, &byte, 1); /* Until the client is gone. */
}

static void run_peer(void *arg)
{
    struct peer *p = arg;
    int fd = accept(p->listener, NULL, NULL);

    if (fd >= 0) {
        serve(p, fd);
        close(fd);
    }
}

/* --- The fixture ---------------------------------------------------------- */

struct fixture {
    uv_loop_t loop;
    struct peer peer;
    char address[64];
    struct dial dial;
    uint16_t target; /* Of the Hello. */
    int calls, fd;
    bool inside; /* dial_start() is running. */
    enum kv_status status;
};

static struct fixture f;

static int listen_on(struct sockaddr_in *at)
{
    socklen_t size = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *at = (struct sockaddr_in){.sin_family = AF_INET};
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)at, sizeof *at) != 0 ||
        listen(fd, 4) != 0 ||
        getsockname(fd, (struct sockaddr *)at, &size) != 0) {
        return -1;
    }
    return fd;
}

static int set_up(void **state)
{
    struct sockaddr_in at;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    memset(&f, 0, sizeof f);
    f.fd = -1;
    f.peer.proof = KV_EAGAIN;
    f.target = 3;
    f.peer.listener = listen_on(&at);
    snprintf(f.address, sizeof f.address, "127.0.0.1:%d", ntohs(at.sin_port));
    return f.peer.listener < 0 || uv_loop_init(&f.loop) != 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(f.peer.listener);
    return uv_loop_close(&f.loop);
}

static void on_done(struct dial *d, enum kv_status status, int fd)
{
    KV_CHECK(d == &f.dial && !f.inside);
    f.calls++;
    f.status = status;
    f.fd = fd;
}

static enum kv_status start(const char *address, uint64_t timeout_ms)
{
    struct dial_config c = {
        .address = address, .key = our_key, .timeout_ms = timeout_ms};
    enum kv_status status;

    c.hello.version_min = KV_VERSION_MIN;
    c.hello.version_max = KV_VERSION_MAX;
    c.hello.role = HANDSHAKE_WORKER;
    c.hello.target = f.target;
    c.hello.rank = 5;
    c.hello.policy = 1;
    c.hello.incarnation = 9;
    f.inside = true;
    status = dial_start(&f.dial, &f.loop, &c, on_done);
    f.inside = false;
    return status;
}

static void dial_peer(enum peer_mode mode, uint64_t timeout_ms)
{
    f.peer.mode = mode;
    assert_int_equal(uv_thread_create(&f.peer.thread, run_peer, &f.peer), 0);
    assert_int_equal(start(f.address, timeout_ms), KV_OK);
    assert_int_equal(uv_run(&f.loop, UV_RUN_DEFAULT), 0);
    if (f.fd >= 0) {
        assert_int_equal(fcntl(f.fd, F_SETFL, 0), 0); /* May block. */
        (void)!read_exactly(f.fd, f.peer.rest, 8);
        close(f.fd);
    }
    uv_thread_join(&f.peer.thread);
}

static void expect(enum kv_status status, const char *word)
{
    assert_int_equal(f.calls, 1);
    assert_string_equal(kv_strstatus(f.status), kv_strstatus(status));
    assert_true((f.fd >= 0) == (status == KV_OK));
    if (strstr(f.dial.error, word) == NULL) {
        fail_msg("'%s' does not say '%s'", f.dial.error, word);
    }
}

/* --- Stories -------------------------------------------------------------- */

static void expect_success(void)
{
    expect(KV_OK, "");
    assert_int_equal(f.peer.proof, KV_OK);
    assert_int_equal(f.peer.hello.rank, 5);
    assert_int_equal(f.peer.hello.target, 3);
    assert_int_equal(f.peer.hello.incarnation, 9);
    assert_int_equal(f.dial.challenge.epoch, 7);
    /* Nothing of what follows the challenge was read away. */
    assert_string_equal(f.peer.rest, "welcome");
}

static void test_both_prove_that_they_know_the_key(void **state)
{
    (void)state;
    dial_peer(PEER_GOOD, 60000);
    expect_success();
}

static void test_a_challenge_may_come_byte_by_byte(void **state)
{
    (void)state;
    dial_peer(PEER_DRIBBLES, 60000);
    expect_success();
}

static void test_each_dial_has_its_own_nonce(void **state)
{
    struct hello first;

    (void)state;
    dial_peer(PEER_HANGS_UP_LATE, 60000);
    first = f.peer.hello;
    f.calls = 0;
    dial_peer(PEER_HANGS_UP_LATE, 60000);
    assert_memory_not_equal(first.nonce, f.peer.hello.nonce,
                            sizeof first.nonce);
}

static void test_a_server_with_another_key_is_refused(void **state)
{
    (void)state;
    dial_peer(PEER_OTHER_KEY, 60000);
    expect(KV_EAUTH, "key");
    assert_int_equal(f.peer.proof, KV_EAGAIN); /* It got none. */
}

static void test_a_refusal_keeps_its_status(void **state)
{
    (void)state;
    dial_peer(PEER_REFUSES, 60000);
    expect(KV_ESTALE, "refused: an older life of this rank, or another job");
}

/* Whoever dials a shard was told of this address by the root, and will be told
 * of another; but where the root is, a person has said. */
static void test_another_server_says_which_it_is(void **state)
{
    (void)state;
    dial_peer(PEER_IS_ANOTHER, 60000);
    expect(KV_ECONN, "server 7 answers there");
    f.target = HANDSHAKE_CONTROL;
    f.calls = 0;
    dial_peer(PEER_IS_ANOTHER, 60000);
    expect(KV_EINVAL, "server 7 answers there");
}

static void test_another_version_is_named_with_ours(void **state)
{
    (void)state;
    dial_peer(PEER_OTHER_VERSION, 60000);
    assert_true(f.status != KV_OK);
    expect(f.status, "version 2, we speak 1 to 1");
}

static void test_nonsense_is_no_kvstored(void **state)
{
    (void)state;
    dial_peer(PEER_TALKS_NONSENSE, 60000);
    expect(KV_EPROTO, "no kvstored");
}

static void test_a_peer_may_hang_up_at_once(void **state)
{
    (void)state;
    dial_peer(PEER_HANGS_UP, 60000);
    expect(KV_ECONN, "connection lost while greeting");
}

static void test_a_peer_may_hang_up_after_hello(void **state)
{
    (void)state;
    dial_peer(PEER_HANGS_UP_LATE, 60000);
    expect(KV_ECONN, "connection lost while greeting");
}

static void test_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    dial_peer(PEER_IS_SILENT, 50);
    expect(KV_ETIMEOUT, "no greeting within 0.1 s");
}

static void test_nobody_there_is_connection_refused(void **state)
{
    (void)state;
    close(f.peer.listener);
    assert_int_equal(start(f.address, 60000), KV_OK);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    expect(KV_ECONN, "connection refused");
    f.peer.listener = socket(AF_INET, SOCK_STREAM, 0);
}

/* "localhost" may be ::1 first, where nobody listens. */
static void test_a_name_is_tried_address_by_address(void **state)
{
    char address[64];

    (void)state;
    snprintf(address, sizeof address, "localhost%s", strchr(f.address, ':'));
    f.peer.mode = PEER_GOOD;
    uv_thread_create(&f.peer.thread, run_peer, &f.peer);
    assert_int_equal(start(address, 60000), KV_OK);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_true(f.fd >= 0);
    close(f.fd);
    uv_thread_join(&f.peer.thread);
    expect(KV_OK, "");
}

static void test_an_address_without_a_port_never_starts(void **state)
{
    (void)state;
    assert_int_equal(start("localhost", 60000), KV_EINVAL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(f.calls, 0);
    assert_non_null(strstr(f.dial.error, "host:port"));
}

static void test_cancel_works_in_any_state(void **state)
{
    (void)state;
    for (int turns = 0; turns < 8; turns++) {
        f.calls = 0;
        f.peer.mode = PEER_IS_SILENT;
        uv_thread_create(&f.peer.thread, run_peer, &f.peer);
        assert_int_equal(start(f.address, 60000), KV_OK);
        for (int i = 0; i < turns; i++) {
            uv_run(&f.loop, UV_RUN_NOWAIT);
        }
        dial_cancel(&f.dial);
        dial_cancel(&f.dial);
        uv_run(&f.loop, UV_RUN_DEFAULT);
        expect(KV_ECANCELED, "canceled");
        dial_cancel(&f.dial); /* Done: nothing happens. */
        uv_thread_join(&f.peer.thread);
    }
}

static void test_addresses_are_split(void **state)
{
    static const struct {
        const char *address, *host, *port;
    } good[] = {{"a:1", "a", "1"},
                {"10.0.0.1:65535", "10.0.0.1", "65535"},
                {"[::1]:80", "::1", "80"},
                {"[fe80::1%eth0]:9", "fe80::1%eth0", "9"}};
    static const char *const bad[] = {"",
                                      ":",
                                      "a",
                                      "a:",
                                      ":1",
                                      "a:0",
                                      "a:65536",
                                      "a:-1",
                                      "a:1x",
                                      "a: 1",
                                      "::1:80",
                                      "[::1]",
                                      "[]:1",
                                      "[::1:80",
                                      "::1]:80",
                                      "a:123456",
                                      "a:99999999999999999999"};
    char host[32], port[8];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(
            dial_split(good[i].address, host, sizeof host, port, sizeof port),
            KV_OK);
        assert_string_equal(host, good[i].host);
        assert_string_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (dial_split(bad[i], host, sizeof host, port, sizeof port) !=
            KV_EINVAL) {
            fail_msg("'%s' was taken for an address", bad[i]);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_prove_that_they_know_the_key),
        TEST(test_a_challenge_may_come_byte_by_byte),
        TEST(test_each_dial_has_its_own_nonce),
        TEST(test_a_server_with_another_key_is_refused),
        TEST(test_a_refusal_keeps_its_status),
        TEST(test_another_server_says_which_it_is),
        TEST(test_another_version_is_named_with_ours),
        TEST(test_nonsense_is_no_kvstored),
        TEST(test_a_peer_may_hang_up_at_once),
        TEST(test_a_peer_may_hang_up_after_hello),
        TEST(test_silence_ends_at_the_deadline),
        TEST(test_nobody_there_is_connection_refused),
        TEST(test_a_name_is_tried_address_by_address),
        TEST(test_an_address_without_a_port_never_starts),
        TEST(test_cancel_works_in_any_state),
        TEST(test_addresses_are_split),
    };

    return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
