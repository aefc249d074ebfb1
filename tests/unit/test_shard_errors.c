/* What a shard refuses, and whom it tells that it waits. */
#include "tests/unit/shard_fixture.h"

/* --- Stalls --------------------------------------------------------------- */

struct stall {
    uint32_t rank, slot, missing_count, missing[8];
    uint64_t round, since_ms;
};

struct stalls {
    struct stall stall[8];
    size_t count;
};

static void on_stall(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                     uint64_t since_ms, const uint32_t *missing,
                     uint32_t missing_count)
{
    struct stalls *all = ctx;
    struct stall *s = &all->stall[all->count++];

    *s = (struct stall){rank, slot, missing_count, {0}, round, since_ms};
    memcpy(s->missing, missing, missing_count * sizeof *missing);
}

static void test_a_stall_names_the_missing_ranks(void **state)
{
    struct fixture *f = *state;
    uint32_t a = create(f, 1, 8, 0), b = create(f, 2, 8, 0);
    struct stalls all = {.count = 0};

    shard_clock(f->shard, 1000);
    push(f, 1, b, 1, 8, 1);
    shard_clock(f->shard, 2000);
    push(f, 1, a, 1, 8, 1);
    push(f, 3, a, 1, 8, 1);
    shard_stalls(f->shard, 2500, 1000, on_stall, &all);
    assert_int_equal(all.count, 1);
    assert_int_equal(all.stall[0].rank, 1);
    assert_int_equal(all.stall[0].slot, b);
    assert_int_equal(all.stall[0].round, 1);
    assert_int_equal(all.stall[0].since_ms, 1000);
    assert_int_equal(all.stall[0].missing_count, 4);
    all.count = 0;
    shard_stalls(f->shard, 9000, 1000, on_stall, &all);
    assert_int_equal(all.count, 2);
    assert_int_equal(all.stall[1].rank, 3);
    assert_int_equal(all.stall[1].missing_count, 3);
    assert_int_equal(all.stall[1].missing[0], 0);
    assert_int_equal(all.stall[1].missing[1], 2);
    assert_int_equal(all.stall[1].missing[2], 4);
    f->seen_next = f->seen_count;
}

static void test_nothing_open_is_no_stall(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);
    struct stalls all = {.count = 0};

    for (uint64_t round = 1; round < 4; round++) {
        for (uint32_t rank = 0; rank < 5; rank++) {
            push(f, rank, slot, round, 8, 1);
            shard_pull(f->shard, rank, slot, round);
        }
    }
    f->seen_next = f->seen_count;
    shard_stalls(f->shard, 100000, 1, on_stall, &all);
    assert_int_equal(all.count, 0);
}

static void test_a_differing_creation_names_both(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = f32_slice(3, 8);
    float value[8] = {0};

    create(f, 3, 4, 1);
    d.dtype = KV_F16;
    shard_open(f->shard, 0, 1, &d, value, 16);
    expect_refused(f, KV_EMISMATCH,
                   "rank 0 opens key id 3 slice 0 as f16[8], and it is f32[4]");
}

static void test_impossible_slices_are_refused(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = f32_slice(9, 0);
    float value[8] = {0};

    shard_open(f->shard, 0, 1, &d, value, 0);
    expect_refused(f, KV_EINVAL, "with 0 elements");
    d.count = KV_SLICE_BYTES_MAX / 4 + 1;
    shard_open(f->shard, 0, 1, &d, value, 4);
    expect_refused(f, KV_EINVAL, "1048577 elements: 1 to 1048576");
    d.count = UINT64_MAX / 4 + 2;
    shard_open(f->shard, 0, 1, &d, value, 4);
    expect_refused(f, KV_EINVAL, "are possible");
    d = f32_slice(9, 8);
    d.dtype = 7;
    shard_open(f->shard, 0, 1, &d, value, 32);
    expect_refused(f, KV_EINVAL, "dtype 7, which is none");
    d.dtype = UINT32_MAX;
    shard_open(f->shard, 0, 1, &d, value, 32);
    expect_refused(f, KV_EINVAL, "dtype 4294967295, which is none");
    d.dtype = KV_F32;
    shard_open(f->shard, 0, 1, &d, value, 28);
    expect_refused(f, KV_EMISMATCH, "with 28 bytes: f32[8] has 32");
}

/* --- Errors of a push or a pull ------------------------------------------- */

static void test_bad_pushes_name_rank_key_and_both_values(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 42, 8, 1);
    float g[8] = {0};

    shard_push(f->shard, 1, 99, 1, 0, g, 32, NULL);
    expect_refused(f, KV_ENOTFOUND,
                   "rank 1 pushes to slot 99: this shard has 1");
    shard_push(f->shard, 1, slot, 1, 7, g, 32, NULL);
    expect_refused(f, KV_EINVAL, "rank 1 pushes key id 42 slice 0 in codec 7");
    shard_push(f->shard, 1, slot, 1, 0, g, 28, NULL);
    expect_refused(f, KV_EMISMATCH, "pushes 28 bytes to key id 42 slice 0");
    shard_push(f->shard, 1, slot, 3, 0, g, 32, NULL);
    expect_refused(f, KV_EINVAL,
                   "pushes round 3 of key id 42 slice 0: its next is 1");
    push(f, 1, slot, 1, 8, 1);
    push_buffer(f, 1, slot, 1, 8, 1);
    expect_refused(f, KV_EEXIST, "rank 1 has pushed round 1 of key id 42");
    push(f, 0, slot, 1, 8, 1);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 2);
}

static void test_bad_pulls_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 42, 8, 1);

    shard_pull(f->shard, 1, 5, 0);
    expect_refused(f, KV_ENOTFOUND, "rank 1 pulls slot 5: this shard has 1");
    shard_pull(f->shard, 1, slot, 2);
    expect_refused(f, KV_EINVAL,
                   "pulls round 2 of key id 42 slice 0, of which 0");
    shard_pull(f->shard, 1, slot, 1);
    shard_pull(f->shard, 1, slot, 1);
    expect_refused(f, KV_EEXIST, "and waits for 1 already");
}

static void test_a_full_arena_refuses_the_round_and_stays_good(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 1 << 20, 1);
    uint32_t more = 2;
    char error[512];

    for (;;) {
        struct slice_desc d = f32_slice(more, 1 << 20);
        float *value = calloc(1 << 20, sizeof *value);

        shard_open(f->shard, 0, 1, &d, value, sizeof(float) << 20);
        free(value);
        if (next_seen(f)->status != KV_OK) {
            expect_text(f->seen[f->seen_next - 1].text, "no room for key");
            break;
        }
        more++;
    }
    assert_true(more > 10);
    push_buffer(f, 0, slot, 1, 1 << 20, 1);
    shard_pull(f->shard, 0, slot, 1); /* Would wait for a round in vain. */
    push_buffer(f, 1, slot, 1, 1 << 20, 1);
    expect_answer(f, false, 0, slot, 1, KV_ENOSPC);
    expect_answer(f, true, 0, slot, 1, KV_ENOSPC);
    expect_answer(f, false, 1, slot, 1, KV_ENOSPC);
    shard_pull(f->shard, 1, slot, 1); /* Was under way behind its push. */
    expect_silence(f);
    assert_int_equal(shard_member(f->shard, 1, false, error, sizeof error),
                     KV_OK);
    expect_state(f, slot, 1);
    assert_int_equal(shard_held(f->shard, 0), 0);
    assert_int_equal(f->pool.out_count, 0);
}

/* Whether the pull comes before the refused push (it does after a reconnect) or
 * behind it: its worker has given it up, and the next one is answered once. */
static void test_a_pull_shares_the_fate_of_its_refused_push(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 4, 1);

    for (int before = 0; before < 2; before++) {
        if (before) {
            shard_pull(f->shard, 0, slot, 1);
        }
        push(f, 0, slot, 1, 3, 1); /* One element too few. */
        expect_answer(f, false, 0, slot, 1, KV_EMISMATCH);
        if (!before) {
            shard_pull(f->shard, 0, slot, 1);
        }
        expect_silence(f);
    }
    push(f, 0, slot, 1, 4, 2);
    shard_pull(f->shard, 0, slot, 1);
    push(f, 1, slot, 1, 4, 3);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_pulled(f, 0, slot, 1, 5);
    expect_silence(f);
    push(f, 1, slot, 2, 3, 1);
    expect_answer(f, false, 1, slot, 2, KV_EMISMATCH);
    shard_forget(f->shard, 1); /* With its session the memory of it goes. */
    shard_pull(f->shard, 1, slot, 2);
    push(f, 1, slot, 2, 4, 1);
    push(f, 0, slot, 2, 4, 1);
    expect_ack(f, 0, slot, 2);
    expect_ack(f, 1, slot, 2);
    expect_pulled(f, 1, slot, 2, 2);
    expect_silence(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_full_arena_refuses_the_round_and_stays_good, set_up_pair),
        TEST(test_impossible_slices_are_refused, set_up_pair),
        TEST(test_a_differing_creation_names_both, set_up_pair),
        TEST(test_a_stall_names_the_missing_ranks, set_up_crowd),
        TEST(test_nothing_open_is_no_stall, set_up_crowd),
        TEST(test_bad_pushes_name_rank_key_and_both_values, set_up_pair),
        TEST(test_bad_pulls_are_refused, set_up_pair),
        TEST(test_a_pull_shares_the_fate_of_its_refused_push, set_up_pair),
    };

    return cmocka_run_group_tests_name("shard_errors", tests, NULL, NULL);
}
