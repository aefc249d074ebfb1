#include "common/compute/sum.h"

#include <stdint.h>

#include "common/base/check.h"
#include "common/compute/stream.h"
#include "common/compute/vector.h"

#define FUSED_MAX 8   /* Inputs one loop reads; more need more registers. */
#define BLOCK 512     /* Elements; FUSED_MAX of them fit the L1 cache. */
#define ELEMENT_MAX 8 /* Bytes. */

/* --- Loops: for each type one for each number of inputs ------------------- */

#define FOLD_NAME f32
#define FOLD_TYPE float
#define FOLD_ANY kv_f32_any
#include "common/compute/fold_loops.h"

#define FOLD_NAME f64
#define FOLD_TYPE double
#define FOLD_ANY kv_f64_any
#include "common/compute/fold_loops.h"

/* Signed integers are the same bits, and unsigned ones may wrap. */
#define FOLD_NAME u8
#define FOLD_TYPE uint8_t
#define FOLD_ANY uint8_t
#include "common/compute/fold_loops.h"

#define FOLD_NAME u32
#define FOLD_TYPE uint32_t
#define FOLD_ANY kv_u32_any
#include "common/compute/fold_loops.h"

#define FOLD_NAME u64
#define FOLD_TYPE uint64_t
#define FOLD_ANY kv_u64_any
#include "common/compute/fold_loops.h"

typedef void (*fold_fn)(void *out, const void *const *inputs, size_t n,
                        size_t count);

static fold_fn fold_of(enum kv_dtype dtype)
{
    switch (dtype) {
    case KV_F64:
        return kv_fold_f64;
    case KV_U8:
    case KV_I8:
        return kv_fold_u8;
    case KV_I32:
        return kv_fold_u32;
    case KV_I64:
        return kv_fold_u64;
    default:
        return kv_fold_f32;
    }
}

/* --- Blocks --------------------------------------------------------------- */

/* Where narrow inputs are widened: in the L1 cache, which is faster than loops
 * that widen and add at once. */
struct scratch {
    float wide[FUSED_MAX][BLOCK];
};

static bool is_narrow(enum kv_dtype dtype)
{
    return dtype == KV_F16 || dtype == KV_BF16;
}

/* As it is added: f16 and bf16 in f32, everything else in itself. */
static const void *operand(enum kv_dtype dtype, const void *input, size_t first,
                           size_t count, float *wide)
{
    const uint8_t *at = (const uint8_t *)input + first * kv_dtype_size(dtype);

    if (!is_narrow(dtype)) {
        return at;
    }
    kv_to_f32(dtype, at, wide, count);
    return wide;
}

/* Elements first .. first+count-1 of all inputs, at most a block of them. What
 * exceeds FUSED_MAX goes on from the sum so far, which takes a place. */
static void sum_block(enum kv_dtype dtype, void *out, const void *const *inputs,
                      size_t input_count, size_t first, size_t count,
                      struct scratch *scratch)
{
    fold_fn fold = fold_of(dtype);
    const void *group[FUSED_MAX];
    size_t used = 0;

    for (size_t i = 0; i < input_count; i++) {
        if (used == FUSED_MAX) {
            fold(out, group, used, count);
            group[0] = out;
            used = 1;
        }
        group[used] =
            operand(dtype, inputs[i], first, count, scratch->wide[used]);
        used++;
    }
    fold(out, group, used, count);
}

static size_t block_at(size_t first, size_t count)
{
    return count - first < BLOCK ? count - first : BLOCK;
}

/* --- In f32 --------------------------------------------------------------- */

void kv_sum_range(enum kv_dtype dtype, float *out, const void *const *inputs,
                  size_t input_count, size_t first, size_t count)
{
    KV_SCRATCH struct scratch scratch;

    KV_CHECK(kv_dtype_in_f32(dtype) && input_count > 0);
    for (size_t i = 0; i < count; i += BLOCK) {
        sum_block(dtype, out + i, inputs, input_count, first + i,
                  block_at(i, count), &scratch);
    }
}

void kv_sum_f32(enum kv_dtype dtype, float *out, const void *const *inputs,
                size_t input_count, size_t count)
{
    kv_sum_range(dtype, out, inputs, input_count, 0, count);
}

/* --- In the inputs' format ------------------------------------------------ */

/* What is streamed is summed in the L1 cache and leaves from there. */
void kv_sum_part(enum kv_dtype dtype, void *out, const void *const *inputs,
                 size_t input_count, size_t first, size_t count, bool stream)
{
    KV_SCRATCH struct scratch scratch;
    KV_SCRATCH float sum[BLOCK * ELEMENT_MAX / sizeof(float)];
    KV_SCRATCH uint16_t halves[BLOCK];
    bool narrow = is_narrow(dtype);
    size_t size = kv_dtype_size(dtype);

    KV_CHECK(kv_dtype_known((int)dtype) && input_count > 0);
    for (size_t i = 0; i < count; i += BLOCK) {
        uint8_t *to = (uint8_t *)out + i * size;
        void *result = !stream  ? (void *)to
                       : narrow ? (void *)halves
                                : (void *)sum;
        size_t n = block_at(i, count);

        sum_block(dtype, narrow ? sum : result, inputs, input_count, first + i,
                  n, &scratch);
        if (narrow) {
            kv_from_f32(dtype, sum, result, n);
        }
        if (stream) {
            kv_stream_copy(to, result, n * size);
        }
    }
    if (stream) {
        kv_stream_end();
    }
}

void kv_sum(enum kv_dtype dtype, void *out, const void *const *inputs,
            size_t input_count, size_t count)
{
    kv_sum_part(dtype, out, inputs, input_count, 0, count, false);
}
