/**
 * stream - write past the caches.
 *
 * An ordinary store first reads the line that it will overwrite and leaves it
 * in a cache. For results larger than the caches that nobody reads soon, both
 * are waste: writing whole lines straight to memory is up to half as fast
 * again. Other processors store as usual.
 *
 * Thread:  other threads see what was written only after kv_stream_end().
 * Memory:  borrows. kv_stream_write() needs an address for which
 *          kv_stream_ready() is true; kv_stream_copy() takes any.
 */
#ifndef KV_COMMON_COMPUTE_STREAM_H
#define KV_COMMON_COMPUTE_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/compute/vector.h"

#if defined(__x86_64__)
#include <emmintrin.h>
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

/* Whole lines go past the caches, what is left at either end as usual. */
static inline void kv_stream_copy(void *to, const void *from, size_t size)
{
#if defined(__x86_64__)
    uint8_t *out = (uint8_t *)to;
    const uint8_t *in = (const uint8_t *)from;
    size_t at = (0 - (uintptr_t)out) % KV_CACHE_LINE;

    at = at < size ? at : size;
    memcpy(out, in, at);
    for (; at + KV_CACHE_LINE <= size; at += KV_CACHE_LINE) {
        for (size_t i = 0; i < KV_CACHE_LINE; i += sizeof(__m128i)) {
            __m128i piece = _mm_loadu_si128((const void *)(in + at + i));

            _mm_stream_si128((__m128i *)(void *)(out + at + i), piece);
        }
    }
    memcpy(out + at, in + at, size - at);
#else
    memcpy(to, from, size);
#endif
}

static inline void kv_stream_end(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

#endif
