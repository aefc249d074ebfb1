/* Rounds that begin a value anew: what they leave, and who may be in them. */
#include "tests/unit/shard_fixture.h"

#define COUNT 3000

/* --- Steps ---------------------------------------------------------------- */

static void reset_to(struct fixture *f, uint32_t rank, uint32_t slot,
                     uint64_t round, float value)
{
    float all[COUNT];

    for (size_t i = 0; i < COUNT; i++) {
        all[i] = value;
    }
    shard_push_reset(f->shard, rank, slot, round, all, sizeof all, NULL);
}

static void reset_along(struct fixture *f, uint32_t rank, uint32_t slot,
                        uint64_t round)
{
    shard_push_reset(f->shard, rank, slot, round, NULL, 0, NULL);
}

static uint64_t version(const struct fixture *f, uint32_t key_id)
{
    uint64_t rounds;

    assert_int_equal(shard_version(f->shard, key_id, 0, &rounds), KV_OK);
    return rounds;
}

/* --- Tests ---------------------------------------------------------------- */

static void test_a_reset_is_a_round_of_all(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 3);

    reset_along(f, 1, slot, 1);
    expect_silence(f);
    expect_state(f, slot, 3);
    reset_to(f, 0, slot, 1, 8);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 8);
    assert_int_equal(version(f, 1), 1);
    crash(f);
    expect_state(f, slot, 8);
    assert_int_equal(version(f, 1), 1);
}

/* Momentum of before would show in the first update after it. */
static void test_state_begins_anew(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    set_optimizer(f, "sgd", "lr=1,momentum=0.5");
    push(f, 0, slot, 1, COUNT, 1);
    expect_ack(f, 0, slot, 1);
    expect_state(f, slot, -1);
    reset_to(f, 0, slot, 2, 10);
    expect_ack(f, 0, slot, 2);
    expect_state(f, slot, 10);
    crash(f);
    push(f, 0, slot, 3, COUNT, 1);
    expect_ack(f, 0, slot, 3);
    expect_state(f, slot, 9);
    push(f, 0, slot, 4, COUNT, 1);
    expect_ack(f, 0, slot, 4);
    expect_state(f, slot, 7.5f);
}

static void test_the_same_reset_again_is_only_acknowledged(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    reset_to(f, 0, slot, 1, 5);
    expect_ack(f, 0, slot, 1);
    push(f, 0, slot, 2, COUNT, 7);
    expect_ack(f, 0, slot, 2);
    reset_to(f, 0, slot, 1, 5);
    expect_ack(f, 0, slot, 1);
    expect_state(f, slot, 7); /* Without an optimizer: the sum. */
    assert_int_equal(version(f, 1), 2);
}

static void test_a_gradient_and_a_reset_make_no_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 3);
    const struct seen *s;

    push(f, 0, slot, 1, COUNT, 1);
    reset_along(f, 1, slot, 1);
    for (int i = 0; i < 2; i++) {
        s = next_seen(f);
        expect_status(s, KV_EMISMATCH);
        expect_text(s->text,
                    "round 1 of key id 1 slice 0: rank 1 resets it, but "
                    "rank 0 pushes a gradient");
    }
    expect_silence(f);
    expect_state(f, slot, 3);
    reset_to(f, 0, slot, 1, 4); /* Both may do it right. */
    reset_along(f, 1, slot, 1);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 4);
}

static void test_somebody_has_to_bring_the_value(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 3);
    const struct seen *s;

    reset_along(f, 0, slot, 1);
    reset_along(f, 1, slot, 1);
    for (int i = 0; i < 2; i++) {
        s = next_seen(f);
        expect_status(s, KV_EINVAL);
        expect_text(s->text, "nobody brings the value that key id 1 slice 0 is "
                             "reset to");
    }
    expect_silence(f);
    expect_state(f, slot, 3);
    assert_int_equal(version(f, 1), 0);
}

static void test_a_value_of_another_size_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 3);
    float few[7] = {0};

    shard_push_reset(f->shard, 0, slot, 1, few, sizeof few, NULL);
    expect_refused(f, KV_EMISMATCH, "pushes 28 bytes to key id 1 slice 0");
    expect_state(f, slot, 3);
}

static void expect_opened(struct fixture *f, uint64_t round, bool reset)
{
    struct slice_desc d = f32_slice(1, COUNT);
    const struct seen *s;

    shard_open(f->shard, 0, 2, &d, NULL, 0);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->round, round);
    assert_int_equal(s->reset, reset);
}

static void test_who_opens_learns_whether_the_last_round_was_one(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 3);

    expect_opened(f, 0, false);
    reset_to(f, 0, slot, 1, 5);
    expect_ack(f, 0, slot, 1);
    expect_opened(f, 1, true);
    crash(f);
    expect_opened(f, 1, true);
    push(f, 0, slot, 2, COUNT, 1);
    expect_ack(f, 0, slot, 2);
    expect_opened(f, 2, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_reset_is_a_round_of_all, set_up_pair),
        TEST(test_state_begins_anew, set_up_alone),
        TEST(test_the_same_reset_again_is_only_acknowledged, set_up_alone),
        TEST(test_a_gradient_and_a_reset_make_no_round, set_up_pair),
        TEST(test_somebody_has_to_bring_the_value, set_up_pair),
        TEST(test_a_value_of_another_size_is_refused, set_up_alone),
        TEST(test_who_opens_learns_whether_the_last_round_was_one,
             set_up_alone),
    };

    return cmocka_run_group_tests_name("shard_reset", tests, NULL, NULL);
}
