#include "tests/unit/session_fixture.h"

/* --- Small values --------------------------------------------------------- */

static void test_a_batch_gets_one_frame_of_each_kind(void **state)
{
    struct fixture *f = *state;
    const struct sent *s;

    create_many(f, 50, 16);
    assert_int_equal(push(f, 0, 0, 50, 1, 16, 1), KV_OK);
    pull(f, 0, 0, 50, 1);
    assert_int_equal(push(f, 1, 0, 50, 1, 16, 2), KV_OK);
    expect_silence(f);
    assert_true(session_dirty(&f->session[0]));
    flush(f);
    expect_run(next_sent(f, MESSAGE_ANSWER, 0), 0, 0, 50, 1, 0);
    s = next_sent(f, MESSAGE_ANSWER, 0);
    expect_run(s, 0, 0, 50, 1, 64);
    assert_int_equal(s->size, 50 * 64);
    assert_true(s->first == 3);
    expect_run(next_sent(f, MESSAGE_ANSWER, 1), 0, 0, 50, 1, 0);
    expect_silence(f);
}

static void test_values_that_fill_a_frame_go_out(void **state)
{
    struct fixture *f = *state;
    uint32_t values = 0;

    create_many(f, 70, 4096); /* 16 KiB each, 1120 KiB in all. */
    pull(f, 1, 0, 70, 0);
    flush(f);
    for (int i = 0; i < 5; i++) {
        const struct sent *s = next_sent(f, MESSAGE_ANSWER, 1);

        assert_true(s->size <= KV_BATCH_PAYLOAD_MAX);
        assert_int_equal(s->size, s->runs[0].count * 16384);
        values += s->runs[0].count;
    }
    assert_int_equal(values, 70);
    expect_silence(f);
}

static void test_more_runs_than_a_frame_has_go_out(void **state)
{
    struct fixture *f = *state;
    uint32_t acks = 0;

    create_many(f, 300, 16);
    for (uint32_t slot = 0; slot < 300; slot += 2) {
        assert_int_equal(push(f, 0, slot, 1, 1, 16, 1), KV_OK);
        assert_int_equal(push(f, 1, slot, 1, 1, 16, 1), KV_OK);
    }
    flush(f);
    while (f->sent_next < f->sent_count) {
        const struct sent *s = &f->sent[f->sent_next++];

        assert_true(s->run_count <= KV_BATCH_RUNS_MAX);
        acks += s->run_count;
    }
    assert_int_equal(acks, 300);
    expect_silence(f);
}

/* --- Large values --------------------------------------------------------- */

static void test_a_large_push_is_read_into_its_place(void **state)
{
    struct fixture *f = *state;
    struct run run = {0, 1, 1, LARGE * 4};
    struct message m = {.kind = MESSAGE_PUSH};
    void *sink = NULL;

    create(f, 1, LARGE);
    m.batch.runs = &run;
    m.batch.run_count = 1;
    assert_int_equal(session_head(&f->session[0], &m, run.size, &sink), KV_OK);
    assert_non_null(sink);
    memset(sink, 0, run.size);
    assert_int_equal(session_frame(&f->session[0], 0, &m, sink, run.size, 1000),
                     KV_OK);
    assert_true(shard_held(f->shard, 0) >= run.size);
    assert_int_equal(f->pool.out_count, 1); /* The same buffer, not a copy. */
}

static void test_a_large_value_is_sent_from_its_block(void **state)
{
    struct fixture *f = *state;
    const struct sent *s;

    create(f, 1, LARGE);
    push(f, 0, 0, 1, 1, LARGE, 1);
    pull(f, 0, 0, 1, 1);
    push(f, 1, 0, 1, 1, LARGE, 2);
    s = next_sent(f, MESSAGE_ANSWER, 0);
    expect_run(s, 0, 0, 1, 1, LARGE * 4);
    assert_non_null(s->block);
    assert_true((const char *)s->payload > (const char *)s->block);
    /* While it is still being sent, two more rounds pass. */
    for (uint64_t round = 2; round < 4; round++) {
        push(f, 0, 0, 1, round, LARGE, 50);
        push(f, 1, 0, 1, round, LARGE, 50);
    }
    for (size_t i = 0; i < LARGE; i++) {
        assert_true(((const float *)s->payload)[i] == 3);
    }
    flush(f);
    let_go(f);
}

static void test_a_session_that_ends_midway_gives_its_buffer_back(void **state)
{
    struct fixture *f = *state;
    struct run run = {0, 1, 1, LARGE * 4};
    struct message m = {.kind = MESSAGE_PUSH};
    void *sink = NULL;

    create(f, 1, LARGE);
    m.batch.runs = &run;
    m.batch.run_count = 1;
    assert_int_equal(session_head(&f->session[1], &m, run.size, &sink), KV_OK);
    session_fini(&f->session[1]);
    assert_int_equal(f->pool.out_count, 0);
    session_init(&f->session[1], f->shard, f->home.arena, &f->pool, 1,
                 &f->io[1]);
}

/* --- Requests ------------------------------------------------------------- */

static void send_optimizer(struct fixture *f, const char *name,
                           const char *params)
{
    struct message m = {.kind = MESSAGE_OPTIMIZER};

    m.optimizer.name = name;
    m.optimizer.params = params;
    assert_int_equal(feed(f, 1, 33, &m, NULL, 0), KV_OK);
}

static void expect_error(struct fixture *f, enum kv_status status,
                         const char *part)
{
    const struct sent *s = next_sent(f, MESSAGE_ERROR, 1);

    assert_string_equal(kv_strstatus(s->status), kv_strstatus(status));
    assert_int_equal(s->request_id, 33);
    assert_false(s->about_slot);
    assert_non_null(strstr(s->text, part));
    expect_silence(f);
}

static void test_optimizer_and_live_numbers_are_answered(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_HYPER};

    send_optimizer(f, "sgd", "learning_rate=0.5");
    assert_int_equal(next_sent(f, MESSAGE_OK, 1)->request_id, 33);
    m.hyper.param = "lr";
    m.hyper.value = 0.25;
    assert_int_equal(feed(f, 1, 33, &m, NULL, 0), KV_OK);
    assert_int_equal(next_sent(f, MESSAGE_OK, 1)->request_id, 33);
    expect_silence(f);
    m.hyper.param = "speed";
    assert_int_equal(feed(f, 1, 33, &m, NULL, 0), KV_OK);
    expect_error(f, KV_EINVAL, "speed");
    send_optimizer(f, "sdg", "learning_rate=0.5");
    expect_error(f, KV_EINVAL, "sdg");
    send_optimizer(f, "sgd", "learning_rat=0.5");
    expect_error(f, KV_EINVAL, "learning_rat");
}

static void test_a_refused_push_leaves_the_others_alone(void **state)
{
    struct fixture *f = *state;
    const struct sent *s;

    create_many(f, 3, 16);
    assert_int_equal(push(f, 0, 0, 4, 1, 16, 1), KV_OK);
    s = next_sent(f, MESSAGE_ERROR, 0);
    assert_true(s->about_slot);
    assert_false(s->pull);
    assert_int_equal(s->slot, 3);
    assert_int_equal(s->round, 1);
    assert_int_equal(s->status, KV_ENOTFOUND);
    assert_int_equal(push(f, 1, 0, 3, 1, 16, 1), KV_OK);
    flush(f);
    expect_run(next_sent(f, MESSAGE_ANSWER, 0), 0, 0, 3, 1, 0);
    next_sent(f, MESSAGE_ANSWER, 1);
    expect_silence(f);
}

static void test_an_open_that_is_refused_says_why(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_OPEN};

    create(f, 5, 16);
    m.open.key_id = 5;
    m.open.count = 17;
    m.open.slices = 1;
    assert_int_equal(feed(f, 1, 33, &m, NULL, 0), KV_OK);
    expect_error(f, KV_EMISMATCH, "f32[17], and it is f32[16]");
}

static void test_a_stall_lists_the_first_missing_ranks(void **state)
{
    struct fixture *f = *state;
    uint32_t missing[40];
    bool connected[40] = {false};
    const struct sent *s;

    for (uint32_t i = 0; i < 40; i++) {
        missing[i] = i;
    }
    session_stalled(&f->session[0], 3, 9, 30, missing, connected, 40);
    s = next_sent(f, MESSAGE_STALLED, 0);
    assert_int_equal(s->listed, KV_MISSING_MAX);
    assert_int_equal(s->missing_count, 40);
    expect_silence(f);
}

/* --- Members -------------------------------------------------------------- */

static void ask_member(struct fixture *f, uint32_t rank, bool in)
{
    struct message m = {.kind = MESSAGE_MEMBER};

    m.member.in = in;
    assert_int_equal(feed(f, rank, 33, &m, NULL, 0), KV_OK);
}

static void test_who_is_back_learns_the_rounds(void **state)
{
    struct fixture *f = *state;
    uint32_t known = 0;

    create_many(f, 300, 16);
    ask_member(f, 1, false);
    assert_int_equal(next_sent(f, MESSAGE_OK, 1)->request_id, 33);
    for (uint32_t slot = 0; slot < 300; slot += 2) {
        assert_int_equal(push(f, 0, slot, 1, 1, 16, 1), KV_OK);
    }
    flush(f);
    let_go(f);
    ask_member(f, 1, true);
    while (known < 300) {
        const struct sent *s = next_sent(f, MESSAGE_ROUNDS, 1);

        for (uint32_t i = 0; i < s->run_count; i++) {
            expect_run(s, i, known, 1, (known + 1) % 2, 0);
            known++;
        }
    }
    assert_int_equal(next_sent(f, MESSAGE_OK, 1)->request_id, 33);
    expect_silence(f);
}

static void test_leaving_with_a_push_under_way_is_refused(void **state)
{
    struct fixture *f = *state;

    create(f, 1, 16);
    assert_int_equal(push(f, 1, 0, 1, 1, 16, 1), KV_OK);
    ask_member(f, 1, false);
    expect_error(f, KV_EBUSY, "rank 1 leaves with pushes");
}

static void test_a_stall_counts_who_has_left(void **state)
{
    struct fixture *f = *state;
    const uint32_t missing[1] = {0};
    const bool connected[1] = {true};

    ask_member(f, 1, false);
    let_go(f);
    session_stalled(&f->session[0], 3, 9, 30, missing, connected, 1);
    assert_int_equal(next_sent(f, MESSAGE_STALLED, 0)->left, 1);
    expect_silence(f);
}

static void take_since(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                       uint64_t since_ms, const uint32_t *missing,
                       uint32_t count)
{
    (void)rank;
    (void)slot;
    (void)round;
    (void)missing;
    (void)count;
    *(uint64_t *)ctx = since_ms;
}

/* Although nobody has told the shard the time before. */
static void test_a_pull_waits_since_it_came(void **state)
{
    struct fixture *f = *state;
    uint64_t since = 0;

    create(f, 1, 4);
    pull(f, 1, 0, 1, 1);
    shard_stalls(f->shard, FED_MS + 4000, 5000, take_since, &since);
    assert_int_equal(since, 0);
    shard_stalls(f->shard, FED_MS + 6000, 5000, take_since, &since);
    assert_int_equal(since, FED_MS);
}

static void test_an_open_waits_for_rank_0_since_it_came(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_OPEN};
    uint64_t id = 0, since = 0;

    m.open.key_id = 1;
    m.open.count = 4;
    m.open.slices = 1;
    assert_false(shard_open_waits(f->shard, 1, &id, &since));
    assert_int_equal(feed(f, 1, 33, &m, NULL, 0), KV_OK);
    assert_true(shard_open_waits(f->shard, 1, &id, &since));
    assert_int_equal(id, 33);
    assert_int_equal(since, FED_MS);
    assert_false(shard_open_waits(f->shard, 0, &id, &since));
    session_waiting(&f->session[1], id, "rank 0", 3);
    assert_int_equal(next_sent(f, MESSAGE_WAITING, 1)->request_id, 33);
    m.open.key_id = 2; /* Younger, and it stays. */
    assert_int_equal(feed(f, 1, 34, &m, NULL, 0), KV_OK);
    m.open.key_id = 1;
    assert_int_equal(feed(f, 0, 9, &m, (float[4]){0}, 16), KV_OK);
    assert_true(shard_open_waits(f->shard, 1, &id, &since));
    assert_int_equal(id, 34);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_batch_gets_one_frame_of_each_kind),
        TEST(test_values_that_fill_a_frame_go_out),
        TEST(test_more_runs_than_a_frame_has_go_out),
        TEST(test_a_large_push_is_read_into_its_place),
        TEST(test_a_large_value_is_sent_from_its_block),
        TEST(test_a_session_that_ends_midway_gives_its_buffer_back),
        TEST(test_optimizer_and_live_numbers_are_answered),
        TEST(test_a_refused_push_leaves_the_others_alone),
        TEST(test_an_open_that_is_refused_says_why),
        TEST(test_a_stall_lists_the_first_missing_ranks),
        TEST(test_who_is_back_learns_the_rounds),
        TEST(test_leaving_with_a_push_under_way_is_refused),
        TEST(test_a_stall_counts_who_has_left),
        TEST(test_a_pull_waits_since_it_came),
        TEST(test_an_open_waits_for_rank_0_since_it_came),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
