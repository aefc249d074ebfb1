/* Rounds whose sum is not finite: what they leave, and who is told. */
#include <math.h>

#include "common/base/bytes.h"
#include "common/compute/half.h"
#include "tests/unit/shard_fixture.h"

#define COUNT 5000 /* More than a block. */

/* --- Steps ---------------------------------------------------------------- */

/* Ones, but for one element. */
static void push_odd(struct fixture *f, uint32_t rank, uint32_t slot,
                     uint64_t round, size_t at, float odd)
{
    float gradient[COUNT];

    for (size_t i = 0; i < COUNT; i++) {
        gradient[i] = i == at ? odd : 1;
    }
    shard_push(f->shard, rank, slot, round, 0, gradient, sizeof gradient, NULL);
}

static void expect_skip(struct fixture *f, uint32_t rank, uint32_t slot,
                        uint64_t round, uint32_t culprit, bool fails)
{
    const struct seen *s = next_seen(f);

    assert_true(s->skipped);
    assert_int_equal(s->rank, rank);
    assert_int_equal(s->slot, slot);
    assert_int_equal(s->round, round);
    assert_int_equal(s->skip.culprit, culprit);
    assert_int_equal(s->skip.fails, fails);
}

/* Each rank of two is told, and then acknowledged. */
static void expect_skipped(struct fixture *f, uint32_t slot, uint64_t round,
                           uint32_t culprit, bool fails)
{
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        expect_skip(f, rank, slot, round, culprit, fails);
        expect_ack(f, rank, slot, round);
    }
    expect_silence(f);
}

static void good_round(struct fixture *f, uint32_t slot, uint64_t round)
{
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        push(f, rank, slot, round, COUNT, 1);
    }
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        expect_ack(f, rank, slot, round);
    }
    expect_silence(f);
}

/* --- Dense ---------------------------------------------------------------- */

static void test_a_round_that_is_not_finite_changes_nothing(void **state)
{
    static const size_t places[] = {0, 2047, 2048, COUNT - 1};
    static const float odds[] = {NAN, INFINITY, -INFINITY, -NAN};
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1");
    for (size_t i = 0; i < 4; i++) {
        push_odd(f, 1, slot, i + 1, places[i], odds[i]);
        push(f, 0, slot, i + 1, COUNT, 1);
        expect_skipped(f, slot, i + 1, 1, false);
        expect_state(f, slot, 8);
    }
    good_round(f, slot, 5);
    expect_state(f, slot, 6);
}

static void test_state_and_its_count_stay_too(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0), same = create(f, 2, COUNT, 0);

    set_optimizer(f, "adam", "lr=1,beta1=0.5");
    for (uint64_t round = 1; round <= 3; round++) {
        good_round(f, same, round);
    }
    good_round(f, slot, 1);
    push_odd(f, 0, slot, 2, 7, NAN);
    push_odd(f, 1, slot, 2, 9, INFINITY);
    expect_skipped(f, slot, 2, 0, false);
    good_round(f, slot, 3);
    good_round(f, slot, 4);
    shard_pull(f->shard, 0, same, 0);
    expect_state(f, slot, next_seen(f)->value[0]);
}

static void test_the_first_round_of_an_optimizer_may_be_one(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    good_round(f, slot, 1);
    set_optimizer(f, "sgd", "lr=1,momentum=0.5");
    push_odd(f, 0, slot, 2, 3, NAN);
    push(f, 1, slot, 2, COUNT, 1);
    expect_skipped(f, slot, 2, 0, false);
    expect_state(f, slot, 2);
    good_round(f, slot, 3);
    expect_state(f, slot, 0);
}

static void test_a_sum_that_overflows_is_nobodys(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1");
    push(f, 0, slot, 1, COUNT, 3e38f);
    push(f, 1, slot, 1, COUNT, 3e38f);
    expect_skipped(f, slot, 1, SHARD_NOBODY, false);
    expect_state(f, slot, 8);
}

static void test_who_is_alone_is_told_too(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);
    struct run run = {slot, 1, 1, COUNT * sizeof(float)};
    float gradient[COUNT] = {NAN};

    set_optimizer(f, "sgd", "lr=1");
    shard_push_run(f->shard, 0, &run, 0, gradient);
    expect_skipped(f, slot, 1, 0, false);
    expect_state(f, slot, 8);
}

/* --- Policies ------------------------------------------------------------- */

static void test_error_fails_and_changes_nothing_either(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1,nonfinite=error");
    push_odd(f, 1, slot, 1, 3, NAN);
    push(f, 0, slot, 1, COUNT, 1);
    expect_skipped(f, slot, 1, 1, true);
    expect_state(f, slot, 8);
}

static void expect_poison(struct fixture *f, uint32_t slot)
{
    push_odd(f, 1, slot, 1, 0, NAN);
    push(f, 0, slot, 1, COUNT, 1);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_silence(f);
    shard_pull(f->shard, 0, slot, 0);
    assert_true(isnan(next_seen(f)->value[0]));
}

static void test_allow_allows(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1,nonfinite=allow");
    expect_poison(f, slot);
}

static void test_without_an_optimizer_the_sum_is_the_value(void **state)
{
    struct fixture *f = *state;

    expect_poison(f, create(f, 1, COUNT, 8));
}

static void test_the_policy_can_change_from_a_round_on(void **state)
{
    struct hyper_change error = {
        "nonfinite", KV_NONFINITE_ERROR, 2, false, 0, 0};
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1");
    assert_int_equal(shard_hyper(f->shard, &error, f->error, sizeof f->error),
                     KV_OK);
    for (uint64_t round = 1; round <= 2; round++) {
        push_odd(f, 0, slot, round, 3, NAN);
        push(f, 1, slot, round, COUNT, 1);
        expect_skipped(f, slot, round, 0, round == 2);
    }
}

static void test_async_only_the_pusher_is_told(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1");
    push(f, 0, slot, 1, COUNT, 1);
    expect_ack(f, 0, slot, 1);
    push_odd(f, 1, slot, 1, 3, NAN);
    expect_skip(f, 1, slot, 1, 1, false);
    expect_ack(f, 1, slot, 1);
    push(f, 0, slot, 1, COUNT, 1); /* Sent twice. */
    expect_ack(f, 0, slot, 1);
    expect_silence(f);
    expect_state(f, slot, 7);
}

/* --- Other forms ---------------------------------------------------------- */

static void push_halves(struct fixture *f, uint32_t rank, uint32_t slot,
                        uint64_t round, uint16_t first)
{
    uint16_t gradient[COUNT] = {first};

    shard_push(f->shard, rank, slot, round, 0, gradient, sizeof gradient, NULL);
}

static void test_half_precision(void **state)
{
    struct slice_desc d = {1, 0, KV_F16, COUNT, 0, 1, false, 0, 0};
    struct fixture *f = *state;
    uint16_t value[COUNT] = {0};
    uint32_t slot;

    set_optimizer(f, "sgd", "lr=1,multi_precision=1");
    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    slot = next_seen(f)->slot;
    push_halves(f, 0, slot, 1, 0x3c00);
    push_halves(f, 1, slot, 1, 0x7c00);
    expect_skipped(f, slot, 1, 1, false);
    push_halves(f, 0, slot, 2, 0x7bff); /* The sum is finite, in f32. */
    push_halves(f, 1, slot, 2, 0x7bff);
    expect_ack(f, 0, slot, 2);
    expect_ack(f, 1, slot, 2);
    expect_silence(f);
}

static void test_accumulated_doubles(void **state)
{
    struct slice_desc d = {1, 0, KV_F64, 600, 0, 1, false, 0, 0};
    double value[600] = {0}, gradient[600] = {1}, odd[600] = {0};
    struct fixture *f = *state;
    uint32_t slot;

    odd[599] = NAN;
    set_optimizer(f, "accumulate", "");
    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    slot = next_seen(f)->slot;
    shard_push(f->shard, 0, slot, 1, 0, odd, sizeof odd, NULL);
    shard_push(f->shard, 1, slot, 1, 0, gradient, sizeof gradient, NULL);
    expect_skipped(f, slot, 1, 0, false);
    shard_pull(f->shard, 0, slot, 0);
    next_seen(f);
    expect_silence(f);
}

static void push_row(struct fixture *f, uint32_t rank, uint32_t slot,
                     uint64_t round, uint32_t row, float value)
{
    unsigned char payload[4 + 4 + 2 * sizeof(float)];
    float both[2] = {1, value};

    bytes_put_u32(payload, 1);
    bytes_put_u32(payload + 4, row);
    memcpy(payload + 8, both, sizeof both);
    shard_push_rows(f->shard, rank, slot, round, 0, payload, sizeof payload,
                    NULL);
}

/* Rows of two, lazily or all of them. */
static void expect_rows_skipped(struct fixture *f, const char *params)
{
    struct slice_desc d = {1, 0, KV_F32, 2000, 2, 1000, false, 0, 0};
    float value[2000] = {4, 4};
    uint32_t slot;

    d.slices = 1;
    set_optimizer(f, "sgd", params);
    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    slot = next_seen(f)->slot;
    push_row(f, 0, slot, 1, 5, 1);
    push_row(f, 1, slot, 1, 0, INFINITY);
    expect_skipped(f, slot, 1, 1, false);
    expect_state(f, slot, 4);
    push_row(f, 0, slot, 2, 0, 1);
    push_row(f, 1, slot, 2, 0, 1);
    expect_ack(f, 0, slot, 2);
    expect_ack(f, 1, slot, 2);
    expect_state(f, slot, 2);
    push_row(f, 0, slot, 3, 0, NAN); /* What changed last is in place. */
    push_row(f, 1, slot, 3, 0, 1);
    expect_skipped(f, slot, 3, 0, false);
    crash(f);
    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    next_seen(f);
    expect_state(f, slot, 2);
}

static void test_lazy_rows(void **state)
{
    expect_rows_skipped(*state, "lr=1,momentum=0.5");
}

static void test_whole_tables(void **state)
{
    expect_rows_skipped(*state, "lr=1,lazy_update=0");
}

/* --- Norms ---------------------------------------------------------------- */

/* Of two slices one has a bad gradient; both are left out, by their totals. */
static void test_slices_that_share_norms_are_left_out_alike(void **state)
{
    struct fixture *f = *state;
    double total[KV_NORMS_MAX] = {0};
    uint32_t slot[2];

    set_optimizer(f, "lamb", "lr=1");
    for (uint32_t i = 0; i < 2; i++) {
        struct slice_desc d = {1, i, KV_F32, 64, 0, 2, false, 0, 0};
        float value[64] = {8}, gradient[64] = {i == 0 ? NAN : 1};

        shard_open(f->shard, 0, 1, &d, value, sizeof value);
        slot[i] = next_seen(f)->slot;
        shard_push(f->shard, 0, slot[i], 1, 0, gradient, sizeof gradient, NULL);
        for (int j = 0; j < KV_NORMS_MAX; j++) {
            total[j] += f->seen[f->seen_next].sums[j];
        }
        assert_true(next_seen(f)->norms);
    }
    for (uint32_t i = 0; i < 2; i++) {
        shard_totals(f->shard, 0, slot[i], 1, 0, total);
        expect_skip(f, 0, slot[i], 1, i == 0 ? 0 : SHARD_NOBODY, false);
        expect_ack(f, 0, slot[i], 1);
        expect_state(f, slot[i], 8);
    }
    push(f, 0, slot[1], 1, 64, 1); /* Again: slice 0 may still need them. */
    assert_true(next_seen(f)->norms);
    expect_skip(f, 0, slot[1], 1, SHARD_NOBODY, false);
    expect_ack(f, 0, slot[1], 1);
}

/* --- Lives ---------------------------------------------------------------- */

static void test_who_sends_again_is_told_again_even_after_a_crash(void **state)
{
    struct slice_desc d = f32_slice(1, COUNT);
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 8);

    set_optimizer(f, "sgd", "lr=1,nonfinite=error");
    push_odd(f, 1, slot, 1, 3, NAN);
    push(f, 0, slot, 1, COUNT, 1);
    expect_skipped(f, slot, 1, 1, true);
    crash(f);
    shard_open(f->shard, 0, 1, &d, NULL, 0);
    assert_int_equal(next_seen(f)->round, 1);
    push(f, 0, slot, 1, COUNT, 1);
    expect_skip(f, 0, slot, 1, 1, true);
    expect_ack(f, 0, slot, 1);
    expect_state(f, slot, 8);
    good_round(f, slot, 2);
    push(f, 0, slot, 2, COUNT, 1);
    expect_ack(f, 0, slot, 2);
    expect_silence(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round_that_is_not_finite_changes_nothing, set_up_pair),
        TEST(test_state_and_its_count_stay_too, set_up_pair),
        TEST(test_the_first_round_of_an_optimizer_may_be_one, set_up_pair),
        TEST(test_a_sum_that_overflows_is_nobodys, set_up_pair),
        TEST(test_who_is_alone_is_told_too, set_up_alone),
        TEST(test_error_fails_and_changes_nothing_either, set_up_pair),
        TEST(test_allow_allows, set_up_pair),
        TEST(test_without_an_optimizer_the_sum_is_the_value, set_up_pair),
        TEST(test_the_policy_can_change_from_a_round_on, set_up_pair),
        TEST(test_async_only_the_pusher_is_told, set_up_async),
        TEST(test_half_precision, set_up_pair),
        TEST(test_accumulated_doubles, set_up_pair),
        TEST(test_lazy_rows, set_up_pair),
        TEST(test_whole_tables, set_up_pair),
        TEST(test_slices_that_share_norms_are_left_out_alike, set_up_alone),
        TEST(test_who_sends_again_is_told_again_even_after_a_crash,
             set_up_pair),
    };

    return cmocka_run_group_tests_name("shard skip", tests, NULL, NULL);
}
