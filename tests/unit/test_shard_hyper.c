/* Numbers of the optimizer that change while a shard trains: for all its
 * slices or for one, from a round on, through crashes. */
#include "tests/unit/chance.h"
#include "tests/unit/shard_fixture.h"

#include "common/optim/hyper.h"

#define COUNT 8

/* --- Steps ---------------------------------------------------------------- */

#define ALL UINT32_MAX

static enum kv_status try(struct fixture *f, uint32_t slot, const char *name,
                          double value, uint64_t round)
{
    /* A slice's key is numbered as its slot. */
    struct hyper_change c = {
        name, value, round, slot != ALL, slot == ALL ? 0 : slot, 0};

    return shard_hyper(f->shard, &c, f->error, sizeof f->error);
}

static void change(struct fixture *f, uint32_t slot, const char *name,
                   double value, uint64_t round)
{
    if (try(f, slot, name, value, round) != KV_OK) {
        fail_msg("%s", f->error);
    }
}

static void expect_no_change(struct fixture *f, uint32_t slot, const char *name,
                             double value, uint64_t round, const char *why)
{
    assert_int_equal(try(f, slot, name, value, round), KV_EINVAL);
    expect_text(f->error, why);
}

/* By how much a gradient of 1 moves the slice in its next round: the rate. */
static float moved(struct fixture *f, uint32_t slot)
{
    float before, after;
    uint64_t round;

    shard_pull(f->shard, 0, slot, 0);
    before = next_seen(f)->value[0];
    /* The rank's next round is where a slice of the same name opens. */
    shard_open(f->shard, 0, 1,
               &(struct slice_desc){slot, 0, KV_F32, COUNT, 0, 1, false, 0, 0},
               NULL, 0);
    round = next_seen(f)->round + 1;
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        push(f, rank, slot, round, COUNT, rank == 0 ? 1 : 0);
    }
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        expect_ack(f, rank, slot, round);
    }
    shard_pull(f->shard, 0, slot, round);
    after = next_seen(f)->value[0];
    expect_silence(f);
    return before - after;
}

static void expect_moved(struct fixture *f, uint32_t slot, float right)
{
    float way = moved(f, slot);

    if (way != right) {
        fail_msg("slot %u moved by %g, not %g", slot, (double)way,
                 (double)right);
    }
}

/* Slots 0 and 1 of sgd with a rate of 1. */
static void begin(struct fixture *f)
{
    create(f, 0, COUNT, 0);
    create(f, 1, COUNT, 0);
    expect_silence(f);
    set_optimizer(f, "sgd", "lr=1");
}

/* --- Rounds --------------------------------------------------------------- */

static void test_a_change_is_in_force_from_its_round_on(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, ALL, "lr", 2, 3);
    expect_moved(f, 0, 1);
    expect_moved(f, 0, 1);
    expect_moved(f, 1, 1);
    expect_moved(f, 0, 2); /* Slices come to it one by one. */
    expect_moved(f, 1, 1);
    expect_moved(f, 0, 2);
    expect_moved(f, 1, 2);
    assert_int_equal(create(f, 2, COUNT, 0), 2);
    expect_silence(f);
    expect_moved(f, 2, 1); /* And those that come later. */
    expect_moved(f, 2, 1);
    expect_moved(f, 2, 2);
}

static void test_changes_may_be_announced_in_any_order(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, ALL, "lr", 8, 4);
    change(f, 0, "lr", 16, 4);
    change(f, ALL, "lr", 2, 2);
    change(f, 0, "lr", 4, 2);
    change(f, ALL, "lr", 3, 2); /* Of two for one round the later one. */
    expect_moved(f, 0, 1);
    expect_moved(f, 0, 4);
    expect_moved(f, 0, 4);
    expect_moved(f, 0, 16);
    expect_moved(f, 1, 1);
    expect_moved(f, 1, 3);
    expect_moved(f, 1, 3);
    expect_moved(f, 1, 8);
}

static void
test_a_change_from_the_next_round_ends_what_was_announced(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, ALL, "lr", 8, 3);
    change(f, ALL, "wd", 0, 3);
    change(f, 0, "lr_mult", 4, 3);
    expect_moved(f, 0, 1);
    change(f, ALL, "lr", 2, 0);
    change(f, 0, "lr_mult", 0.5, 0);
    expect_moved(f, 0, 1);
    expect_moved(f, 0, 1);
    expect_moved(f, 1, 2);
    expect_moved(f, 1, 2);
    expect_moved(f, 1, 2);
}

static void test_a_committed_round_is_refused_with_both_numbers(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, 1, "lr", 2, 2);
    expect_moved(f, 1, 1);
    expect_moved(f, 1, 2);
    expect_no_change(f, 1, "lr", 3, 2, "from round 2 on");
    expect_text(f->error, "key id 1 slice 0 has committed round 2");
    expect_no_change(f, ALL, "lr", 3, 1, "committed round 2");
    change(f, 1, "lr", 2, 2); /* A retry of what was done. */
    change(f, 0, "lr", 3, 1);
    change(f, 1, "lr", 4, 3);
    expect_moved(f, 1, 4);
    expect_moved(f, 0, 3);
}

/* --- One key -------------------------------------------------------------- */

static void test_a_keys_own_goes_before_what_all_have(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, 0, "lr", 4, 0);
    change(f, ALL, "lr", 2, 0); /* Later, and yet. */
    expect_moved(f, 0, 4);
    expect_moved(f, 1, 2);
    change(f, 0, "lr", 8, 0);
    expect_moved(f, 0, 8);
    expect_moved(f, 1, 2);
    expect_moved(f, 0, 8);
}

static void test_multipliers_multiply_rate_and_decay(void **state)
{
    struct fixture *f = *state;

    create(f, 0, COUNT, 16);
    create(f, 1, COUNT, 16);
    expect_silence(f);
    set_optimizer(f, "sgd", "lr=0.5,wd=0.25");
    change(f, 0, "lr_mult", 2, 0);
    change(f, 0, "wd_mult", 0.5, 0);
    expect_moved(f, 0, 1 + 16 * 0.125f);
    expect_moved(f, 1, 0.5f + 16 * 0.125f);
    change(f, ALL, "lr_mult", 0, 0); /* A key's own takes its place. */
    expect_moved(f, 1, 0);
    expect_moved(f, 0, 1 + 13 * 0.125f);
    change(f, ALL, "lr", 0.25, 0);
    expect_moved(f, 1, 0);
    change(f, 0, "lr_mult", 0, 0);
    expect_moved(f, 0, 0);
}

static void test_what_no_key_can_have_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(try(f, ALL, "lr", 1, 0), KV_EINVAL);
    expect_text(f->error, "no optimizer");
    begin(f);
    expect_no_change(f, ALL, "speed", 1, 0, "speed");
    expect_no_change(f, 0, "momentum", 0.5, 9, "momentum");
    expect_no_change(f, 0, "lr_mult", -1, 0, "from 0 to");
    assert_int_equal(try(f, 7, "lr", 1, 0), KV_ENOTFOUND);
    expect_text(f->error, "key id 7");
    set_optimizer(f, "adadelta", "");
    expect_no_change(f, 0, "lr_mult", 1, 0, "no learning_rate for a lr_mult");
    change(f, 0, "rho", 0.5, 0);
    expect_no_change(f, 0, "multi_precision", 1, 0, "multi_precision");
}

static void test_norms_are_of_the_keys_own_settings(void **state)
{
    struct fixture *f = *state;
    float plain;

    create(f, 0, COUNT, 1);
    create(f, 1, COUNT, 1);
    expect_silence(f);
    set_optimizer(f, "lamb", "lr=0.5");
    change(f, 1, "lr_mult", 0, 0);
    plain = moved(f, 0);
    assert_true(plain > 0);
    expect_moved(f, 1, 0);
}

/* --- Limits --------------------------------------------------------------- */

static void test_announcements_are_bounded(void **state)
{
    struct fixture *f = *state;

    begin(f);
    for (uint64_t i = 0; i < KV_HYPER_ALL_MAX; i++) {
        change(f, ALL, "lr", (double)i, i + 2);
    }
    assert_int_equal(try(f, ALL, "lr", 1, 1000), KV_ENOSPC);
    expect_text(f->error, "256 changes for all keys wait for key id 0 slice 0");
    change(f, ALL, "lr", 1, 9); /* Takes another one's place. */
    for (uint64_t i = 0; i < KV_HYPER_OWN_MAX; i++) {
        change(f, 0, "lr", (double)i, i + 2);
    }
    assert_int_equal(try(f, 0, "lr", 1, 1000), KV_ENOSPC);
    expect_text(f->error, "of at most 16");
    expect_moved(f, 0, 1);
    expect_moved(f, 1, 1);
    assert_int_equal(try(f, ALL, "lr", 1, 1000), KV_ENOSPC);
    expect_moved(f, 0, 0);
    expect_moved(f, 0, 1);
    expect_moved(f, 1, 0);
    expect_moved(f, 1, 1);
    change(f, 0, "lr", 1, 1000); /* What is past makes room. */
    change(f, ALL, "lr", 1, 1000);
}

static void test_a_multiplier_for_each_of_many_keys_is_small(void **state)
{
    struct fixture *f = *state;
    struct arena_usage before, after;

    set_optimizer(f, "sgd", "lr=1");
    for (uint32_t i = 0; i < 20000; i++) {
        assert_int_equal(create(f, i, COUNT, 0), i);
        expect_silence(f);
    }
    arena_usage(f->home.arena, &before);
    for (uint32_t i = 0; i < 20000; i++) {
        change(f, i, "lr_mult", i % 1000, 0);
        change(f, i, "lr_mult", i % 1000 + 1, 0);
    }
    arena_usage(f->home.arena, &after);
    assert_true(after.used_bytes - before.used_bytes <= 20000 * 192);
    crash(f);
    for (uint32_t i = 0; i < 20000; i += 999) {
        expect_moved(f, i, (float)(i % 1000 + 1));
    }
}

/* --- Through crashes ------------------------------------------------------ */

static void test_changes_survive(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, ALL, "lr", 2, 0);
    change(f, ALL, "lr", 4, 3);
    change(f, 1, "lr_mult", 8, 2);
    crash(f);
    expect_moved(f, 0, 2);
    expect_moved(f, 1, 2);
    crash(f);
    expect_moved(f, 0, 2);
    expect_moved(f, 1, 16);
    crash(f);
    expect_moved(f, 0, 4);
    expect_moved(f, 1, 32);
}

static void test_the_next_optimizer_ends_them(void **state)
{
    struct fixture *f = *state;

    begin(f);
    change(f, ALL, "lr", 2, 0);
    change(f, ALL, "lr", 32, 4);
    change(f, 1, "lr_mult", 8, 0);
    set_optimizer(f, "sgd", "lr=1"); /* The same: it changes nothing. */
    expect_moved(f, 0, 2);
    expect_moved(f, 1, 16);
    crash(f);
    set_optimizer(f, "sgd", "lr=1");
    expect_moved(f, 0, 2);
    expect_moved(f, 1, 16);
    set_optimizer(f, "sgd", "lr=4");
    expect_moved(f, 0, 4);
    expect_moved(f, 1, 4);
    crash(f);
    expect_moved(f, 0, 4);
    expect_moved(f, 1, 4);
}

/* What a slice moves by is a power of two, of which all and the own one chose
 * the exponent. */
static void change_for_ever(void *arg, int ready)
{
    struct fixture *f = arg;

    home_open(&f->home);
    start(f);
    for (uint64_t i = 0;; i++) {
        KV_CHECK(try(f, ALL, "lr", i % 2 == 0 ? 1 : 4, 0) == KV_OK);
        KV_CHECK(try(f, 1, "lr_mult", i % 3 == 0 ? 1 : 2, 0) == KV_OK);
        KV_CHECK(try(f, 1, "wd", 0, 1000000 + i % 9) == KV_OK);
        KV_CHECK(try(f, ALL, "wd", 0, 1000000 + i % 99) == KV_OK);
        if (i == 0) {
            chance_ready(ready);
        }
    }
}

static void test_a_kill_leaves_one_setting_or_the_other(void **state)
{
    struct fixture *f = *state;
    uint64_t x = chance_seed();
    size_t used = 0;

    begin(f);
    for (int i = 0; i < 200; i++) {
        struct arena_usage usage;
        float own, all;

        shard_free(f->shard);
        f->shard = NULL;
        home_drop(&f->home);
        chance_kill(&x, 500, change_for_ever, f);
        home_open(&f->home);
        start(f);
        all = moved(f, 0);
        own = moved(f, 1) / all;
        assert_true(all == 1 || all == 4);
        assert_true(own == 1 || own == 2);
        arena_usage(f->home.arena, &usage);
        used = i == 50 ? usage.used_bytes : used;
        assert_true(i < 50 || usage.used_bytes < used + 65536);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_change_is_in_force_from_its_round_on, set_up_alone),
        TEST(test_a_change_is_in_force_from_its_round_on, set_up_pair),
        TEST(test_changes_may_be_announced_in_any_order, set_up_alone),
        TEST(test_a_change_from_the_next_round_ends_what_was_announced,
             set_up_alone),
        TEST(test_a_committed_round_is_refused_with_both_numbers, set_up_alone),
        TEST(test_a_keys_own_goes_before_what_all_have, set_up_alone),
        TEST(test_multipliers_multiply_rate_and_decay, set_up_alone),
        TEST(test_what_no_key_can_have_is_refused, set_up_alone),
        TEST(test_norms_are_of_the_keys_own_settings, set_up_alone),
        TEST(test_announcements_are_bounded, set_up_alone),
        TEST(test_a_multiplier_for_each_of_many_keys_is_small, set_up_alone),
        TEST(test_changes_survive, set_up_pair),
        TEST(test_the_next_optimizer_ends_them, set_up_alone),
        TEST(test_a_kill_leaves_one_setting_or_the_other, set_up_alone),
    };

    return cmocka_run_group_tests_name("shard_hyper", tests, NULL, NULL);
}
