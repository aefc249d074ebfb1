/**
 * kvworker_types - keys and tensors, as kvworker.h's functions take them.
 *
 * Part of kvworker.h, which includes it.
 */
#ifndef KVWORKER_TYPES_H
#define KVWORKER_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A key is a string (1 to 255 bytes, no control characters) or an int64.
 * "7" and 7 are different keys. */
struct kvw_key {
    const char *name; /* NULL: the key is `number`. Borrowed. */
    int64_t number;
};

static inline struct kvw_key kvw_int(int64_t number)
{
    struct kvw_key key = {NULL, number};
    return key;
}

static inline struct kvw_key kvw_str(const char *name)
{
    struct kvw_key key = {name, 0};
    return key;
}

/* MXNet's numbers. Every store holds all of them. Sums of integers wrap around,
 * f64 is summed in f64, f16 and bf16 in f32 and rounded once. Optimizers train
 * f32, f64, f16 and bf16, f64 with state and arithmetic in f64; "accumulate"
 * adds to any. */
enum kvw_dtype {
    KVW_F32 = 0,
    KVW_F64 = 1,
    KVW_F16 = 2,
    KVW_U8 = 3,
    KVW_I32 = 4,
    KVW_I8 = 5,
    KVW_I64 = 6,
    KVW_BF16 = 12
};

#define KVW_DIMS_MAX 8

/* A row_sparse value is a table of rows, of which a push or a pull moves some;
 * servers keep it whole. */
enum kvw_storage { KVW_DENSE = 0, KVW_ROW_SPARSE = 1 };

/* Contiguous, in host memory, aligned to its element.
 *
 * Dense: data has all elements. Row_sparse: shape is that of the whole table,
 * shape[0] rows of shape[1] * shape[2] * ... elements; data has row_count rows,
 * of which number i is row rows[i] of the table. In what is pushed, rows may
 * come in any order and more than once: they are summed. Without `rows`,
 * row_count is shape[0], and data has all rows in order, or 0. */
struct kvw_tensor {
    void *data;
    enum kvw_dtype dtype;
    uint32_t dims;                /* 1 to KVW_DIMS_MAX */
    uint64_t shape[KVW_DIMS_MAX]; /* Elements; the product is at least 1. */
    enum kvw_storage storage;
    int64_t *rows;      /* Kept, as the data is. */
    uint64_t row_count; /* Below 2^32. */
};

static inline struct kvw_tensor kvw_f32(float *data, uint64_t count)
{
    struct kvw_tensor t = {data, KVW_F32, 1, {count}, KVW_DENSE, NULL, 0};
    return t;
}

/* `row_count` rows of a table of `table_rows` rows of `length` f32 each. */
static inline struct kvw_tensor kvw_f32_rows(float *data, int64_t *rows,
                                             uint64_t row_count,
                                             uint64_t table_rows,
                                             uint64_t length)
{
    struct kvw_tensor t = {
        data,           KVW_F32, 2,        {table_rows, length},
        KVW_ROW_SPARSE, rows,    row_count};
    return t;
}

/* One key and its tensor, or its tensors, one a device. */
struct kvw_item {
    struct kvw_key key;
    const struct kvw_tensor *tensors; /* Borrowed; their data is kept. */
    uint32_t tensor_count;            /* At least 1. */
};

#ifdef __cplusplus
}
#endif

#endif
