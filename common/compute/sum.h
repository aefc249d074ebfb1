/**
 * sum - add up N arrays in one pass over memory.
 *
 * Each element is inputs[0] + inputs[1] + ... strictly from left to right, so
 * that whoever fixes the order of the inputs (the server: by rank) fixes the
 * bits of the result, on every processor. Only a NaN's payload may differ.
 *
 * f16 and bf16 are added in f32 and rounded once, at the end. MXNet rounds
 * after each addition; with many workers that loses small gradients: in f16
 * 2048 + 1 is 2048 however often it is repeated.
 *
 * Integers wrap around, f64 is added in f64.
 *
 * Thread:  any.
 * Memory:  borrows. A void * of any alignment. `out` may be inputs[0] if it has
 *          the same format; it overlaps the inputs in no other way.
 */
#ifndef KV_COMMON_COMPUTE_SUM_H
#define KV_COMMON_COMPUTE_SUM_H

#include <stddef.h>

#include "common/compute/dtype.h"

/* In the inputs' format, any there is. At least one input. */
void kv_sum(enum kv_dtype dtype, void *out, const void *const *inputs,
            size_t input_count, size_t count);

/* The same of the inputs' elements first .. first+count-1, into out[0] and on,
 * for who goes through large inputs piece by piece. `stream`: past the caches,
 * right if the whole result is larger than those (stream.h). */
void kv_sum_part(enum kv_dtype dtype, void *out, const void *const *inputs,
                 size_t input_count, size_t first, size_t count, bool stream);

/* Left in f32, unrounded: what an optimizer wants. Formats: those of
 * kv_dtype_in_f32(), here and below. */
void kv_sum_f32(enum kv_dtype dtype, float *out, const void *const *inputs,
                size_t input_count, size_t count);

/* The same of the inputs' elements first .. first+count-1, into out[0] and on,
 * for who goes through large inputs block by block. */
void kv_sum_range(enum kv_dtype dtype, float *out, const void *const *inputs,
                  size_t input_count, size_t first, size_t count);

#endif
