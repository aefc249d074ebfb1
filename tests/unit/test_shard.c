#include "tests/unit/shard_fixture.h"

/* --- Open ----------------------------------------------------------------- */

static void test_rank_0_creates_and_others_attach(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = f32_slice(3, 4);
    uint32_t slot = create(f, 3, 4, 1.5f);
    const struct seen *s;

    shard_open(f->shard, 1, 77, &d, NULL, 0);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_true(s->opened);
    assert_int_equal(s->rank, 1);
    assert_int_equal(s->request_id, 77);
    assert_int_equal(s->slot, slot);
    assert_int_equal(s->round, 0);
    expect_state(f, slot, 1.5f);
}

static void test_attaching_waits_for_the_creation(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = f32_slice(3, 4), other = f32_slice(4, 4);
    struct slice_desc wrong = f32_slice(3, 5);

    shard_open(f->shard, 1, 5, &d, NULL, 0);
    shard_open(f->shard, 1, 6, &other, NULL, 0);
    shard_open(f->shard, 1, 7, &wrong, NULL, 0);
    expect_silence(f);
    create(f, 3, 4, 0);
    assert_int_equal(next_seen(f)->request_id, 5);
    assert_int_equal(f->seen[f->seen_next - 1].status, KV_OK);
    expect_refused(f, KV_EMISMATCH, "f32[5], and it is f32[4]");
}

static void test_who_left_waits_no_more(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = f32_slice(3, 4);

    shard_open(f->shard, 1, 5, &d, NULL, 0);
    shard_forget(f->shard, 1);
    create(f, 3, 4, 0);
    expect_silence(f);
}

static void test_creating_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 3, 4, 1);

    assert_int_equal(create(f, 3, 4, 2), slot);
    expect_state(f, slot, 1);
}

/* --- Rounds --------------------------------------------------------------- */

static void test_a_round_closes_with_the_last_rank(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    push(f, 1, slot, 1, 8, 2);
    expect_silence(f);
    push(f, 0, slot, 1, 8, 1);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 3);
    assert_int_equal(shard_commits(f->shard), 1);
}

static void test_the_sum_is_in_rank_order(void **state)
{
    struct fixture *f = *state;
    const float g[5] = {1e8f, 1, -1e8f, 1, 0.25f};
    const uint32_t order[5] = {4, 2, 0, 3, 1};
    float sum = ((((1e8f + 1) + -1e8f) + 1) + 0.25f);
    uint32_t slot = create(f, 1, 100, 0);

    for (int i = 0; i < 5; i++) {
        push(f, order[i], slot, 1, 100, g[order[i]]);
    }
    for (uint32_t rank = 0; rank < 5; rank++) {
        expect_ack(f, rank, slot, 1);
    }
    expect_state(f, slot, sum);
}

static void test_a_repeated_push_is_answered_and_not_applied(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    push(f, 0, slot, 1, 8, 1);
    push(f, 1, slot, 1, 8, 2);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    push(f, 1, slot, 1, 8, 50);
    expect_ack(f, 1, slot, 1);
    push_buffer(f, 0, slot, 1, 8, 50);
    expect_ack(f, 0, slot, 1);
    expect_state(f, slot, 3);
}

static void test_a_pull_waits_for_its_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0.5f);

    shard_pull(f->shard, 1, slot, 0);
    expect_pulled(f, 1, slot, 0, 0.5f);
    push(f, 1, slot, 1, 8, 2);
    shard_pull(f->shard, 1, slot, 1);
    expect_silence(f);
    push(f, 0, slot, 1, 8, 1);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_pulled(f, 1, slot, 1, 3);
    expect_silence(f);
}

static void test_rounds_of_slices_are_independent(void **state)
{
    struct fixture *f = *state;
    uint32_t a = create(f, 1, 8, 0), b = create(f, 2, 16, 0);

    push(f, 0, a, 1, 8, 1);
    push(f, 0, b, 1, 16, 10);
    push(f, 1, b, 1, 16, 10);
    expect_ack(f, 0, b, 1);
    expect_ack(f, 1, b, 1);
    push(f, 0, b, 2, 16, 1);
    expect_silence(f);
    expect_state(f, b, 20);
    expect_state(f, a, 0);
}

static void test_large_and_small_contributions_are_kept_alike(void **state)
{
    struct fixture *f = *state;
    uint32_t a = create(f, 1, 30000, 0), b = create(f, 2, 30000, 0);

    push(f, 0, a, 1, 30000, 1);
    push_buffer(f, 0, b, 1, 30000, 2);
    assert_true(shard_held(f->shard, 0) >= 240000);
    push_buffer(f, 1, a, 1, 30000, 10);
    push(f, 1, b, 1, 30000, 20);
    f->seen_next = f->seen_count;
    expect_state(f, a, 11);
    expect_state(f, b, 22);
    assert_int_equal(shard_held(f->shard, 0), 0);
    assert_int_equal(f->pool.out_count, 0);
}

static void test_the_last_elements_count_too(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = f32_slice(1, 4099);
    float g[4099];

    for (size_t i = 0; i < 4099; i++) {
        g[i] = (float)i;
    }
    shard_open(f->shard, 0, 1, &d, g, sizeof g);
    set_optimizer(f, "sgd", "learning_rate=0.5");
    shard_push(f->shard, 0, 0, 1, 0, g, sizeof g, NULL);
    shard_push(f->shard, 1, 0, 1, 0, g, sizeof g, NULL);
    f->seen_next = f->seen_count;
    expect_state(f, 0, 0);
    g[4098] = 3;
    shard_push(f->shard, 0, 0, 2, 0, g, sizeof g, NULL);
    shard_push(f->shard, 1, 0, 2, 0, g, sizeof g, NULL);
    shard_pull(f->shard, 1, 0, 2);
    assert_true(f->seen[f->seen_count - 1].last == -3);
    f->seen_next = f->seen_count;
}

static void test_half_precision_is_summed_in_f32(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = {1, 0, KV_F16, 64, 0, 1, false, 0, 0};
    float big = 2048, small = 1, sum;
    uint16_t v[64] = {0}, g[2];

    shard_open(f->shard, 0, 1, &d, v, sizeof v);
    f->seen_next = f->seen_count;
    kv_from_f32(KV_F16, &big, &g[0], 1);
    kv_from_f32(KV_F16, &small, &g[1], 1);
    for (uint32_t rank = 0; rank < 5; rank++) {
        for (int i = 0; i < 64; i++) {
            v[i] = g[rank != 0];
        }
        shard_push(f->shard, rank, 0, 1, 0, v, sizeof v, NULL);
    }
    f->seen_next = f->seen_count;
    shard_pull(f->shard, 0, 0, 0);
    kv_to_f32(KV_F16, next_seen(f)->value, &sum, 1);
    assert_true(sum == 2052);
}

static void test_alone_every_push_is_a_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    for (uint64_t round = 1; round <= 5; round++) {
        push(f, 0, slot, round, 8, (float)round);
        expect_ack(f, 0, slot, round);
        shard_pull(f->shard, 0, slot, round);
        expect_pulled(f, 0, slot, round, (float)round);
    }
    assert_int_equal(f->released, 0);
}

/* --- Async ---------------------------------------------------------------- */

static void test_async_applies_each_push_at_once(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 10);

    set_optimizer(f, "sgd", "learning_rate=1");
    push(f, 1, slot, 1, 8, 1);
    expect_ack(f, 1, slot, 1);
    push(f, 1, slot, 2, 8, 1);
    expect_ack(f, 1, slot, 2);
    push(f, 0, slot, 1, 8, 2);
    expect_ack(f, 0, slot, 1);
    push(f, 1, slot, 2, 8, 99);
    expect_ack(f, 1, slot, 2);
    expect_state(f, slot, 6);
    shard_pull(f->shard, 0, slot, 2);
    expect_silence(f); /* Waits for a push of its own. */
    push(f, 0, slot, 2, 8, 1);
    expect_ack(f, 0, slot, 2);
    expect_pulled(f, 0, slot, 2, 5);
}

static void test_async_without_an_optimizer_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 10);

    push(f, 1, slot, 1, 8, 1);
    expect_refused(f, KV_EINVAL, "call kvw_set_optimizer first");
    expect_state(f, slot, 10);
    set_optimizer(f, "sgd", "learning_rate=1");
    push(f, 1, slot, 1, 8, 1);
    expect_ack(f, 1, slot, 1);
}

/* --- What a session leaves ------------------------------------------------ */

static void test_a_session_takes_its_contributions_with_it(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0), other = create(f, 2, 20000, 0);

    push(f, 1, slot, 1, 8, 100);
    push_buffer(f, 1, other, 1, 20000, 100);
    shard_pull(f->shard, 1, slot, 1);
    shard_forget(f->shard, 1);
    assert_int_equal(shard_held(f->shard, 1), 0);
    push(f, 0, slot, 1, 8, 1);
    expect_silence(f);
    push(f, 1, slot, 1, 8, 2);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 3);
}

static void test_what_a_rank_holds_is_counted(void **state)
{
    struct fixture *f = *state;
    uint32_t slots[300];

    for (uint32_t i = 0; i < 300; i++) {
        slots[i] = create(f, i, 256, 0);
    }
    for (uint32_t i = 0; i < 300; i++) {
        push(f, 0, slots[i], 1, 256, 1);
    }
    assert_true(shard_held(f->shard, 0) >= 300 * 1024);
    assert_true(shard_held(f->shard, 0) < 400 * 1024);
    for (uint32_t i = 0; i < 300; i++) {
        push(f, 1, slots[i], 1, 256, 1);
        f->seen_count = 0;
    }
    f->seen_next = 0;
    assert_int_equal(shard_held(f->shard, 0), 0);
    assert_int_equal(shard_held(f->shard, 1), 0);
    assert_int_equal(f->pool.out_count, 0);
    assert_true(f->released > 0);
}

/* --- Cost ----------------------------------------------------------------- */

static void run_rounds(struct fixture *f, uint64_t first, uint64_t last)
{
    static float g[20000];

    for (uint64_t round = first; round <= last; round++) {
        for (uint32_t slot = 0; slot < 40; slot++) {
            size_t size = slot < 39 ? 1024 : sizeof g;

            for (uint32_t rank = 0; rank < f->workers; rank++) {
                shard_push(f->shard, rank, slot, round, 0, g, size, NULL);
                shard_pull(f->shard, rank, slot, round);
            }
        }
        f->seen_count = 0;
    }
}

static void test_the_steady_state_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t before;

    for (uint32_t i = 0; i < 40; i++) {
        create(f, i, i < 39 ? 256 : 20000, 1);
    }
    set_optimizer(f, "adam", "");
    f->seen_next = f->seen_count = 0;
    run_rounds(f, 1, 3);
    before = mem_allocations();
    run_rounds(f, 4, 50);
    assert_int_equal(mem_allocations(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rank_0_creates_and_others_attach, set_up_pair),
        TEST(test_attaching_waits_for_the_creation, set_up_pair),
        TEST(test_who_left_waits_no_more, set_up_pair),
        TEST(test_creating_again_changes_nothing, set_up_pair),
        TEST(test_a_round_closes_with_the_last_rank, set_up_pair),
        TEST(test_the_sum_is_in_rank_order, set_up_crowd),
        TEST(test_a_repeated_push_is_answered_and_not_applied, set_up_pair),
        TEST(test_a_pull_waits_for_its_round, set_up_pair),
        TEST(test_rounds_of_slices_are_independent, set_up_pair),
        TEST(test_large_and_small_contributions_are_kept_alike, set_up_pair),
        TEST(test_the_last_elements_count_too, set_up_pair),
        TEST(test_half_precision_is_summed_in_f32, set_up_crowd),
        TEST(test_alone_every_push_is_a_round, set_up_alone),
        TEST(test_async_applies_each_push_at_once, set_up_async),
        TEST(test_async_without_an_optimizer_is_refused, set_up_async),
        TEST(test_a_session_takes_its_contributions_with_it, set_up_pair),
        TEST(test_what_a_rank_holds_is_counted, set_up_pair),
        TEST(test_the_steady_state_allocates_nothing, set_up_alone),
        TEST(test_the_steady_state_allocates_nothing, set_up_crowd),
    };

    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
