/* A rank to which much waits to go out: pulls of its that have waited wait on,
 * and bring the value of their round all the same. */
#include "tests/unit/shard_fixture.h"

#define COUNT 8
#define MANY 5

/* --- Steps ---------------------------------------------------------------- */

/* Rank 0 has pushed 1 to each slice, and waits for that round of it. */
static void wait_for(struct fixture *f, const uint32_t *slots, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        push(f, 0, slots[i], 1, COUNT, 1);
        shard_pull(f->shard, 0, slots[i], 1);
    }
    expect_silence(f);
}

/* Rank 1 closes the round: 3 in all. */
static void close_round(struct fixture *f, uint32_t slot)
{
    push(f, 1, slot, 1, COUNT, 2);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
}

static uint32_t full_with_one_ripe(struct fixture *f)
{
    uint32_t slot = create(f, 1, COUNT, 0);

    wait_for(f, &slot, 1);
    f->room = 0;
    close_round(f, slot);
    expect_silence(f);
    return slot;
}

/* --- Tests ---------------------------------------------------------------- */

static void test_answers_come_as_far_as_there_is_room(void **state)
{
    struct fixture *f = *state;
    uint32_t slots[MANY];

    for (uint32_t i = 0; i < MANY; i++) {
        slots[i] = create(f, 1 + i, COUNT, 0);
    }
    expect_silence(f);
    wait_for(f, slots, MANY);
    f->room = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        close_round(f, slots[i]);
        expect_silence(f);
    }
    f->room = 2;
    shard_drained(f->shard, 0);
    expect_pulled(f, 0, slots[0], 1, 3);
    expect_pulled(f, 0, slots[1], 1, 3);
    expect_silence(f);
    f->room = SIZE_MAX;
    shard_drained(f->shard, 0);
    for (uint32_t i = 2; i < MANY; i++) {
        expect_pulled(f, 0, slots[i], 1, 3);
    }
    expect_silence(f);
    shard_drained(f->shard, 0);
    expect_silence(f);
}

static void test_a_pull_that_need_not_wait_is_answered(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 7);

    f->room = 0;
    shard_pull(f->shard, 0, slot, 0);
    expect_pulled(f, 0, slot, 0, 7);
}

static void test_the_next_push_does_not_change_what_is_pulled(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = full_with_one_ripe(f);

    push(f, 1, slot, 2, COUNT, 10);
    push(f, 0, slot, 2, COUNT, 10);
    expect_pulled(f, 0, slot, 1, 3);
    expect_ack(f, 0, slot, 2);
    expect_ack(f, 1, slot, 2);
    expect_silence(f);
}

static void test_a_refused_push_is_behind_it_too(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = full_with_one_ripe(f);

    push(f, 0, slot, 2, COUNT + 1, 10);
    expect_pulled(f, 0, slot, 1, 3);
    expect_refused(f, KV_EMISMATCH, "pushes 36 bytes");
}

static void test_who_waits_may_not_leave(void **state)
{
    struct fixture *f = *state;

    (void)full_with_one_ripe(f);
    assert_int_equal(
        shard_member(f->shard, 0, false, f->error, sizeof f->error), KV_EBUSY);
    f->room = SIZE_MAX;
    shard_drained(f->shard, 0);
    assert_int_equal(
        shard_member(f->shard, 0, false, f->error, sizeof f->error), KV_OK);
}

static void test_a_lost_link_ends_it(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = full_with_one_ripe(f);

    shard_forget(f->shard, 0);
    f->room = SIZE_MAX;
    shard_drained(f->shard, 0);
    expect_silence(f);
    shard_pull(f->shard, 0, slot, 1);
    expect_pulled(f, 0, slot, 1, 3);
}

static void test_a_deletion_ends_it(void **state)
{
    struct fixture *f = *state;

    (void)full_with_one_ripe(f);
    shard_drop(f->shard, 1, 0, 1);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
    f->room = SIZE_MAX;
    shard_drained(f->shard, 0);
    expect_silence(f);
}

static int set_up(void **state)
{
    *state = fixture_new(2, KV_POLICY_SYNC);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_come_as_far_as_there_is_room, set_up),
        TEST(test_a_pull_that_need_not_wait_is_answered, set_up),
        TEST(test_the_next_push_does_not_change_what_is_pulled, set_up),
        TEST(test_a_refused_push_is_behind_it_too, set_up),
        TEST(test_who_waits_may_not_leave, set_up),
        TEST(test_a_lost_link_ends_it, set_up),
        TEST(test_a_deletion_ends_it, set_up),
    };

    return cmocka_run_group_tests_name("shard full", tests, NULL, NULL);
}
