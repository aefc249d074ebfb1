/* f32 masters of f16 and bf16 slices: trained as f32, and kept over a kill. */
#include "common/base/bytes.h"
#include "tests/unit/chance.h"
#include "tests/unit/shard_fixture.h"

enum { ROWS = 5, LENGTH = 900, COUNT = ROWS * LENGTH };

static uint64_t seed;

/* --- Steps ---------------------------------------------------------------- */

static uint32_t open_slice(struct fixture *f, uint32_t key_id,
                           enum kv_dtype dtype, uint64_t count,
                           uint64_t row_length, const void *value)
{
    struct slice_desc d = {key_id, 0, dtype, count, row_length, 1, false, 0, 0};
    const struct seen *s;

    shard_open(f->shard, 0, 1, &d, value, count * kv_dtype_size(dtype));
    s = next_seen(f);
    expect_status(s, KV_OK);
    expect_silence(f);
    return s->slot;
}

static void push_all(struct fixture *f, uint32_t slot, uint64_t round,
                     const void *data, size_t size)
{
    shard_push(f->shard, 0, slot, round, 0, data, size, NULL);
    expect_ack(f, 0, slot, round);
    expect_silence(f);
}

/* Only rows 1 and 3, whose elements lie one behind the other in `data`. */
static void push_two_rows(struct fixture *f, uint32_t slot, uint64_t round,
                          const void *data, size_t size)
{
    static unsigned char payload[12 + COUNT * 4];

    bytes_put_u32(payload, 2);
    bytes_put_u32(payload + 4, 1);
    bytes_put_u32(payload + 8, 3);
    memcpy(payload + 12, data, size);
    shard_push_rows(f->shard, 0, slot, round, 0, payload, 12 + size, NULL);
    expect_ack(f, 0, slot, round);
    expect_silence(f);
}

static void number(enum kv_dtype dtype, float *wide, uint16_t *narrow)
{
    for (size_t i = 0; i < COUNT; i++) {
        wide[i] = (float)chance(&seed, 4001) / 1000 - 2;
    }
    kv_from_f32(dtype, wide, narrow, COUNT);
    kv_to_f32(dtype, narrow, wide, COUNT);
}

/* --- Seeing all of a value ------------------------------------------------ */

static const void *value_of(struct fixture *f, uint32_t slot, void *out,
                            size_t size)
{
    f->copy_to = out;
    shard_pull(f->shard, 0, slot, 0);
    f->copy_to = NULL;
    assert_int_equal(next_seen(f)->size, size);
    expect_silence(f);
    return out;
}

/* --- The same as f32 ------------------------------------------------------ */

static const struct recipe {
    const char *name, *params;
} recipes[] = {
    {"sgd", "multi_precision=1"},
    {"sgd", "momentum=0.9,wd=0.01,multi_precision=1"},
    {"adam", "multi_precision=1"},
    {"adagrad", "lr=0.5,multi_precision=1"},
    {"rmsprop", "centered=1,multi_precision=1"},
    {"ftml", "multi_precision=1"},
    {"accumulate", "multi_precision=1"},
};

/* Each step in another life of the server. */
static void expect_the_same(struct fixture *f, const struct recipe *r,
                            enum kv_dtype dtype, uint64_t row_length,
                            uint32_t key_id)
{
    static float wide[COUNT], g[COUNT];
    static uint16_t narrow[COUNT], narrow_g[COUNT], right[COUNT], got[COUNT];
    uint32_t slot, wide_slot;

    set_optimizer(f, r->name, r->params);
    number(dtype, wide, narrow);
    slot = open_slice(f, key_id, dtype, COUNT, row_length, narrow);
    wide_slot = open_slice(f, key_id + 1, KV_F32, COUNT, row_length, wide);
    for (uint64_t round = 1; round <= 5; round++) {
        number(dtype, g, narrow_g);
        if (row_length > 0 && round > 2) {
            push_two_rows(f, slot, round, narrow_g, 2 * LENGTH * 2);
            push_two_rows(f, wide_slot, round, g, 2 * LENGTH * 4);
        } else {
            push_all(f, slot, round, narrow_g, sizeof narrow_g);
            push_all(f, wide_slot, round, g, sizeof g);
        }
        crash(f);
        value_of(f, wide_slot, wide, sizeof wide);
        kv_from_f32(dtype, wide, right, COUNT);
        if (memcmp(value_of(f, slot, got, sizeof got), right, sizeof got) !=
            0) {
            fail_msg("%s %s, rows of %u: round %u differs from f32", r->name,
                     r->params, (unsigned)row_length, (unsigned)round);
        }
    }
}

static void test_a_master_is_trained_as_f32_in_any_life(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        expect_the_same(f, &recipes[i], KV_F16, 0, 100 + i * 8);
        expect_the_same(f, &recipes[i], KV_BF16, 0, 102 + i * 8);
        expect_the_same(f, &recipes[i], KV_F16, LENGTH, 104 + i * 8);
        expect_the_same(f, &recipes[i], KV_BF16, LENGTH, 106 + i * 8);
    }
}

/* --- What f16 alone would lose -------------------------------------------- */

static const uint16_t one = 0x3c00, tiny = 0x0800; /* 1, 2^-13 */

static void descend(struct fixture *f, uint32_t slot, uint64_t rounds)
{
    for (uint64_t round = 1; round <= rounds; round++) {
        push_all(f, slot, round, &tiny, sizeof tiny);
    }
}

static uint16_t half_of(struct fixture *f, uint32_t slot)
{
    uint16_t half;

    shard_pull(f->shard, 0, slot, 0);
    memcpy(&half, next_seen(f)->value, sizeof half);
    expect_silence(f);
    return half;
}

static void test_thousands_of_tiny_updates_count_with_a_master(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = open_slice(f, 1, KV_F16, 1, 0, &one);

    set_optimizer(f, "sgd", "lr=1");
    descend(f, slot, 4096);
    assert_int_equal(half_of(f, slot), one);
    slot = open_slice(f, 2, KV_F16, 1, 0, &one);
    set_optimizer(f, "sgd", "lr=1,multi_precision=1");
    descend(f, slot, 4096);
    assert_int_equal(half_of(f, slot), 0x3800);  /* 1/2 */
    slot = open_slice(f, 3, KV_F16, 1, 1, &one); /* A row. */
    descend(f, slot, 4096);
    assert_int_equal(half_of(f, slot), 0x3800);
}

/* The value is what it was; what only the master knew is gone. */
static void test_a_master_goes_and_comes_with_the_optimizer(void **state)
{
    struct hyper_change change = {.name = "multi_precision"};
    struct shard_census c;
    struct fixture *f = *state;
    uint64_t round = 1;

    for (uint64_t row_length = 0; row_length < 2; row_length++) {
        uint32_t slot = open_slice(f, 1 + (uint32_t)row_length, KV_F16, 1,
                                   row_length, &one);

        round = 1;
        for (int turn = 0; turn < 3; turn++) {
            set_optimizer(f, "sgd", "lr=1,multi_precision=1");
            push_all(f, slot, round++, &tiny, sizeof tiny);
            push_all(f, slot, round++, &tiny, sizeof tiny);
            set_optimizer(f, "sgd", "lr=1");
            push_all(f, slot, round++, &tiny, sizeof tiny);
        }
        assert_int_equal(half_of(f, slot), one);
        set_optimizer(f, "sgd", "lr=1,multi_precision=1");
        for (int i = 0; i < 8; i++) { /* 2^-10, two units of f16 below 1. */
            push_all(f, slot, round++, &tiny, sizeof tiny);
            crash(f);
        }
        assert_int_equal(half_of(f, slot), 0x3bfe);
    }
    shard_census(f->shard, &c);
    assert_int_equal(c.value_bytes, 4);
    assert_int_equal(c.state_bytes, 8);
    assert_int_equal(shard_hyper(f->shard, &change, f->error, sizeof f->error),
                     KV_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_master_is_trained_as_f32_in_any_life, set_up_alone),
        TEST(test_thousands_of_tiny_updates_count_with_a_master, set_up_alone),
        TEST(test_a_master_goes_and_comes_with_the_optimizer, set_up_alone),
    };

    seed = chance_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
