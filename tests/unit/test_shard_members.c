#include "tests/unit/shard_fixture.h"

#define COUNT 8

/* --- Steps ---------------------------------------------------------------- */

static void member(struct fixture *f, uint32_t rank, bool in)
{
    assert_int_equal(
        shard_member(f->shard, rank, in, f->error, sizeof f->error), KV_OK);
    assert_int_equal(shard_is_member(f->shard, rank), in);
}

static void leave(struct fixture *f, uint32_t rank)
{
    member(f, rank, false);
}

static void join(struct fixture *f, uint32_t rank)
{
    member(f, rank, true);
}

static void whole_round(struct fixture *f, uint32_t slot, uint64_t round,
                        uint32_t ranks)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        push(f, rank, slot, round, COUNT, 1);
    }
    for (uint32_t rank = 0; rank < ranks; rank++) {
        expect_ack(f, rank, slot, round);
    }
}

/* --- Leaving -------------------------------------------------------------- */

static void test_rounds_close_without_who_has_left(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    whole_round(f, slot, 1, 3);
    leave(f, 2);
    push(f, 1, slot, 2, COUNT, 20);
    expect_silence(f);
    push(f, 0, slot, 2, COUNT, 10);
    expect_ack(f, 0, slot, 2);
    expect_ack(f, 1, slot, 2);
    expect_state(f, slot, 30);
    assert_int_equal(shard_left(f->shard), 1);
}

static void test_who_waits_for_a_leaver_goes_on(void **state)
{
    struct fixture *f = *state;
    uint32_t a = create(f, 1, COUNT, 0), b = create(f, 2, COUNT, 0);

    push(f, 1, b, 1, COUNT, 2);
    push(f, 0, b, 1, COUNT, 1);
    push(f, 0, a, 1, COUNT, 1); /* Lacks rank 1 as well. */
    shard_pull(f->shard, 0, b, 1);
    expect_silence(f);
    leave(f, 2);
    expect_ack(f, 0, b, 1);
    expect_ack(f, 1, b, 1);
    expect_pulled(f, 0, b, 1, 3);
    expect_silence(f);
}

static void test_the_sum_is_in_rank_order_of_those_who_stay(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    leave(f, 1);
    push(f, 2, slot, 1, COUNT, -1e8f);
    push(f, 0, slot, 1, COUNT, 1e8f);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 2, slot, 1);
    expect_state(f, slot, 0);
}

static void test_a_slice_that_is_opened_later_has_the_same_members(void **state)
{
    struct fixture *f = *state;
    uint32_t slot;

    leave(f, 2);
    slot = create(f, 1, COUNT, 0);
    whole_round(f, slot, 1, 2);
    expect_state(f, slot, 2);
}

static void test_a_leaver_pulls_the_newest_value(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    whole_round(f, slot, 1, 3);
    leave(f, 2);
    whole_round(f, slot, 2, 2);
    whole_round(f, slot, 3, 2);
    shard_pull(f->shard, 2, slot, 1);
    expect_pulled(f, 2, slot, 1, 2);
    shard_pull(f->shard, 2, slot, 4);
    expect_refused(f, KV_EINVAL, "rank 2 pulls round 4");
}

static void test_a_leaver_may_not_push(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    whole_round(f, slot, 1, 3);
    leave(f, 2);
    push(f, 2, slot, 2, COUNT, 1);
    expect_refused(f, KV_EINVAL, "has left the rounds: call kvw_join first");
    push(f, 2, slot, 1, COUNT, 1); /* Sent again: it was in that round. */
    expect_ack(f, 2, slot, 1);
    whole_round(f, slot, 2, 2);
    expect_state(f, slot, 2);
}

static void test_a_leaver_does_not_stand_for_the_last_member(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 7);
    const float gradient[COUNT] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct run run = {slot, 1, 1, sizeof gradient};

    leave(f, 1);
    leave(f, 2);
    shard_push_run(f->shard, 2, &run, 0, gradient);
    expect_refused(f, KV_EINVAL, "has left the rounds");
    expect_state(f, slot, 7);
    shard_push_run(f->shard, 0, &run, 0, gradient);
    expect_ack(f, 0, slot, 1);
    expect_state(f, slot, 1);
}

static void test_nobody_leaves_in_the_middle_of_a_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    push(f, 2, slot, 1, COUNT, 1);
    assert_int_equal(
        shard_member(f->shard, 2, false, f->error, sizeof f->error), KV_EBUSY);
    expect_text(f->error, "rank 2 leaves with pushes");
    push(f, 0, slot, 1, COUNT, 1);
    push(f, 1, slot, 1, COUNT, 1);
    for (uint32_t rank = 0; rank < 3; rank++) {
        expect_ack(f, rank, slot, 1);
    }
    expect_state(f, slot, 3);
}

static void test_leaving_twice_is_leaving(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    leave(f, 2);
    leave(f, 2);
    assert_int_equal(shard_left(f->shard), 1);
    join(f, 2);
    join(f, 2);
    assert_int_equal(shard_left(f->shard), 0);
    whole_round(f, slot, 1, 3);
}

static void test_when_all_have_left_nothing_waits(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 7);

    for (uint32_t rank = 0; rank < 3; rank++) {
        leave(f, rank);
    }
    expect_state(f, slot, 7);
    join(f, 1);
    push(f, 1, slot, 1, COUNT, 5);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 5);
}

static void on_stall(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                     uint64_t since_ms, const uint32_t *missing, uint32_t count)
{
    uint32_t *named = ctx;

    (void)rank;
    (void)slot;
    (void)round;
    (void)since_ms;
    for (uint32_t i = 0; i < count; i++) {
        *named |= 1u << missing[i];
    }
}

static void test_a_leaver_is_not_missing(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0), named = 0;

    leave(f, 2);
    push(f, 0, slot, 1, COUNT, 1);
    shard_stalls(f->shard, 10000, 5000, on_stall, &named);
    assert_int_equal(named, 1u << 1);
}

/* --- Coming back ---------------------------------------------------------- */

static void test_who_is_back_belongs_to_the_open_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0), at = 0;
    uint64_t round;

    leave(f, 2);
    whole_round(f, slot, 1, 2);
    push(f, 0, slot, 2, COUNT, 1);
    join(f, 2);
    assert_true(shard_pushed(f->shard, 2, &at, &round));
    assert_int_equal(at, slot);
    assert_int_equal(round, 1);
    push(f, 1, slot, 2, COUNT, 2);
    expect_silence(f);
    push(f, 2, slot, 2, COUNT, 4);
    expect_ack(f, 0, slot, 2);
    expect_ack(f, 1, slot, 2);
    expect_ack(f, 2, slot, 2);
    expect_state(f, slot, 7);
}

/* --- What is kept --------------------------------------------------------- */

static void test_leaving_outlives_the_server(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    leave(f, 2);
    crash(f);
    assert_false(shard_is_member(f->shard, 2));
    whole_round(f, slot, 1, 2);
    join(f, 2);
    crash(f);
    assert_true(shard_is_member(f->shard, 2));
    whole_round(f, slot, 2, 3);
}

static void fence(struct fixture *f, uint32_t rank, uint64_t incarnation)
{
    assert_int_equal(shard_fence(f->shard, rank, incarnation, 77), KV_OK);
}

static void test_a_new_life_is_a_member(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    fence(f, 2, 5);
    leave(f, 2);
    fence(f, 2, 5); /* A lost connection is no new life. */
    assert_false(shard_is_member(f->shard, 2));
    whole_round(f, slot, 1, 2);
    fence(f, 2, 6);
    assert_true(shard_is_member(f->shard, 2));
    push(f, 0, slot, 2, COUNT, 1);
    push(f, 1, slot, 2, COUNT, 1);
    expect_silence(f);
    crash(f);
    assert_true(shard_is_member(f->shard, 2));
    whole_round(f, slot, 2, 3);
}

/* --- Norms ---------------------------------------------------------------- */

static uint32_t half_of_a_key(struct fixture *f)
{
    struct slice_desc d = {9, 1, KV_F32, COUNT, 0, 2, false, 0, 0};
    float value[COUNT] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct seen *s;

    set_optimizer(f, "lamb", "lr=0.1");
    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    s = next_seen(f);
    expect_status(s, KV_OK);
    return s->slot;
}

static double expect_norms(struct fixture *f, uint32_t rank, uint64_t round)
{
    const struct seen *s = next_seen(f);

    assert_true(s->norms);
    assert_int_equal(s->rank, rank);
    assert_int_equal(s->round, round);
    return s->sums[1];
}

static void test_only_members_measure(void **state)
{
    struct fixture *f = *state;
    const double totals[KV_NORMS_MAX] = {4, 4, 4};
    uint32_t slot = half_of_a_key(f);

    leave(f, 1);
    push(f, 2, slot, 1, COUNT, 1);
    push(f, 0, slot, 1, COUNT, 1);
    expect_norms(f, 0, 1);
    expect_norms(f, 2, 1);
    expect_silence(f);
    shard_totals(f->shard, 1, slot, 1, 0, totals); /* Not asked. */
    expect_silence(f);
    shard_totals(f->shard, 2, slot, 1, 0, totals);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 2, slot, 1);
    expect_silence(f);
}

static void test_who_joins_a_measured_round_is_measured_with_it(void **state)
{
    struct fixture *f = *state;
    const double totals[KV_NORMS_MAX] = {4, 4, 4};
    uint32_t slot = half_of_a_key(f);

    leave(f, 2);
    push(f, 0, slot, 1, COUNT, 1);
    push(f, 1, slot, 1, COUNT, 1);
    expect_norms(f, 0, 1);
    expect_norms(f, 1, 1);
    join(f, 2);
    shard_totals(f->shard, 0, slot, 1, 0, totals);
    expect_silence(f); /* The round lacks rank 2 now. */
    push(f, 2, slot, 1, COUNT, 1);
    for (uint32_t rank = 0; rank < 3; rank++) {
        expect_norms(f, rank, 1);
    }
    shard_totals(f->shard, 0, slot, 1, 0, totals);
    for (uint32_t rank = 0; rank < 3; rank++) {
        expect_ack(f, rank, slot, 1);
    }
}

static void test_who_leaves_lets_a_round_be_measured(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = half_of_a_key(f);

    push(f, 0, slot, 1, COUNT, 1);
    push(f, 1, slot, 1, COUNT, 1);
    expect_silence(f);
    leave(f, 2);
    expect_norms(f, 0, 1);
    expect_norms(f, 1, 1);
}

/* --- Async ---------------------------------------------------------------- */

static void test_async_has_no_rounds_to_leave(void **state)
{
    struct fixture *f = *state;
    uint32_t slot;

    set_optimizer(f, "sgd", "lr=1");
    slot = create(f, 1, COUNT, 0);
    assert_int_equal(
        shard_member(f->shard, 2, false, f->error, sizeof f->error), KV_OK);
    assert_true(shard_is_member(f->shard, 2));
    push(f, 2, slot, 1, COUNT, 1);
    expect_ack(f, 2, slot, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rounds_close_without_who_has_left, set_up_three),
        TEST(test_who_waits_for_a_leaver_goes_on, set_up_three),
        TEST(test_the_sum_is_in_rank_order_of_those_who_stay, set_up_three),
        TEST(test_a_slice_that_is_opened_later_has_the_same_members,
             set_up_three),
        TEST(test_a_leaver_pulls_the_newest_value, set_up_three),
        TEST(test_a_leaver_may_not_push, set_up_three),
        TEST(test_a_leaver_does_not_stand_for_the_last_member, set_up_three),
        TEST(test_nobody_leaves_in_the_middle_of_a_round, set_up_three),
        TEST(test_leaving_twice_is_leaving, set_up_three),
        TEST(test_when_all_have_left_nothing_waits, set_up_three),
        TEST(test_a_leaver_is_not_missing, set_up_three),
        TEST(test_who_is_back_belongs_to_the_open_round, set_up_three),
        TEST(test_leaving_outlives_the_server, set_up_three),
        TEST(test_a_new_life_is_a_member, set_up_three),
        TEST(test_only_members_measure, set_up_three),
        TEST(test_who_joins_a_measured_round_is_measured_with_it, set_up_three),
        TEST(test_who_leaves_lets_a_round_be_measured, set_up_three),
        TEST(test_async_has_no_rounds_to_leave, set_up_three_async),
    };

    return cmocka_run_group_tests_name("shard members", tests, NULL, NULL);
}
