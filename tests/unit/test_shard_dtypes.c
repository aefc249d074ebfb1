/* Slices of every dtype: what f32 cannot hold is never in f32. */
#include "common/base/bytes.h"
#include "tests/unit/shard_fixture.h"

/* --- Steps ---------------------------------------------------------------- */

/* A slice of `count` elements, in rows of `row_length` if that is not 0. */
static uint32_t create_any(struct fixture *f, enum kv_dtype dtype,
                           uint64_t count, uint64_t row_length,
                           const void *value)
{
    struct slice_desc d = {(uint32_t)dtype, 0, dtype, count, row_length, 1,
                           false,           0, 0};
    const struct seen *s;

    shard_open(f->shard, 0, 1, &d, value, count * kv_dtype_size(dtype));
    s = next_seen(f);
    expect_status(s, KV_OK);
    return s->slot;
}

/* At an odd address, as it may come off the wire. */
static void push_any(struct fixture *f, uint32_t rank, uint32_t slot,
                     uint64_t round, const void *data, size_t size)
{
    unsigned char odd[64];

    memcpy(odd + 1, data, size);
    shard_push(f->shard, rank, slot, round, 0, odd + 1, size, NULL);
    memset(odd, 0xff, sizeof odd);
}

static void expect_bytes(struct fixture *f, uint32_t slot, const void *right,
                         size_t size)
{
    const struct seen *s;

    shard_pull(f->shard, 0, slot, 0);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->size, size);
    assert_memory_equal(s->value, right, size);
    expect_silence(f);
}

/* Two elements of each: first value, two pushes, their sum, and that added to
 * the value. */
static const int64_t i64[][2] = {{1ll << 53, INT64_MIN},
                                 {1, 1},
                                 {(1ll << 53) + 1, INT64_MAX},
                                 {(1ll << 53) + 2, INT64_MIN},
                                 {(1ll << 54) + 2, 0}};
static const int32_t i32[][2] = {{1 << 24, INT32_MIN},
                                 {1, 1},
                                 {(1 << 24) + 1, INT32_MAX},
                                 {(1 << 24) + 2, INT32_MIN},
                                 {(1 << 25) + 2, 0}};
static const int8_t i8[][2] = {
    {1, -128}, {100, -1}, {100, -127}, {-56, -128}, {-55, 0}};
static const uint8_t u8[][2] = {{1, 255}, {200, 1}, {100, 1}, {44, 2}, {45, 1}};
static const double f64[][2] = {{1, 1e300},
                                {0x1p-52, 1e300},
                                {0, -3e300},
                                {0x1p-52, -2e300},
                                {1 + 0x1p-52, -1e300}};
static const uint16_t f16[][2] = {{0x3c00, 0x6800},
                                  {0x3c00, 0x3c00},
                                  {0x4000, 0x3c00},
                                  {0x4200, 0x4000},
                                  {0x4400, 0x6801}};

static const struct sample {
    enum kv_dtype dtype;
    const char *name;
    const void *data;
} samples[] = {{KV_I64, "i64", i64}, {KV_I32, "i32", i32},
               {KV_I8, "i8", i8},    {KV_U8, "u8", u8},
               {KV_F64, "f64", f64}, {KV_F16, "f16", f16}};

enum {
    FIRST,
    ONE,
    OTHER,
    SUM,
    ADDED,
    SAMPLES = sizeof samples / sizeof *samples
};

static size_t size_of(const struct sample *s)
{
    return 2 * kv_dtype_size(s->dtype);
}

static const void *at(const struct sample *s, int which)
{
    return (const char *)s->data + (size_t)which * size_of(s);
}

static void push_both(struct fixture *f, const struct sample *s, uint32_t slot,
                      uint64_t round)
{
    push_any(f, 1, slot, round, at(s, OTHER), size_of(s));
    push_any(f, 0, slot, round, at(s, ONE), size_of(s));
    expect_ack(f, 0, slot, round);
    expect_ack(f, 1, slot, round);
}

/* --- Dense ---------------------------------------------------------------- */

static void test_the_sum_of_a_round_becomes_the_value(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        uint32_t slot = create_any(f, s->dtype, 2, 0, at(s, FIRST));

        expect_bytes(f, slot, at(s, FIRST), size_of(s));
        push_both(f, s, slot, 1);
        expect_bytes(f, slot, at(s, SUM), size_of(s));
    }
}

static void test_accumulate_adds_to_every_dtype(void **state)
{
    struct fixture *f = *state;

    set_optimizer(f, "accumulate", "");
    for (int i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        uint32_t slot = create_any(f, s->dtype, 2, 0, at(s, FIRST));

        push_both(f, s, slot, 1);
        expect_bytes(f, slot, at(s, ADDED), size_of(s));
        crash(f);
        expect_bytes(f, slot, at(s, ADDED), size_of(s));
    }
}

/* Longer than what is summed at a time, and of no round length. */
static void test_a_long_value_is_added_to_the_last_element(void **state)
{
    enum { COUNT = 5003 };
    static int64_t first[COUNT], g[COUNT];
    struct fixture *f = *state;
    uint32_t slot;

    set_optimizer(f, "accumulate", "");
    for (int64_t i = 0; i < COUNT; i++) {
        first[i] = i << 40;
        g[i] = i;
    }
    slot = create_any(f, KV_I64, COUNT, 0, first);
    shard_push(f->shard, 0, slot, 1, 0, g, sizeof g, NULL);
    expect_ack(f, 0, slot, 1);
    shard_pull(f->shard, 0, slot, 0);
    assert_int_equal(next_seen(f)->size, sizeof g);
    /* The fixture keeps the last four bytes. */
    assert_memory_equal(&f->seen[f->seen_next - 1].last,
                        &(int32_t){(int32_t)((COUNT - 1) << 8)}, 4);
}

/* --- Rows ----------------------------------------------------------------- */

/* The rows of a table of three, two elements each, as one pull brings them. */
static void expect_row(struct fixture *f, uint32_t slot, uint32_t row,
                       const void *right, size_t size)
{
    unsigned char wanted[4];
    const struct seen *s;

    bytes_put_u32(wanted, row);
    shard_pull_rows(f->shard, 0, slot, 0, wanted, 1);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->size, size);
    assert_memory_equal(s->value, right, size);
    expect_silence(f);
}

static void push_row(struct fixture *f, uint32_t rank, uint32_t slot,
                     uint64_t round, uint32_t row, const void *data,
                     size_t size)
{
    unsigned char payload[64];

    bytes_put_u32(payload, 1);
    bytes_put_u32(payload + 4, row);
    memcpy(payload + 8, data, size);
    shard_push_rows(f->shard, rank, slot, round, 0, payload, 8 + size, NULL);
}

static uint32_t create_table(struct fixture *f, const struct sample *s)
{
    unsigned char table[64];

    for (size_t row = 0; row < 3; row++) {
        memcpy(table + row * size_of(s), at(s, FIRST), size_of(s));
    }
    return create_any(f, s->dtype, 6, 2, table);
}

static void push_rows_of_both(struct fixture *f, const struct sample *s,
                              uint32_t slot, uint64_t round)
{
    push_row(f, 1, slot, round, 2, at(s, OTHER), size_of(s));
    push_row(f, 0, slot, round, 2, at(s, ONE), size_of(s));
    expect_ack(f, 0, slot, round);
    expect_ack(f, 1, slot, round);
}

static void test_rows_of_a_round_become_the_table(void **state)
{
    static const unsigned char zeros[16];
    struct fixture *f = *state;

    for (int i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        uint32_t slot = create_table(f, s);

        push_rows_of_both(f, s, slot, 1);
        expect_row(f, slot, 2, at(s, SUM), size_of(s));
        expect_row(f, slot, 1, zeros, size_of(s));
    }
}

static void test_accumulate_adds_to_the_rows_of_every_dtype(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        uint32_t slot = create_table(f, s);

        set_optimizer(f, "adam",
                      ""); /* So that the first round is a full one. */
        set_optimizer(f, "accumulate", "");
        push_rows_of_both(f, s, slot, 1);
        expect_row(f, slot, 2, at(s, ADDED), size_of(s));
        expect_row(f, slot, 1, at(s, FIRST), size_of(s));
        push_row(f, 0, slot, 2, 1, at(s, ONE), size_of(s));
        push_row(f, 1, slot, 2, 1, at(s, OTHER), size_of(s));
        expect_ack(f, 0, slot, 2);
        expect_ack(f, 1, slot, 2);
        crash(f);
        expect_row(f, slot, 1, at(s, ADDED), size_of(s));
        expect_row(f, slot, 2, at(s, ADDED), size_of(s));
        expect_row(f, slot, 0, at(s, FIRST), size_of(s));
    }
}

/* --- Refusals ------------------------------------------------------------- */

static void test_what_an_optimizer_does_not_train_is_refused(void **state)
{
    static const enum kv_dtype wrong[] = {KV_I64, KV_I32, KV_I8, KV_U8};
    const int64_t value[2] = {3, 4};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t size = 2 * kv_dtype_size(wrong[i]);
        uint32_t slot = create_any(f, wrong[i], 2, 0, value);

        set_optimizer(f, "sgd", "momentum=0.9");
        push_any(f, 0, slot, 1, value, size);
        expect_refused(f, KV_ENOTSUP, "sgd");
        expect_bytes(f, slot, value, size);
        set_optimizer(f, "accumulate", "");
        push_any(f, 0, slot, 1, value, size);
        expect_ack(f, 0, slot, 1);
    }
}

static void test_the_refusal_names_rank_key_and_dtype(void **state)
{
    const int32_t value[2] = {3, 4};
    struct fixture *f = *state;
    uint32_t slot = create_any(f, KV_I32, 2, 0, value);

    set_optimizer(f, "adam", "");
    push_any(f, 0, slot, 1, value, sizeof value);
    expect_refused(
        f, KV_ENOTSUP,
        "rank 0 pushes key id 4 slice 0, which is i32: adam trains ");
}

/* A round that is open under the old rule is finished under it. */
static void test_a_rule_does_not_come_over_a_round_it_cannot_end(void **state)
{
    struct kv_optim_spec spec;
    struct fixture *f = *state;
    uint32_t slot = create_any(f, KV_I64, 2, 0, i64[FIRST]);

    push_any(f, 1, slot, 1, i64[OTHER], sizeof i64[0]);
    assert_int_equal(
        kv_optim_parse("sgd", "", &spec, f->error, sizeof f->error), KV_OK);
    assert_int_equal(
        shard_optimizer(f->shard, &spec, f->error, sizeof f->error), KV_EBUSY);
    expect_text(f->error, "key id 6 slice 0 (i64) is none that sgd trains");
    push_any(f, 0, slot, 1, i64[ONE], sizeof i64[0]);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_bytes(f, slot, i64[SUM], sizeof i64[0]);
    set_optimizer(f, "sgd", "");
}

static void test_integers_need_no_room_for_state(void **state)
{
    struct shard_census c;
    struct fixture *f = *state;

    set_optimizer(f, "adam", "");
    create_any(f, KV_I64, 2, 0, i64[FIRST]);
    shard_census(f->shard, &c);
    assert_int_equal(c.value_bytes, 16);
    assert_int_equal(c.state_bytes, 0);
}

static void test_async_adds_each_push_at_once(void **state)
{
    struct fixture *f = *state;

    set_optimizer(f, "accumulate", "");
    for (int i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        uint32_t slot = create_any(f, s->dtype, 2, 0, at(s, FIRST));

        push_any(f, 0, slot, 1, at(s, SUM), size_of(s));
        expect_ack(f, 0, slot, 1);
        expect_bytes(f, slot, at(s, ADDED), size_of(s));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_sum_of_a_round_becomes_the_value, set_up_pair),
        TEST(test_accumulate_adds_to_every_dtype, set_up_pair),
        TEST(test_a_long_value_is_added_to_the_last_element, set_up_alone),
        TEST(test_rows_of_a_round_become_the_table, set_up_pair),
        TEST(test_accumulate_adds_to_the_rows_of_every_dtype, set_up_pair),
        TEST(test_what_an_optimizer_does_not_train_is_refused, set_up_alone),
        TEST(test_the_refusal_names_rank_key_and_dtype, set_up_alone),
        TEST(test_a_rule_does_not_come_over_a_round_it_cannot_end, set_up_pair),
        TEST(test_integers_need_no_room_for_state, set_up_alone),
        TEST(test_async_adds_each_push_at_once, set_up_async),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
