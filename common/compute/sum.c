#include "common/compute/sum.h"

#include <stdint.h>

#include "common/base/check.h"
#include "common/compute/vector.h"

#define FUSED_MAX 8 /* Inputs one loop reads; more need more registers. */
#define BLOCK 512   /* Elements; FUSED_MAX of them fit the L1 cache. */

/* --- f32: a loop for each number of inputs -------------------------------- */

/* `n` is a constant wherever this is called, so each `if` is decided then. */
KV_TEMPLATE void fold_n(kv_f32_any *out, const kv_f32_any *const *inputs,
                        size_t n, size_t count)
{
    const kv_f32_any *a = inputs[0], *b = n > 1 ? inputs[1] : a;
    const kv_f32_any *c = n > 2 ? inputs[2] : a, *d = n > 3 ? inputs[3] : a;
    const kv_f32_any *e = n > 4 ? inputs[4] : a, *f = n > 5 ? inputs[5] : a;
    const kv_f32_any *g = n > 6 ? inputs[6] : a, *h = n > 7 ? inputs[7] : a;

    KV_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        float sum = a[i];

        sum = n > 1 ? sum + b[i] : sum;
        sum = n > 2 ? sum + c[i] : sum;
        sum = n > 3 ? sum + d[i] : sum;
        sum = n > 4 ? sum + e[i] : sum;
        sum = n > 5 ? sum + f[i] : sum;
        sum = n > 6 ? sum + g[i] : sum;
        sum = n > 7 ? sum + h[i] : sum;
        out[i] = sum;
    }
}

KV_CLONES static void kv_fold(kv_f32_any *out, const kv_f32_any *const *inputs,
                              size_t n, size_t count)
{
    switch (n) {
    case 1:
        fold_n(out, inputs, 1, count);
        break;
    case 2:
        fold_n(out, inputs, 2, count);
        break;
    case 3:
        fold_n(out, inputs, 3, count);
        break;
    case 4:
        fold_n(out, inputs, 4, count);
        break;
    case 5:
        fold_n(out, inputs, 5, count);
        break;
    case 6:
        fold_n(out, inputs, 6, count);
        break;
    case 7:
        fold_n(out, inputs, 7, count);
        break;
    default:
        fold_n(out, inputs, 8, count);
    }
}

/* --- Blocks --------------------------------------------------------------- */

/* Where narrow inputs are widened: in the L1 cache, which is faster than loops
 * that widen and add at once. */
struct scratch {
    float wide[FUSED_MAX][BLOCK];
};

static const kv_f32_any *as_f32(enum kv_dtype dtype, const void *input,
                                size_t first, size_t count, float *wide)
{
    if (dtype == KV_F32) {
        return (const kv_f32_any *)input + first;
    }
    kv_to_f32(dtype, (const kv_u16_any *)input + first, wide, count);
    return wide;
}

/* Elements first .. first+count-1 of all inputs, at most a block of them. What
 * exceeds FUSED_MAX goes on from the sum so far, which takes a place. */
static void sum_block(enum kv_dtype dtype, void *out, const void *const *inputs,
                      size_t input_count, size_t first, size_t count,
                      struct scratch *scratch)
{
    const kv_f32_any *group[FUSED_MAX];
    size_t used = 0;

    for (size_t i = 0; i < input_count; i++) {
        if (used == FUSED_MAX) {
            kv_fold(out, group, used, count);
            group[0] = out;
            used = 1;
        }
        group[used] =
            as_f32(dtype, inputs[i], first, count, scratch->wide[used]);
        used++;
    }
    kv_fold(out, group, used, count);
}

static size_t block_at(size_t first, size_t count)
{
    return count - first < BLOCK ? count - first : BLOCK;
}

/* --- Public --------------------------------------------------------------- */

void kv_sum_range(enum kv_dtype dtype, float *out, const void *const *inputs,
                  size_t input_count, size_t first, size_t count)
{
    KV_SCRATCH struct scratch scratch;

    KV_CHECK(kv_dtype_supported(dtype) && input_count > 0);
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

void kv_sum(enum kv_dtype dtype, void *out, const void *const *inputs,
            size_t input_count, size_t count)
{
    KV_SCRATCH struct scratch scratch;
    KV_SCRATCH float sum[BLOCK];

    KV_CHECK(kv_dtype_supported(dtype) && input_count > 0);
    for (size_t i = 0; i < count; i += BLOCK) {
        uint8_t *to = (uint8_t *)out + i * kv_dtype_size(dtype);
        void *block = dtype == KV_F32 ? (void *)to : (void *)sum;
        size_t n = block_at(i, count);

        sum_block(dtype, block, inputs, input_count, i, n, &scratch);
        if (dtype != KV_F32) {
            kv_from_f32(dtype, sum, to, n);
        }
    }
}
