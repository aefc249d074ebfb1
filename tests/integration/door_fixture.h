/**
 * door_fixture - a door on loopback, and visitors of every kind.
 *
 * Visitors are plain sockets in the test's hands; the door runs whenever a
 * step waits for it. Nothing sleeps: a step turns the loop until what it waits
 * for is there.
 */
#ifndef KV_TESTS_INTEGRATION_DOOR_FIXTURE_H
#define KV_TESTS_INTEGRATION_DOOR_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/dial.h"
#include "server/address.h"
#include "server/door.h"

#define FAR_MS ((uint64_t)600000)

struct fixture {
    uv_loop_t loop;
    struct door door;
    struct door_config config;
    unsigned char key[HANDSHAKE_KEY_SIZE];
    struct sockaddr_storage address;
    uint64_t admitted;
    int fd; /* Of the last one that was let in; closed by the next. */
    struct hello hello;
    unsigned closed;
};

/* --- The door ------------------------------------------------------------ */

static inline void on_admit(struct door *d, int fd, const struct hello *hello)
{
    struct fixture *f = d->data;

    if (f->fd >= 0) {
        close(f->fd);
    }
    f->fd = fd;
    f->hello = *hello;
    f->admitted++;
}

static inline void on_closed(struct door *d)
{
    struct fixture *f = d->data;

    f->closed++;
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->fd = -1;
    memset(f->key, 0x11, sizeof f->key);
    f->config.key = f->key;
    f->config.epoch = 3;
    f->config.shards = 2;
    f->config.workers = 4;
    f->config.job[0] = 9;
    f->config.unproven_max = 8;
    f->config.unproven_per_host_max = 8;
    f->config.deadline_ms = FAR_MS;
    f->config.silent_ms = 0;
    KV_CHECK(uv_loop_init(&f->loop) == 0);
    *state = f;
    return 0;
}

/* After a test has set its limits. */
static inline void open_door(struct fixture *f)
{
    char error[256];
    int fd = -1;

    KV_CHECK(address_resolve("127.0.0.1:0", &f->address, error, sizeof error) ==
             KV_OK);
    KV_CHECK(address_bind(&f->address, &fd, error, sizeof error) == KV_OK);
    address_of_socket(fd, &f->address);
    f->door.data = f;
    KV_CHECK(door_open(&f->door, &f->loop, &f->config, fd, on_admit, error,
                       sizeof error) == KV_OK);
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    door_close(&f->door, on_closed);
    door_close(&f->door, on_closed);
    KV_CHECK(uv_run(&f->loop, UV_RUN_DEFAULT) == 0);
    KV_CHECK(f->closed == 1);
    KV_CHECK(uv_loop_close(&f->loop) == 0);
    if (f->fd >= 0) {
        close(f->fd);
    }
    free(f);
    return 0;
}

static inline void turn(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static inline uint64_t give_up_at(void)
{
    return uv_hrtime() + UINT64_C(20000000000);
}

static inline void run_until(struct fixture *f, const uint64_t *count,
                             uint64_t target)
{
    uint64_t end = give_up_at();

    while (*count < target && uv_hrtime() < end) {
        turn(f);
    }
    assert_int_equal(*count, target);
}

/* --- Visitors ------------------------------------------------------------ */

static inline int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    KV_CHECK(fd >= 0);
    return fd;
}

static inline void knock_with(struct fixture *f, int fd)
{
    KV_CHECK(connect(fd, (struct sockaddr *)&f->address,
                     sizeof(struct sockaddr_in)) == 0);
}

static inline int knock(struct fixture *f)
{
    int fd = new_socket();

    knock_with(f, fd);
    return fd;
}

static inline void say(int fd, const void *bytes, size_t size)
{
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
}

/* Bytes that came until `size` were there, or the door hung up. */
static inline size_t hear(struct fixture *f, int fd, unsigned char *out,
                          size_t size)
{
    uint64_t end = give_up_at();
    size_t got = 0;

    while (got < size && uv_hrtime() < end) {
        ssize_t n;

        turn(f);
        n = recv(fd, out + got, size - got, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            break;
        }
        got += n > 0 ? (size_t)n : 0;
    }
    return got;
}

static inline bool hung_up(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static inline void expect_hung_up(struct fixture *f, int fd)
{
    unsigned char byte;

    assert_int_equal(hear(f, fd, &byte, 1), 0);
    assert_true(hung_up(fd));
}

/* --- Handshakes ---------------------------------------------------------- */

struct talk {
    int fd;
    unsigned char hello[HANDSHAKE_HELLO_SIZE];
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    unsigned char proof[HANDSHAKE_PROOF_SIZE];
};

static inline struct hello a_hello(struct fixture *f)
{
    struct hello h = {.version_min = KV_VERSION_MIN,
                      .version_max = KV_VERSION_MAX,
                      .role = HANDSHAKE_WORKER,
                      .target = 1,
                      .rank = 3,
                      .policy = 1,
                      .server = f->config.server,
                      .incarnation = 77,
                      .token = 88};

    memcpy(h.job, f->config.job, sizeof h.job);
    handshake_random(h.nonce, sizeof h.nonce);
    return h;
}

/* Hello, and the Challenge that comes back. */
static inline enum kv_status greet(struct fixture *f, struct talk *t,
                                   const struct hello *h,
                                   const unsigned char *key)
{
    struct challenge c;

    t->fd = knock(f);
    handshake_pack_hello(h, t->hello);
    say(t->fd, t->hello, sizeof t->hello);
    if (hear(f, t->fd, t->challenge, sizeof t->challenge) !=
        sizeof t->challenge) {
        return KV_ECONN;
    }
    return handshake_check_challenge(t->challenge, key, t->hello, &c);
}

static inline void prove(struct talk *t, const unsigned char *key)
{
    handshake_pack_proof(key, t->hello, t->challenge, t->proof);
    say(t->fd, t->proof, sizeof t->proof);
}

/* Somebody who belongs here gets in, whatever else goes on. */
static inline struct talk expect_welcome(struct fixture *f)
{
    struct talk t;
    struct hello h = a_hello(f);
    uint64_t before = f->admitted;

    assert_string_equal(kv_strstatus(greet(f, &t, &h, f->key)),
                        kv_strstatus(KV_OK));
    prove(&t, f->key);
    run_until(f, &f->admitted, before + 1);
    return t;
}

/* The door says why in its Challenge, and hangs up. */
static inline void expect_refusal(struct fixture *f, const struct hello *h,
                                  enum kv_status status)
{
    uint64_t refused = f->door.counts.refused;
    struct talk t;

    assert_string_equal(kv_strstatus(greet(f, &t, h, f->key)),
                        kv_strstatus(status));
    expect_hung_up(f, t.fd);
    assert_int_equal(f->door.counts.refused, refused + 1);
    close(t.fd);
}

#endif
