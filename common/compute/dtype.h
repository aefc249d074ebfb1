/**
 * dtype - the number formats of tensors, and the way between them.
 *
 * Numbering is MXNet's and travels on the wire: append, never renumber. All can
 * be added up (sum.h). What is computed with f32, f16 and bf16 is computed in
 * f32: kv_dtype_in_f32(); f64 and integers, which wrap around, in themselves.
 *
 * To f32 is exact. From f32 rounds to nearest, ties to even; what is too large
 * becomes infinite, f16 subnormals are kept, a NaN stays a NaN (a quiet one,
 * with its sign and upper payload). The bits are the same on every processor
 * and do not depend on whether the thread flushes denormals.
 *
 * Thread:  any.
 * Memory:  borrows. A void * of any alignment. Input and output do not overlap,
 *          except that f32 to f32 may be in place.
 */
#ifndef KV_COMMON_COMPUTE_DTYPE_H
#define KV_COMMON_COMPUTE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

enum kv_dtype {
    KV_F32 = 0,
    KV_F64 = 1,
    KV_F16 = 2,
    KV_U8 = 3,
    KV_I32 = 4,
    KV_I8 = 5,
    KV_I64 = 6,
    KV_BF16 = 12,
};

#define KV_DTYPE_END 13 /* Above all numbers. */

/* Bytes an element, by number; 0 where there is no dtype. */
extern const unsigned char kv_dtype_sizes[KV_DTYPE_END];

/* Ask before casting a number off the wire to the enum. */
static inline bool kv_dtype_known(int value)
{
    return value >= 0 && value < KV_DTYPE_END && kv_dtype_sizes[value] != 0;
}

/* f32, f16, bf16: every number of theirs is one of f32. */
bool kv_dtype_in_f32(enum kv_dtype dtype);

/* Bytes an element; 0 if unknown. */
static inline size_t kv_dtype_size(enum kv_dtype dtype)
{
    return (unsigned)dtype < KV_DTYPE_END ? kv_dtype_sizes[dtype] : 0;
}

/* "f32", "bf16", ...; "unknown" if it is. */
const char *kv_dtype_name(enum kv_dtype dtype);

/* From what is kv_dtype_in_f32(). 2 or 4 bytes read, 4 written per element. */
void kv_to_f32(enum kv_dtype from, const void *in, float *out, size_t count);

/* To the same. 4 bytes read, 2 or 4 written per element. */
void kv_from_f32(enum kv_dtype to, const float *in, void *out, size_t count);

#endif
