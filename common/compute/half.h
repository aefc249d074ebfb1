/**
 * half - arrays of f16 and bf16 to and from f32.
 *
 * For this folder; others say kv_to_f32() and kv_from_f32(), whose header has
 * what these promise. Where the processor converts f16 itself that is used,
 * eight at a time; what is left over, and other processors, take the portable
 * way to the same bits.
 *
 * Thread:  any.
 * Memory:  borrows; any alignment; no overlap.
 */
#ifndef KV_COMMON_COMPUTE_HALF_H
#define KV_COMMON_COMPUTE_HALF_H

#include <stddef.h>

#include "common/compute/vector.h"

void kv_f16_widen(const kv_u16_any *in, kv_f32_any *out, size_t count);
void kv_f16_narrow(const kv_f32_any *in, kv_u16_any *out, size_t count);
void kv_bf16_widen(const kv_u16_any *in, kv_f32_any *out, size_t count);
void kv_bf16_narrow(const kv_f32_any *in, kv_u16_any *out, size_t count);

#endif
