/* Slices of row_sparse values: rows go in and come out one by one, and a kill
 * at any moment leaves all rows of a round or none. */
#include "common/base/bytes.h"
#include "tests/unit/chance.h"
#include "tests/unit/shard_fixture.h"

#define ROWS 40
#define MANY 400
#define LENGTH 3
#define RANKS 3
#define ROUNDS_MAX 100000

/* --- Steps ---------------------------------------------------------------- */

/* All rows are `first`. */
static uint32_t create_table(struct fixture *f, uint64_t rows, float first)
{
    struct slice_desc d = {9, 0, KV_F32, rows * LENGTH, LENGTH, 1, false, 0, 0};
    float value[MANY * LENGTH];
    const struct seen *s;

    for (uint64_t i = 0; i < d.count; i++) {
        value[i] = first;
    }
    shard_open(f->shard, 0, 1, &d, value, d.count * sizeof *value);
    s = next_seen(f);
    expect_status(s, KV_OK);
    expect_silence(f);
    return s->slot;
}

static uint32_t create_rows(struct fixture *f, float first)
{
    return create_table(f, ROWS, first);
}

/* A payload of these rows, each all `g`; returns its bytes. */
static size_t fill(unsigned char *out, const uint32_t *rows, uint32_t count,
                   float g)
{
    unsigned char *at = out;

    bytes_put_u32(at, count);
    at += 4;
    for (uint32_t i = 0; i < count; i++, at += 4) {
        bytes_put_u32(at, rows[i]);
    }
    for (uint32_t i = 0; i < count * LENGTH; i++, at += sizeof g) {
        memcpy(at, &g, sizeof g);
    }
    return (size_t)(at - out);
}

static void push_rows(struct fixture *f, uint32_t rank, uint32_t slot,
                      uint64_t round, const uint32_t *rows, uint32_t count,
                      float g)
{
    unsigned char *payload = test_malloc(4 + count * (4 + LENGTH * sizeof g));
    size_t size = fill(payload, rows, count, g);

    shard_push_rows(f->shard, rank, slot, round, 0, payload, size, NULL);
    memset(payload, 0xff, size); /* It was borrowed. */
    test_free(payload);
}

#define ROW_LIST(...)                                                          \
    (uint32_t[])                                                               \
    {                                                                          \
        __VA_ARGS__                                                            \
    }

static void expect_row(struct fixture *f, uint32_t slot, uint32_t row,
                       float value)
{
    unsigned char wanted[4];
    const struct seen *s;

    bytes_put_u32(wanted, row);
    shard_pull_rows(f->shard, 0, slot, 0, wanted, 1);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->size, LENGTH * sizeof value);
    for (int i = 0; i < LENGTH; i++) {
        assert_memory_equal(&s->value[i], &value, sizeof value);
    }
    expect_silence(f);
}

/* --- Rounds --------------------------------------------------------------- */

static void test_a_push_changes_its_rows_only(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 1);

    set_optimizer(f, "sgd", "learning_rate=0.5");
    push_rows(f, 0, slot, 1, ROW_LIST(2, 39), 2, 4);
    expect_ack(f, 0, slot, 1);
    expect_row(f, slot, 1, 1);
    expect_row(f, slot, 2, -1);
    expect_row(f, slot, 38, 1);
    expect_row(f, slot, 39, -1);
    push_rows(f, 0, slot, 2, ROW_LIST(2), 1, 2);
    expect_ack(f, 0, slot, 2);
    expect_row(f, slot, 2, -2);
    expect_row(f, slot, 39, -1);
}

/* A pull of every second row. */
static void expect_many(struct fixture *f, uint32_t slot, uint32_t count,
                        float first, float last)
{
    unsigned char *wanted = test_malloc(count * sizeof(uint32_t));
    const struct seen *s;

    for (uint32_t i = 0; i < count; i++) {
        bytes_put_u32(wanted + i * sizeof i, 2 * i);
    }
    shard_pull_rows(f->shard, 0, slot, 0, wanted, count);
    test_free(wanted);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->size, count * LENGTH * sizeof last);
    assert_true(s->value[0] == first && s->last == last);
    expect_silence(f);
}

/* As many as are fetched together, one more, and so on. */
static void test_many_rows_move_and_those_between_do_not(void **state)
{
    static const uint32_t counts[] = {63, 64, 65, 128, 129, 200};
    struct fixture *f = *state;
    uint32_t slot = create_table(f, MANY, 0), rows[MANY / 2];

    set_optimizer(f, "sgd", "learning_rate=1");
    for (uint32_t i = 0; i < MANY / 2; i++) {
        rows[i] = 2 * i;
    }
    for (uint64_t round = 1; round <= 6; round++) {
        uint32_t count = counts[round - 1];

        push_rows(f, 0, slot, round, rows, count, 1);
        expect_ack(f, 0, slot, round);
        expect_many(f, slot, count, -(float)round, -1);
        expect_row(f, slot, 1, 0);
        if (count < MANY / 2) {
            expect_row(f, slot, 2 * count, 0);
        }
    }
    expect_many(f, slot, 63, -6, -6);
}

static void test_rows_that_nobody_pushes_do_not_decay(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 8);

    set_optimizer(f, "sgd", "learning_rate=1,wd=0.5,momentum=0.5");
    for (uint64_t round = 1; round <= 3; round++) {
        push_rows(f, 0, slot, round, ROW_LIST(1), 1, 0);
        expect_ack(f, 0, slot, round);
        expect_row(f, slot, 0, 8);
        if (round == 1) {
            expect_row(f, slot, 1, 4);
        }
    }
}

static void test_ranks_are_summed_where_they_meet(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);

    set_optimizer(f, "sgd", "learning_rate=1");
    push_rows(f, 2, slot, 1, ROW_LIST(0, 5, 7), 3, 1);
    push_rows(f, 0, slot, 1, ROW_LIST(5), 1, 10);
    expect_silence(f);
    push_rows(f, 1, slot, 1, ROW_LIST(5, 7, 8), 3, 100);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, slot, 1);
    }
    expect_row(f, slot, 0, -1);
    expect_row(f, slot, 5, -111);
    expect_row(f, slot, 6, 0);
    expect_row(f, slot, 7, -101);
    expect_row(f, slot, 8, -100);
}

static void test_a_push_of_no_rows_is_a_part_of_the_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 3);

    set_optimizer(f, "sgd", "learning_rate=1");
    push_rows(f, 0, slot, 1, NULL, 0, 0);
    push_rows(f, 1, slot, 1, NULL, 0, 0);
    expect_silence(f);
    push_rows(f, 2, slot, 1, NULL, 0, 0);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, slot, 1);
    }
    expect_row(f, slot, 0, 3);
}

static void test_a_dense_push_reaches_every_row(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);

    set_optimizer(f, "sgd", "learning_rate=1");
    push(f, 0, slot, 1, ROWS * LENGTH, 1);
    push_rows(f, 1, slot, 1, ROW_LIST(4), 1, 2);
    push_rows(f, 2, slot, 1, ROW_LIST(39), 1, 4);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, slot, 1);
    }
    expect_row(f, slot, 0, -1);
    expect_row(f, slot, 4, -3);
    expect_row(f, slot, 39, -5);
}

static void test_without_an_optimizer_the_sum_is_the_value(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 7);

    push_rows(f, 0, slot, 1, ROW_LIST(1, 3), 2, 2);
    expect_ack(f, 0, slot, 1);
    expect_row(f, slot, 0, 0);
    expect_row(f, slot, 1, 2);
    expect_row(f, slot, 3, 2);
}

static void test_momentum_of_other_rows_stays(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);

    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    push_rows(f, 0, slot, 1, ROW_LIST(1), 1, 8);
    push_rows(f, 0, slot, 2, ROW_LIST(2), 1, 8);
    push_rows(f, 0, slot, 3, ROW_LIST(1), 1, 0);
    f->seen_next = f->seen_count;
    expect_silence(f);
    expect_row(f, slot, 1, -12); /* -8, and half of it again. */
    expect_row(f, slot, 2, -8);
}

static void test_another_optimizer_starts_with_fresh_state(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);

    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    push_rows(f, 0, slot, 1, ROW_LIST(1), 1, 8);
    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.25");
    push_rows(f, 0, slot, 2, ROW_LIST(1, 2), 2, 4);
    set_optimizer(f, "sgd", "learning_rate=1");
    push_rows(f, 0, slot, 3, ROW_LIST(2), 1, 1);
    f->seen_next = f->seen_count;
    expect_silence(f);
    expect_row(f, slot, 0, 0);
    expect_row(f, slot, 1, -12);
    expect_row(f, slot, 2, -5);
}

static void test_async_applies_each_push(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);

    set_optimizer(f, "sgd", "learning_rate=1");
    push_rows(f, 1, slot, 1, ROW_LIST(1), 1, 1);
    expect_ack(f, 1, slot, 1);
    push_rows(f, 0, slot, 1, ROW_LIST(1), 1, 2);
    expect_ack(f, 0, slot, 1);
    expect_row(f, slot, 1, -3);
    crash(f);
    expect_row(f, slot, 1, -3);
}

/* --- Pulls ---------------------------------------------------------------- */

static void test_a_pull_waits_for_its_round_with_its_rows(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);
    unsigned char wanted[8];
    const struct seen *s;

    set_optimizer(f, "sgd", "learning_rate=1");
    bytes_put_u32(wanted, 3);
    bytes_put_u32(wanted + 4, 5);
    push_rows(f, 0, slot, 1, ROW_LIST(5), 1, 1);
    shard_pull_rows(f->shard, 0, slot, 1, wanted, 2);
    memset(wanted, 0xff, sizeof wanted);
    expect_silence(f);
    push_rows(f, 1, slot, 1, NULL, 0, 0);
    push_rows(f, 2, slot, 1, NULL, 0, 0);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        expect_ack(f, rank, slot, 1);
    }
    s = next_seen(f);
    assert_true(s->pull);
    assert_int_equal(s->size, 2 * LENGTH * sizeof(float));
    assert_true(s->value[0] == 0 && s->last == -1);
}

static void test_a_session_that_ends_takes_its_waiting_rows_along(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 0);
    unsigned char wanted[4] = {0};

    push_rows(f, 0, slot, 1, ROW_LIST(5), 1, 1);
    shard_pull_rows(f->shard, 0, slot, 1, wanted, 1);
    shard_forget(f->shard, 0);
    expect_silence(f); /* And fixture_free() sees that no buffer is missing. */
}

static void test_a_plain_pull_brings_all_rows(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 6);
    const struct seen *s;

    shard_pull(f->shard, 0, slot, 0);
    s = next_seen(f);
    assert_int_equal(s->size, ROWS * LENGTH * sizeof(float));
    assert_true(s->value[0] == 6 && s->last == 6);
}

/* --- What is refused ------------------------------------------------------ */

static void expect_bad_rows(struct fixture *f, uint32_t slot,
                            const uint32_t *rows, uint32_t count)
{
    unsigned char wanted[16];

    push_rows(f, 0, slot, 1, rows, count, 1);
    expect_refused(f, KV_EINVAL, "rows");
    for (uint32_t i = 0; i < count; i++) {
        bytes_put_u32(wanted + 4 * (size_t)i, rows[i]);
    }
    shard_pull_rows(f->shard, 0, slot, 0, wanted, count);
    expect_refused(f, KV_EINVAL, "rows");
}

static void test_bad_rows_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create_rows(f, 1), dense = create(f, 1, 8, 0);
    unsigned char payload[4 + 3 * (4 + LENGTH * 4)];
    size_t size = fill(payload, ROW_LIST(1, 2, 3), 3, 1);

    expect_silence(f);
    set_optimizer(f, "sgd", "learning_rate=1");
    expect_bad_rows(f, slot, ROW_LIST(3, 2), 2);
    expect_bad_rows(f, slot, ROW_LIST(2, 2), 2);
    expect_bad_rows(f, slot, ROW_LIST(1, ROWS), 2);
    expect_bad_rows(f, slot, ROW_LIST(UINT32_MAX), 1);
    for (size_t less = 1; less <= size; less++) {
        shard_push_rows(f->shard, 0, slot, 1, 0, payload, size - less, NULL);
        expect_refused(f, KV_EINVAL, "rows");
    }
    bytes_put_u32(payload, UINT32_MAX);
    shard_push_rows(f->shard, 0, slot, 1, 0, payload, size, NULL);
    expect_refused(f, KV_EINVAL, "rows");
    push_rows(f, 0, dense, 1, ROW_LIST(0), 1, 1);
    expect_refused(f, KV_EMISMATCH, "dense");
    shard_pull_rows(f->shard, 0, dense, 0, payload, 1);
    expect_refused(f, KV_EMISMATCH, "dense");
    expect_row(f, slot, 1, 1);
}

static void test_rows_and_elements_do_not_mix(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = {9,     0, KV_F32, (uint64_t)ROWS * LENGTH, 0, 1,
                           false, 0, 0};

    create_rows(f, 1);
    shard_open(f->shard, 1, 5, &d, NULL, 0);
    expect_refused(f, KV_EMISMATCH, "rows of 3");
}

/* --- kill -9 -------------------------------------------------------------- */

/* What rank 0 pushes in a round: some rows, by chance, but always the same. */
static uint32_t rows_of_round(uint64_t round, uint32_t *rows)
{
    uint64_t x = round * UINT64_C(0x9e3779b97f4a7c15) | 1;
    uint32_t count = 0;

    for (uint32_t row = 0; row < ROWS; row++) {
        if (chance(&x, 3) == 0) {
            rows[count++] = row;
        }
    }
    return count;
}

static float gradient(uint64_t round)
{
    return (float)(round % 13) - 5.5f;
}

static void train_for_ever(void *arg, int ready)
{
    struct fixture *f = arg;
    struct slice_desc d = {9,     0, KV_F32, (uint64_t)ROWS * LENGTH, LENGTH, 1,
                           false, 0, 0};
    uint32_t rows[ROWS];
    uint64_t round;

    home_open(&f->home);
    start(f);
    shard_open(f->shard, 0, 1, &d, NULL, 0);
    round = f->seen[0].round;
    chance_ready(ready);
    while (++round < ROUNDS_MAX) {
        uint32_t count = rows_of_round(round, rows);

        f->seen_count = 0;
        push_rows(f, 0, 0, round, rows, count, gradient(round));
    }
    pause();
}

/* sgd with learning rate 1: the sum of what was pushed, negative. */
static void expect_exactly(struct fixture *f, uint64_t rounds)
{
    float value[ROWS] = {0};
    uint32_t rows[ROWS];

    for (uint64_t round = 1; round <= rounds; round++) {
        uint32_t count = rows_of_round(round, rows);

        for (uint32_t i = 0; i < count; i++) {
            value[rows[i]] -= gradient(round);
        }
    }
    for (uint32_t row = 0; row < ROWS; row++) {
        expect_row(f, 0, row, value[row]);
    }
}

static void test_a_kill_at_any_moment_leaves_exactly_a_round(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = {9,     0, KV_F32, (uint64_t)ROWS * LENGTH, LENGTH, 1,
                           false, 0, 0};
    uint64_t x = chance_seed(), round = 0;

    create_rows(f, 0);
    set_optimizer(f, "sgd", "learning_rate=1");
    for (int i = 0; i < 60; i++) {
        shard_free(f->shard);
        f->shard = NULL;
        home_drop(&f->home);
        chance_kill(&x, 1500, train_for_ever, f);
        home_open(&f->home);
        start(f);
        f->seen_count = f->seen_next = 0;
        shard_open(f->shard, 0, 1, &d, NULL, 0);
        assert_true(next_seen(f)->round >= round);
        round = f->seen[0].round;
        expect_silence(f);
        expect_exactly(f, round);
    }
    assert_true(round > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_push_changes_its_rows_only, set_up_alone),
        TEST(test_many_rows_move_and_those_between_do_not, set_up_alone),
        TEST(test_rows_that_nobody_pushes_do_not_decay, set_up_alone),
        TEST(test_ranks_are_summed_where_they_meet, set_up_three),
        TEST(test_a_push_of_no_rows_is_a_part_of_the_round, set_up_three),
        TEST(test_a_dense_push_reaches_every_row, set_up_three),
        TEST(test_without_an_optimizer_the_sum_is_the_value, set_up_alone),
        TEST(test_momentum_of_other_rows_stays, set_up_alone),
        TEST(test_another_optimizer_starts_with_fresh_state, set_up_alone),
        TEST(test_async_applies_each_push, set_up_async),
        TEST(test_a_pull_waits_for_its_round_with_its_rows, set_up_three),
        TEST(test_a_session_that_ends_takes_its_waiting_rows_along,
             set_up_three),
        TEST(test_a_plain_pull_brings_all_rows, set_up_alone),
        TEST(test_bad_rows_are_refused, set_up_alone),
        TEST(test_rows_and_elements_do_not_mix, set_up_three),
        TEST(test_a_kill_at_any_moment_leaves_exactly_a_round, set_up_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
