/**
 * local_rows_fixture - a small table in a local store, and rows for it.
 *
 * All elements of a row are alike.
 */
#ifndef KV_TESTS_UNIT_LOCAL_ROWS_FIXTURE_H
#define KV_TESTS_UNIT_LOCAL_ROWS_FIXTURE_H

#include "tests/unit/local_fixture.h"

enum { ROWS = 4, LENGTH = 4, SOME = 8 };

static float table[ROWS * LENGTH];
static float data[DEVICES_MAX][SOME * LENGTH];
static int64_t rows[DEVICES_MAX][SOME];
static struct kvw_tensor tensors[DEVICES_MAX];

static inline struct kvw_tensor whole(enum kvw_storage storage)
{
    struct kvw_tensor t = kvw_f32_rows(table, NULL, ROWS, ROWS, LENGTH);

    t.storage = storage;
    return t;
}

static inline void init_table(struct kvw_key key, enum kvw_storage storage,
                              float value)
{
    struct kvw_tensor t = whole(storage);
    struct kvw_item item = {key, &t, 1};

    fill(table, ROWS * LENGTH, value);
    expect_ok(kvw_init(kv, &item, 1));
}

/* On a device: these rows, all `value`. */
static inline void put(unsigned device, const int64_t *numbers, uint64_t count,
                       float value)
{
    memcpy(rows[device], numbers, count * sizeof *numbers);
    fill(data[device], count * LENGTH, value);
    tensors[device] =
        kvw_f32_rows(data[device], rows[device], count, ROWS, LENGTH);
}

#define PUT(device, value, ...)                                                \
    put(device, (const int64_t[]){__VA_ARGS__},                                \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), value)

static inline void push_rows(struct kvw_key key, unsigned devices)
{
    struct kvw_item item = {key, tensors, devices};

    expect_ok(kvw_push(kv, &item, 1, NULL, NULL));
    wait_all();
}

/* The same value in all elements of a row. */
static inline void expect_table(struct kvw_key key, const float expected[ROWS])
{
    struct kvw_tensor t = whole(KVW_DENSE);
    struct kvw_item item = {key, &t, 1};

    fill(table, ROWS * LENGTH, -12345);
    expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
    wait_all();
    for (int row = 0; row < ROWS; row++) {
        expect_all(table + (ptrdiff_t)row * LENGTH, LENGTH, expected[row]);
    }
}

#define EXPECT_TABLE(key, ...)                                                 \
    expect_table(key, (const float[ROWS]){__VA_ARGS__})

static inline void pull_all_rows(struct kvw_key key, unsigned outs)
{
    const int64_t ids[] = {0, 1, 2, 3};
    struct kvw_row_ids list = {ids, KVW_I64, ROWS};
    struct kvw_row_pull pull = {key, tensors, outs, &list, 1};

    for (unsigned i = 0; i < outs; i++) {
        put(i, ids, ROWS, -12345);
    }
    expect_ok(kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL));
    wait_all();
}

#endif
