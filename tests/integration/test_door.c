#include "tests/integration/door_fixture.h"

#include <sys/resource.h>

/* --- Who belongs here ---------------------------------------------------- */

static void test_who_knows_the_key_is_let_in(void **state)
{
    struct fixture *f = *state;
    struct talk t;

    open_door(f);
    t = expect_welcome(f);
    assert_int_equal(f->hello.rank, 3);
    assert_int_equal(f->hello.target, 1);
    assert_int_equal(f->hello.incarnation, 77);
    assert_int_equal(f->hello.token, 88);
    assert_int_equal(f->door.counts.refused, 0);
    close(t.fd);
}

static void test_what_follows_the_proof_is_left_in_the_socket(void **state)
{
    struct fixture *f = *state;
    unsigned char both[HANDSHAKE_PROOF_SIZE + 5], got[6];
    struct hello h;
    struct talk t;

    open_door(f);
    h = a_hello(f);
    assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
    handshake_pack_proof(f->key, t.hello, t.challenge, both);
    memcpy(both + HANDSHAKE_PROOF_SIZE, "frame", 5);
    say(t.fd, both, sizeof both);
    run_until(f, &f->admitted, 1);
    assert_int_equal(recv(f->fd, got, sizeof got, 0), 5);
    assert_memory_equal(got, "frame", 5);
    assert_int_equal(send(f->fd, "back", 4, 0), 4);
    assert_int_equal(recv(t.fd, got, sizeof got, 0), 4);
    close(t.fd);
}

static void test_a_hello_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct hello h;
    struct talk t;

    open_door(f);
    h = a_hello(f);
    t.fd = knock(f);
    handshake_pack_hello(&h, t.hello);
    for (size_t i = 0; i < sizeof t.hello; i++) {
        say(t.fd, t.hello + i, 1);
        turn(f);
    }
    assert_int_equal(hear(f, t.fd, t.challenge, sizeof t.challenge),
                     sizeof t.challenge);
    prove(&t, f->key);
    run_until(f, &f->admitted, 1);
    close(t.fd);
}

struct dialed {
    uint64_t done;
    enum kv_status status;
    int fd;
};

static void on_dialed(struct dial *d, enum kv_status status, int fd)
{
    struct dialed *r = d->data;

    r->done++;
    r->status = status;
    r->fd = fd;
}

static void test_our_own_client_gets_in(void **state)
{
    struct fixture *f = *state;
    struct dialed r = {0};
    struct dial d = {.data = &r};
    char address[ADDRESS_TEXT_MAX];
    struct dial_config config = {
        .address = address, .key = f->key, .timeout_ms = FAR_MS};

    open_door(f);
    config.hello = a_hello(f);
    address_format(&f->address, address, sizeof address);
    assert_int_equal(dial_start(&d, &f->loop, &config, on_dialed), KV_OK);
    run_until(f, &r.done, 1);
    assert_string_equal(kv_strstatus(r.status), kv_strstatus(KV_OK));
    assert_int_equal(d.challenge.epoch, 3);
    run_until(f, &f->admitted, 1);
    close(r.fd);
}

/* --- Who does not -------------------------------------------------------- */

static void test_another_key_opens_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned char key[HANDSHAKE_KEY_SIZE] = {1};
    struct hello h;
    struct talk t;

    open_door(f);
    h = a_hello(f);
    assert_string_equal(kv_strstatus(greet(f, &t, &h, key)),
                        kv_strstatus(KV_EAUTH));
    prove(&t, key); /* All the same. */
    expect_hung_up(f, t.fd);
    assert_int_equal(f->door.counts.refused, 1);
    assert_int_equal(f->admitted, 0);
    close(t.fd);
    close(expect_welcome(f).fd);
}

static void test_a_recorded_handshake_cannot_be_replayed(void **state)
{
    struct fixture *f = *state;
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    struct talk t;
    int fd;

    open_door(f);
    t = expect_welcome(f);
    fd = knock(f);
    say(fd, t.hello, sizeof t.hello);
    assert_int_equal(hear(f, fd, challenge, sizeof challenge),
                     sizeof challenge);
    assert_memory_not_equal(challenge, t.challenge, sizeof challenge);
    say(fd, t.proof, sizeof t.proof);
    expect_hung_up(f, fd);
    assert_int_equal(f->admitted, 1);
    close(fd);
    close(t.fd);
}

static void test_the_servers_proof_cannot_be_reflected(void **state)
{
    struct fixture *f = *state;
    struct hello h;
    struct talk t;

    open_door(f);
    h = a_hello(f);
    assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
    handshake_pack_proof(f->key, t.hello, t.challenge, t.proof);
    memcpy(t.proof + HANDSHAKE_PROOF_SIZE - 32,
           t.challenge + HANDSHAKE_CHALLENGE_SIZE - 32, 32);
    say(t.fd, t.proof, sizeof t.proof);
    expect_hung_up(f, t.fd);
    assert_int_equal(f->admitted, 0);
    close(t.fd);
}

static void test_another_job_is_told_that_it_is_another(void **state)
{
    struct fixture *f = *state;
    struct hello h;

    open_door(f);
    h = a_hello(f);
    h.job[15] ^= 1;
    expect_refusal(f, &h, KV_ESTALE);
}

static void test_another_version_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct hello h;

    open_door(f);
    h = a_hello(f);
    h.version_min = KV_VERSION_MAX + 1;
    h.version_max = KV_VERSION_MAX + 2;
    expect_refusal(f, &h, KV_EPROTO);
    h.version_min = KV_VERSION_MAX; /* Newer, but speaks ours too. */
    {
        struct talk t;

        assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
        close(t.fd);
    }
}

/* Who looks for server 1 is told which one this is. */
static void expect_another(struct fixture *f, uint32_t server)
{
    struct hello h = a_hello(f);
    struct challenge c;
    struct talk t;

    h.server = 1;
    assert_int_equal(greet(f, &t, &h, f->key), KV_EINVAL);
    (void)!handshake_check_challenge(t.challenge, f->key, t.hello, &c);
    assert_int_equal(c.server, server);
    close(t.fd);
}

static void test_what_this_server_does_not_have_is_refused(void **state)
{
    struct fixture *f = *state;
    struct hello h, good;

    f->config.server = 2;
    open_door(f);
    good = a_hello(f);
    h = good;
    h.target = 2;
    expect_refusal(f, &h, KV_EINVAL);
    h = good;
    h.target = HANDSHAKE_CONTROL;
    expect_refusal(f, &h, KV_EINVAL);
    expect_another(f, 2);
    h = good;
    h.rank = 4;
    expect_refusal(f, &h, KV_EMISMATCH);
    h = good;
    h.role = HANDSHAKE_SERVER;
    expect_refusal(f, &h, KV_EINVAL);
}

/* Who looks for the root need not wait: it has nothing to do with shards. */
static void test_workers_wait_until_the_gate_is_open(void **state)
{
    struct fixture *f = *state;
    struct talk t;
    struct hello h;

    open_door(f);
    h = a_hello(f);
    door_gate(&f->door, KV_EAGAIN);
    expect_refusal(f, &h, KV_EAGAIN);
    h.target = HANDSHAKE_CONTROL;
    assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
    prove(&t, f->key);
    run_until(f, &f->admitted, 1);
    close(t.fd);
    h = a_hello(f);
    door_gate(&f->door, KV_EDATALOSS);
    expect_refusal(f, &h, KV_EDATALOSS);
    door_gate(&f->door, KV_OK);
    assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
    close(t.fd);
}

static void test_who_comes_shortly_before_it_opens_is_let_in(void **state)
{
    struct fixture *f = *state;
    struct hello h = a_hello(f);
    struct challenge c;
    struct talk t;

    f->config.gate_ms = FAR_MS;
    open_door(f);
    door_gate(&f->door, KV_EAGAIN);
    t.fd = knock(f);
    handshake_pack_hello(&h, t.hello);
    say(t.fd, t.hello, sizeof t.hello);
    for (int i = 0; i < 10; i++) {
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        assert_int_equal(recv(t.fd, &c, 1, MSG_DONTWAIT), -1);
    }
    door_gate(&f->door, KV_OK);
    assert_int_equal(hear(f, t.fd, t.challenge, sizeof t.challenge),
                     sizeof t.challenge);
    assert_int_equal(
        handshake_check_challenge(t.challenge, f->key, t.hello, &c), KV_OK);
    close(t.fd);
}

/* --- Floods and slow ones ------------------------------------------------ */

static void test_who_takes_too_long_is_shown_out(void **state)
{
    struct fixture *f = *state;
    struct hello h;
    struct talk t;
    int silent;

    f->config.deadline_ms = 30;
    open_door(f);
    h = a_hello(f);
    silent = knock(f);
    assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
    say(t.fd, "x", 1); /* And never the rest of the proof. */
    run_until(f, &f->door.counts.late, 2);
    expect_hung_up(f, silent);
    expect_hung_up(f, t.fd);
    close(silent);
    close(t.fd);
    assert_int_equal(f->admitted, 0);
}

static void test_a_flood_pushes_out_its_own_oldest(void **state)
{
    struct fixture *f = *state;
    int flood[20];

    open_door(f);
    for (int i = 0; i < 20; i++) {
        flood[i] = knock(f);
    }
    run_until(f, &f->door.counts.evicted, 12);
    for (int i = 0; i < 12; i++) {
        expect_hung_up(f, flood[i]);
    }
    for (int i = 12; i < 20; i++) {
        assert_false(hung_up(flood[i]));
    }
    close(expect_welcome(f).fd);
    assert_int_equal(f->door.counts.evicted, 13);
    for (int i = 0; i < 20; i++) {
        close(flood[i]);
    }
}

static void test_one_host_cannot_take_every_place(void **state)
{
    struct fixture *f = *state;
    int flood[6];

    f->config.unproven_per_host_max = 4;
    open_door(f);
    for (int i = 0; i < 6; i++) {
        flood[i] = knock(f);
    }
    run_until(f, &f->door.counts.evicted, 2);
    expect_hung_up(f, flood[0]);
    expect_hung_up(f, flood[1]);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(hung_up(flood[i]), i < 2);
        close(flood[i]);
    }
}

static void test_a_crowd_of_honest_ones_all_get_in(void **state)
{
    struct fixture *f = *state;
    struct talk t[64];
    struct hello h;

    f->config.silent_ms = FAR_MS; /* Nobody is pushed out. */
    open_door(f);
    for (int i = 0; i < 64; i++) {
        h = a_hello(f);
        t[i].fd = knock(f);
        handshake_pack_hello(&h, t[i].hello);
        say(t[i].fd, t[i].hello, sizeof t[i].hello);
    }
    for (int i = 0; i < 64; i++) { /* Eight of them at a time are inside. */
        assert_int_equal(
            hear(f, t[i].fd, t[i].challenge, sizeof t[i].challenge),
            sizeof t[i].challenge);
        prove(&t[i], f->key);
    }
    run_until(f, &f->admitted, 64);
    assert_int_equal(f->door.counts.refused, 0);
    for (int i = 0; i < 64; i++) {
        close(t[i].fd);
    }
}

static void test_who_waits_outside_comes_in_when_one_leaves(void **state)
{
    struct fixture *f = *state;
    int silent[8];
    struct talk t;
    struct hello h;

    f->config.silent_ms = FAR_MS;
    open_door(f);
    h = a_hello(f);
    for (int i = 0; i < 8; i++) {
        silent[i] = knock(f);
    }
    t.fd = knock(f);
    handshake_pack_hello(&h, t.hello);
    say(t.fd, t.hello, sizeof t.hello);
    for (int i = 0; i < 20; i++) {
        turn(f);
    }
    assert_int_equal(recv(t.fd, t.challenge, 1, MSG_DONTWAIT), -1);
    close(silent[5]);
    assert_int_equal(hear(f, t.fd, t.challenge, sizeof t.challenge),
                     sizeof t.challenge);
    close(t.fd);
    for (int i = 0; i < 8; i++) {
        if (i != 5) {
            close(silent[i]);
        }
    }
}

static void test_random_bytes_harm_nobody(void **state)
{
    struct fixture *f = *state;
    unsigned char noise[300];

    open_door(f);
    srandom(1);
    for (int round = 0; round < 300; round++) {
        size_t size = (size_t)random() % sizeof noise;
        int fd = knock(f);

        for (size_t i = 0; i < size; i++) {
            noise[i] = (unsigned char)random();
        }
        say(fd, noise, size);
        if (round % 2 == 0 && size < HANDSHAKE_HELLO_SIZE) {
            shutdown(fd, SHUT_WR);
        }
        turn(f);
        if (size >= HANDSHAKE_HELLO_SIZE) {
            expect_hung_up(f, fd);
        }
        close(fd);
        if (round % 100 == 0) {
            close(expect_welcome(f).fd);
        }
    }
    assert_int_equal(f->admitted, 3);
}

static void test_flipped_bits_in_a_handshake_are_found(void **state)
{
    struct fixture *f = *state;
    struct hello h;

    open_door(f);
    for (size_t bit = 0; bit < HANDSHAKE_PROOF_SIZE * 8; bit += 7) {
        struct talk t;

        h = a_hello(f);
        assert_int_equal(greet(f, &t, &h, f->key), KV_OK);
        handshake_pack_proof(f->key, t.hello, t.challenge, t.proof);
        t.proof[bit / 8] ^= (unsigned char)(1u << bit % 8);
        say(t.fd, t.proof, sizeof t.proof);
        expect_hung_up(f, t.fd);
        close(t.fd);
    }
    assert_int_equal(f->admitted, 0);
}

static void test_without_descriptors_it_goes_on_afterwards(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    int fd;

    open_door(f);
    fd = new_socket();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)fd + 1; /* Every lower one is taken. */
    knock_with(f, fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    expect_hung_up(f, fd);
    none.rlim_cur = (rlim_t)fd + 5;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    close(fd);
    fd = knock(f);
    run_until(f, &f->door.counts.refused, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(fd);
    close(expect_welcome(f).fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_knows_the_key_is_let_in),
        TEST(test_what_follows_the_proof_is_left_in_the_socket),
        TEST(test_a_hello_may_come_byte_by_byte),
        TEST(test_our_own_client_gets_in),
        TEST(test_another_key_opens_nothing),
        TEST(test_a_recorded_handshake_cannot_be_replayed),
        TEST(test_the_servers_proof_cannot_be_reflected),
        TEST(test_another_job_is_told_that_it_is_another),
        TEST(test_another_version_is_told_so),
        TEST(test_what_this_server_does_not_have_is_refused),
        TEST(test_workers_wait_until_the_gate_is_open),
        TEST(test_who_comes_shortly_before_it_opens_is_let_in),
        TEST(test_who_takes_too_long_is_shown_out),
        TEST(test_a_flood_pushes_out_its_own_oldest),
        TEST(test_one_host_cannot_take_every_place),
        TEST(test_a_crowd_of_honest_ones_all_get_in),
        TEST(test_who_waits_outside_comes_in_when_one_leaves),
        TEST(test_random_bytes_harm_nobody),
        TEST(test_flipped_bits_in_a_handshake_are_found),
        TEST(test_without_descriptors_it_goes_on_afterwards),
    };

    return cmocka_run_group_tests_name("door", tests, NULL, NULL);
}
