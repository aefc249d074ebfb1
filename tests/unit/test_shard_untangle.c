#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/shard_fixture.h"

#define RANKS 3
#define COUNT 5000 /* Elements of a slice. */
#define SLICES 6

static int set_up(void **state)
{
    struct fixture *f = fixture_new(RANKS, KV_POLICY_SYNC);

    for (uint32_t i = 0; i < SLICES; i++) {
        (void)create(f, i, COUNT, 0);
    }
    expect_silence(f);
    *state = f;
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static void push_some(struct fixture *f, uint32_t rank, uint32_t first,
                      uint32_t last)
{
    for (uint32_t slot = first; slot <= last; slot++) {
        push(f, rank, slot, 1, COUNT, 1);
    }
    expect_silence(f);
}

static void untangle(struct fixture *f, bool zero, bool one, bool two)
{
    const bool blocked[RANKS] = {zero, one, two};

    shard_untangle(f->shard, blocked);
}

static void expect_put_back(struct fixture *f, uint32_t rank, uint32_t first,
                            uint32_t last)
{
    for (uint32_t slot = first; slot <= last; slot++) {
        expect_answer(f, false, rank, slot, 1, KV_EAGAIN);
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_ranks_make_way_for_the_nearest_round(void **state)
{
    struct fixture *f = *state;

    push_some(f, 0, 0, 2);
    push_some(f, 1, 2, 3);
    push_some(f, 2, 4, 5);
    untangle(f, true, true, true);
    expect_put_back(f, 2, 4, 5); /* All but rank 2 have pushed slot 2. */
    expect_silence(f);
    assert_int_equal(shard_held(f->shard, 2), 0);
    push(f, 2, 2, 1, COUNT, 1);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, 2, 1);
    }
    expect_silence(f);
}

static void test_a_pull_stays_when_its_push_is_put_back(void **state)
{
    struct fixture *f = *state;

    push_some(f, 0, 0, 0);
    push_some(f, 1, 4, 4);
    shard_pull(f->shard, 1, 4, 1);
    untangle(f, false, true, false);
    expect_put_back(f, 1, 4, 4);
    expect_silence(f);
    assert_true(f->released > 0);
    push_some(f, 0, 4, 4);
    push_some(f, 2, 4, 4);
    push(f, 1, 4, 1, COUNT, 1); /* Sent again. */
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, 4, 1);
    }
    expect_pulled(f, 1, 4, 1, RANKS);
}

static void test_a_rank_that_can_act_is_left_alone(void **state)
{
    struct fixture *f = *state;

    push_some(f, 0, 0, 2);
    push_some(f, 1, 3, 5);
    untangle(f, true, false, false);
    expect_put_back(f, 0, 0, 2);
    expect_silence(f);
}

static void test_the_same_round_is_helped_until_it_closes(void **state)
{
    struct fixture *f = *state;

    push_some(f, 0, 0, 0);
    push_some(f, 2, 0, 0);
    for (uint32_t slot = 1; slot < SLICES; slot++) {
        push_some(f, 1, slot, slot);
        untangle(f, true, true, true);
        expect_put_back(f, 1, slot, slot);
        expect_silence(f);
    }
    push(f, 1, 0, 1, COUNT, 1);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, 0, 1);
    }
}

/* Rank 1 will not push slot 0 before slot 3 has been committed, which rank 0
 * comes to only when it gives slot 0 up. */
static void test_a_round_that_cannot_close_does_not_keep_its_turn(void **state)
{
    struct fixture *f = *state;
    unsigned tries = 0;

    push_some(f, 0, 0, 0);
    push_some(f, 2, 0, 0);
    push_some(f, 1, 3, 3);
    while (f->seen_count == 0 || f->seen[f->seen_count - 1].rank == 1) {
        if (f->seen_count > 0) {
            f->seen_count = 0;
            push_some(f, 1, 3, 3);
        }
        untangle(f, true, true, true);
        assert_true(++tries < 50);
    }
    assert_true(tries > 5);
    expect_put_back(f, 0, 0, 0);
    expect_put_back(f, 2, 0, 0);
}

static void test_nothing_open_is_nothing_to_put_back(void **state)
{
    struct fixture *f = *state;

    untangle(f, true, true, true);
    expect_silence(f);
    push_some(f, 0, 0, 1);
    untangle(f, false, false, false);
    expect_silence(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ranks_make_way_for_the_nearest_round, set_up),
        TEST(test_a_pull_stays_when_its_push_is_put_back, set_up),
        TEST(test_a_rank_that_can_act_is_left_alone, set_up),
        TEST(test_the_same_round_is_helped_until_it_closes, set_up),
        TEST(test_a_round_that_cannot_close_does_not_keep_its_turn, set_up),
        TEST(test_nothing_open_is_nothing_to_put_back, set_up),
    };

    return cmocka_run_group_tests_name("shard_untangle", tests, NULL, NULL);
}
