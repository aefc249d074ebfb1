#include "tests/unit/control_fixture.h"

/* --- Joining ------------------------------------------------------------- */

static void test_a_worker_is_told_all_it_needs(void **state)
{
    struct fixture *f = *state;
    struct client *c = come(f, HANDSHAKE_RANK_NONE, 1, 7);
    struct answer *a;

    ask_join(c, 5);
    a = next(f, c);
    assert_int_equal(a->kind, MESSAGE_JOINED);
    assert_int_equal(a->id, 5);
    assert_int_equal(a->rank, 0);
    assert_int_equal(a->workers, WORKERS);
    assert_int_equal(a->servers, 1);
    assert_int_equal(a->shards, 2);
    assert_string_equal(a->address, "root:1");
    assert_int_equal(a->barrier, 0);
}

static void test_workers_wait_until_all_servers_are_there(void **state)
{
    struct fixture *f = *state;
    struct client *worker = come(f, 1, 1, 7);
    struct client *server = come_server(f, 1, 1);
    struct answer *a;

    ask_join(worker, 5);
    expect_nothing(f, worker);
    ask_enlist(server, 1, 1, "other:2", 3);
    expect_ok(f, server, 1);
    a = next(f, worker);
    assert_int_equal(a->kind, MESSAGE_JOINED);
    assert_int_equal(a->rank, 1);
    assert_int_equal(a->servers, 2);
    assert_int_equal(a->shards, 5);
    assert_string_equal(a->address, "other:2");
}

static void test_joining_again_on_the_link_tells_new_addresses(void **state)
{
    struct fixture *f = *state;
    struct client *server = come_server(f, 1, 1);
    struct client *worker;

    ask_enlist(server, 1, 1, "other:2", 3);
    expect_ok(f, server, 1);
    worker = join(f, 0, 1);
    server = come_server(f, 1, 2);
    ask_enlist(server, 1, 1, "moved:3", 3);
    expect_ok(f, server, 1);
    ask_join(worker, 9);
    assert_string_equal(next(f, worker)->address, "moved:3");
}

static void test_a_worker_too_many_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct client *c;

    join(f, 0, 1);
    join(f, 1, 1);
    join(f, 2, 1);
    c = come(f, HANDSHAKE_RANK_NONE, 1, 55);
    ask_join(c, 3);
    expect_error(f, c, 3, KV_EBUSY, "all 3 ranks are taken");
    run_until(f, &c->open, false);
}

static void test_a_newer_life_closes_the_older_link(void **state)
{
    struct fixture *f = *state;
    struct client *old = join(f, 1, 1);
    struct client *stale;

    join(f, 1, 2);
    run_until(f, &old->open, false);
    stale = come(f, 1, 1, 101);
    ask_join(stale, 4);
    expect_error(f, stale, 4, KV_ESTALE, "rank 1 belongs to another process");
}

static void test_another_kind_of_store_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client *c;
    struct message m = {.kind = MESSAGE_JOIN};

    join(f, 0, 1);
    c = come(f, 1, 1, 101);
    m.join.policy = KV_POLICY_ASYNC;
    ask(c, 2, &m);
    expect_error(f, c, 2, KV_EMISMATCH, "dist_async, but the job's is");
}

static void test_requests_before_joining_break_the_protocol(void **state)
{
    struct fixture *f = *state;
    struct client *c = come(f, 1, 1, 101);

    ask_key(c, 1, "w", 10);
    run_until(f, &c->open, false);
    assert_int_equal(c->answers, 1); /* Welcome. */
}

/* --- Servers ------------------------------------------------------------- */

static void test_a_server_with_other_shards_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client *server = come_server(f, 1, 1);

    ask_enlist(server, 1, 1, "other:2", 3);
    expect_ok(f, server, 1);
    server = come_server(f, 1, 2);
    ask_enlist(server, 1, 1, "other:2", 4);
    expect_error(f, server, 1, KV_EMISMATCH, "server 1 has 4 shards");
}

static void test_an_older_server_does_not_replace_a_newer_one(void **state)
{
    struct fixture *f = *state;
    struct client *newer = come_server(f, 1, 5);
    struct client *older = come_server(f, 1, 4);

    ask_enlist(newer, 1, 1, "here:2", 3);
    expect_ok(f, newer, 1);
    ask_enlist(older, 1, 1, "there:2", 3);
    expect_error(f, older, 1, KV_ESTALE, "a newer server 1 is at here:2");
    assert_true(newer->open);
}

static void test_nobody_enlists_as_what_it_is_not(void **state)
{
    struct fixture *f = *state;
    struct client *liar = come_server(f, 1, 1);
    struct client *worker = come(f, 1, 1, 1);
    struct client *server = come_server(f, 1, 1);

    ask_enlist(liar, 1, 0, "x:1", 1);
    run_until(f, &liar->open, false);
    ask_enlist(worker, 1, 1, "x:1", 1);
    run_until(f, &worker->open, false);
    ask_join(server, 1);
    run_until(f, &server->open, false);
}

/* --- Keys ---------------------------------------------------------------- */

static void test_rank_0_registers_and_others_wait_for_it(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1), *one = join(f, 1, 1);
    struct answer *a, *b;

    ask_key(one, 2, "w", 1000);
    ask_key(one, 3, "v", 10);
    expect_nothing(f, one);
    ask_key(zero, 4, "w", 1000);
    a = next(f, zero);
    b = next(f, one);
    assert_int_equal(a->kind, MESSAGE_PLACED);
    assert_int_equal(a->id, 4);
    assert_int_equal(a->key_id, 0);
    assert_int_equal(a->slice_count, 256);
    assert_int_equal(a->payload_size, 4 * 4);
    assert_int_equal(a->place[0], 0);
    assert_int_equal(a->place[1], 1);
    assert_int_equal(b->id, 2);
    assert_int_equal(b->key_id, 0);
    assert_memory_equal(a->place, b->place, sizeof a->place);
    expect_nothing(f, one);
    ask_key(zero, 5, "v", 10);
    assert_int_equal(next(f, one)->key_id, 1);
}

static void test_a_description_that_differs_is_told_to_its_rank(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1), *one = join(f, 1, 1);
    struct client *two = join(f, 2, 1);

    ask_key(one, 2, "w", 1000);
    ask_key(two, 3, "w", 999);
    expect_nothing(f, one);
    ask_key(zero, 4, "w", 1000);
    assert_int_equal(next(f, zero)->kind, MESSAGE_PLACED);
    assert_int_equal(next(f, one)->kind, MESSAGE_PLACED);
    expect_error(f, two, 3, KV_EMISMATCH,
                 "key 'w': rank 2 says f32 (999), but rank 0 has registered "
                 "f32 (1000)");
    ask_key(zero, 5, "w", 1);
    expect_error(f, zero, 5, KV_EMISMATCH, "rank 0 says f32 (1)");
    ask_key(zero, 6, "w", 1000);
    assert_int_equal(next(f, zero)->key_id, 0);
    assert_int_equal(control_keys(&f->control), 1);
}

static void test_a_key_that_cannot_be_is_refused_and_forgotten(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1);
    struct message m = {.kind = MESSAGE_KEY};

    m.key.name = "w";
    m.key.dtype = 7;
    ask(zero, 2, &m);
    expect_error(f, zero, 2, KV_EINVAL, "unknown dtype 7");
    ask_key(zero, 3, "w", 10);
    assert_int_equal(next(f, zero)->kind, MESSAGE_PLACED);
}

static void test_a_thousand_keys_may_wait(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1), *one = join(f, 1, 1);
    struct client *two = join(f, 2, 1);
    char name[16];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "k%u", i);
        ask_key(one, i, name, 10);
        ask_key(two, i, name, 10);
    }
    settle(f);
    leave_abruptly(f, two);
    for (unsigned i = 1000; i-- > 0;) {
        snprintf(name, sizeof name, "k%u", i);
        ask_key(zero, i, name, 10);
        settle(f);
    }
    assert_int_equal(zero->answers, 2 + 1000);
    assert_int_equal(one->answers, 2 + 1000);
    assert_int_equal(control_keys(&f->control), 1000);
}

/* --- Barriers and leaving ------------------------------------------------ */

static void test_a_barrier_lets_all_go_at_once(void **state)
{
    struct fixture *f = *state;
    struct client *c[WORKERS];

    for (uint32_t i = 0; i < WORKERS; i++) {
        c[i] = join(f, i, 1);
    }
    ask_barrier(c[0], 2, 1);
    ask_barrier(c[1], 3, 1);
    expect_nothing(f, c[0]);
    ask_barrier(c[2], 4, 1);
    expect_ok(f, c[0], 2);
    expect_ok(f, c[1], 3);
    expect_ok(f, c[2], 4);
    ask_barrier(c[0], 5, 1); /* Asked again after its answer was lost. */
    expect_ok(f, c[0], 5);
    ask_barrier(c[0], 6, 3);
    expect_error(f, c[0], 6, KV_EPROTO, "rank 0 is at barrier 3");
}

static void test_who_reconnects_asks_for_the_barrier_again(void **state)
{
    struct fixture *f = *state;
    struct client *c[WORKERS];

    for (uint32_t i = 0; i < WORKERS; i++) {
        c[i] = join(f, i, 1);
    }
    ask_barrier(c[0], 2, 1);
    ask_barrier(c[1], 3, 1);
    settle(f);
    leave_abruptly(f, c[1]);
    ask_barrier(c[2], 4, 1);
    expect_nothing(f, c[2]);
    c[1] = join(f, 1, 1);
    expect_nothing(f, c[0]);
    ask_barrier(c[1], 9, 1);
    expect_ok(f, c[0], 2);
    expect_ok(f, c[1], 9);
    expect_ok(f, c[2], 4);
}

static void test_the_job_is_done_when_all_have_left(void **state)
{
    struct fixture *f = *state;
    struct client *c[WORKERS];

    for (uint32_t i = 0; i < WORKERS; i++) {
        c[i] = join(f, i, 1);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(f->done, 0);
        ask_leave(c[i], 2);
        expect_ok(f, c[i], 2);
    }
    assert_int_equal(f->done, 1);
}

/* --- Who is dead ---------------------------------------------------------- */

static void ask_dead(struct client *c, uint32_t node, uint32_t seconds)
{
    struct message m = {.kind = MESSAGE_DEAD};

    m.dead.node = node;
    m.dead.seconds = seconds;
    ask(c, 9, &m);
}

/* The next answer that is no ping. */
static struct answer *next_reply(struct fixture *f, struct client *c)
{
    struct answer *a;

    do {
        while (c->answers == c->taken) {
            uv_run(&f->loop, UV_RUN_ONCE);
        }
        a = next(f, c);
    } while (a->kind == MESSAGE_PING);
    return a;
}

static uint32_t dead(struct fixture *f, struct client *c, uint32_t node,
                     uint32_t seconds)
{
    const struct answer *a;

    ask_dead(c, node, seconds);
    a = next_reply(f, c);
    assert_int_equal(a->kind, MESSAGE_DEAD_COUNT);
    assert_int_equal(a->id, 9);
    return a->dead;
}

static void test_who_is_not_heard_of_counts_as_dead(void **state)
{
    struct fixture *f = *state;
    struct client *c[WORKERS];

    for (uint32_t i = 0; i < WORKERS; i++) {
        c[i] = join(f, i, 1);
    }
    assert_int_equal(dead(f, c[0], 7, 3600), 0);
    leave_abruptly(f, c[1]);
    while (dead(f, c[0], 4, 1) == 0) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(dead(f, c[0], 9 + 2 * 1, 1), 1);
    assert_int_equal(dead(f, c[0], 9 + 2 * 0, 1), 0); /* It asks. */
    assert_int_equal(dead(f, c[0], 4, 0), 0);
    assert_int_equal(dead(f, c[0], 4, 3600), 0);
    assert_int_equal(dead(f, c[0], 1, 1), 0);
    ask_dead(c[0], 9 + 2 * WORKERS, 1);
    assert_int_equal(next_reply(f, c[0])->status, KV_EINVAL);
}

static void test_who_answers_a_ping_lives(void **state)
{
    struct fixture *f = *state;
    struct client *c[2] = {join(f, 0, 1), join(f, 1, 1)};
    struct message pong = {.kind = MESSAGE_PING};
    const struct answer *a;

    while (c[1]->answers == c[1]->taken) { /* Until it was silent for 1 s. */
        assert_int_equal(dead(f, c[0], 9 + 2 * 1, 1) <= 1, 1);
        settle(f);
    }
    assert_int_equal(next(f, c[1])->kind, MESSAGE_PING);
    ask(c[1], 0, &pong);
    settle(f);
    assert_int_equal(dead(f, c[0], 9 + 2 * 1, 1), 0);
    ask_leave(c[1], 3);
    do {
        a = next_reply(f, c[1]);
    } while (a->kind != MESSAGE_OK);
    leave_abruptly(f, c[1]);
    while (dead(f, c[0], 4, 1) == 0) { /* Rank 2 never came. */
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(dead(f, c[0], 9 + 2 * 1, 1), 0); /* Said goodbye. */
    assert_int_equal(dead(f, c[0], 9 + 2 * 2, 1), 1);
}

/* --- Recovery ------------------------------------------------------------ */

static void test_a_restarted_root_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    struct client *c[WORKERS];
    struct answer before, *after;

    for (uint32_t i = 0; i < WORKERS; i++) {
        c[i] = join(f, i, 3);
        ask_barrier(c[i], 2, 1);
    }
    ask_key(c[0], 3, "a", 700);
    ask_key(c[0], 4, "b", 300);
    ask_key(c[0], 5, "c", 3000);
    ask_leave(c[2], 6);
    settle(f);
    assert_int_equal(c[0]->answers, 2 + 4);
    before = c[0]->answer[5];

    stop(f);
    start(f);

    assert_int_equal(control_keys(&f->control), 3);
    c[0] = join(f, 0, 3);
    assert_int_equal(c[0]->answer[1].barrier, 1);
    ask_key(c[0], 5, "c", 3000);
    after = next(f, c[0]);
    assert_int_equal(after->key_id, before.key_id);
    assert_int_equal(after->payload_size, before.payload_size);
    assert_memory_equal(after->place, before.place, sizeof before.place);
    ask_key(c[0], 6, "d", 10);
    assert_int_equal(next(f, c[0])->key_id, 3);
    c[1] = come(f, 1, 2, 101);
    ask_join(c[1], 1);
    expect_error(f, c[1], 1, KV_ESTALE, "rank 1");
    c[1] = join(f, 1, 3);
    assert_true(f->control.roster.rank[2].left);
}

static void test_a_restarted_root_knows_the_other_servers(void **state)
{
    struct fixture *f = *state;
    struct client *server = come_server(f, 1, 1);

    ask_enlist(server, 1, 1, "one:1", 3);
    expect_ok(f, server, 1);
    server = come_server(f, 1, 2);
    ask_enlist(server, 1, 1, "two:2", 3);
    expect_ok(f, server, 1);
    stop(f);
    start(f);
    assert_string_equal(join(f, 0, 1)->answer[1].address, "two:2");
}

static void test_a_root_with_other_settings_does_not_start(void **state)
{
    struct fixture *f = *state;

    stop(f);
    f->servers = 2;
    home_open(&f->home);
    KV_CHECK(uv_loop_init(&f->loop) == 0);
    KV_CHECK(link_hub_open(&f->hub, &f->loop) == KV_OK);
    assert_string_equal(kv_strstatus(try_control(f)),
                        kv_strstatus(KV_EMISMATCH));
    assert_string_equal(f->error,
                        "--servers 2: the job's state was made for 1");
    f->servers = 1;
    assert_int_equal(try_control(f), KV_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_TWO(name)                                                         \
    cmocka_unit_test_setup_teardown(name, set_up_two_servers, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_worker_is_told_all_it_needs),
        TEST_TWO(test_workers_wait_until_all_servers_are_there),
        TEST_TWO(test_joining_again_on_the_link_tells_new_addresses),
        TEST(test_a_worker_too_many_is_told_so),
        TEST(test_a_newer_life_closes_the_older_link),
        TEST(test_another_kind_of_store_is_refused),
        TEST(test_requests_before_joining_break_the_protocol),
        TEST_TWO(test_a_server_with_other_shards_is_refused),
        TEST_TWO(test_an_older_server_does_not_replace_a_newer_one),
        TEST_TWO(test_nobody_enlists_as_what_it_is_not),
        TEST(test_rank_0_registers_and_others_wait_for_it),
        TEST(test_a_description_that_differs_is_told_to_its_rank),
        TEST(test_a_key_that_cannot_be_is_refused_and_forgotten),
        TEST(test_a_thousand_keys_may_wait),
        TEST(test_a_barrier_lets_all_go_at_once),
        TEST(test_who_reconnects_asks_for_the_barrier_again),
        TEST(test_the_job_is_done_when_all_have_left),
        TEST(test_who_is_not_heard_of_counts_as_dead),
        TEST(test_who_answers_a_ping_lives),
        TEST(test_a_restarted_root_goes_on_where_it_was),
        TEST_TWO(test_a_restarted_root_knows_the_other_servers),
        TEST(test_a_root_with_other_settings_does_not_start),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
