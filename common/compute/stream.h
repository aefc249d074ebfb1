/**
 * stream - write past the caches.
 *
 * An ordinary store first reads the line that it will overwrite and leaves it
 * in a cache. For results larger than the caches that nobody reads soon, both
 * are waste: writing whole lines straight to memory is up to half as fast
 * again. Other processors store as usual.
 *
 * Thread:  other threads see what was written only after kv_stream_end().
 * Memory:  borrows. Written are addresses for which kv_stream_ready() is true.
 */
#ifndef KV_COMMON_COMPUTE_STREAM_H
#define KV_COMMON_COMPUTE_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/compute/vector.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* Floats written at a time: two lines. Of a loop over just one, gcc unrolls
 * before it could make vectors. */
#define KV_STREAM_FLOATS 32
#define KV_CACHE_LINE 64 /* Bytes. */

static inline bool kv_stream_ready(const float *to)
{
    return (uintptr_t)to % KV_CACHE_LINE == 0;
}

KV_TEMPLATE void kv_stream_write(float *to, const float *from)
{
#if defined(__x86_64__)
    for (int i = 0; i < KV_STREAM_FLOATS; i += 4) {
        _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
    }
#else
    memcpy(to, from, KV_STREAM_FLOATS * sizeof(float));
#endif
}

static inline void kv_stream_end(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

#endif
