#include "common/compute/half.h"

#include <stdint.h>
#include <string.h>

/* --- One number ------------------------------------------------------------
 */

KV_TEMPLATE uint32_t bits_of(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

KV_TEMPLATE float float_of(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

/* Not a ?: because compilers make a branch of that, and then no vector. */
KV_TEMPLATE uint32_t pick(int condition, uint32_t yes, uint32_t no)
{
    uint32_t mask = 0 - (uint32_t)condition;

    return (yes & mask) | (no & ~mask);
}

/* Whether the thread flushes subnormals makes no difference to the float
 * operations here and below: at most they take one that counts as 0 anyway. */
KV_TEMPLATE float f16_widen(uint16_t half)
{
    int32_t magnitude = half & 0x7fff;
    uint32_t shifted = (uint32_t)magnitude << 13;
    uint32_t quiet = pick(magnitude > 0x7c00, 0x00400000, 0);
    uint32_t special = (shifted + (224u << 23)) | quiet;
    uint32_t normal = shifted + (112u << 23);
    /* 2^-14 + mantissa, less the 2^-14. */
    uint32_t small =
        bits_of(float_of(shifted + (113u << 23)) - float_of(113u << 23));
    uint32_t finite = pick(magnitude < 0x0400, small, normal);
    uint32_t u = pick(magnitude < 0x7c00, finite, special);

    return float_of(u | (uint32_t)(half & 0x8000) << 16);
}

KV_TEMPLATE uint16_t f16_narrow(float f)
{
    uint32_t u = bits_of(f);
    uint32_t bits = u & 0x7fffffff;
    int32_t magnitude = (int32_t)bits;
    uint32_t normal = (bits - (112u << 23) + 0x0fff + (bits >> 13 & 1)) >> 13;
    /* A unit in the last place of 0.5 is f16's smallest subnormal. */
    uint32_t small = bits_of(float_of(bits) + 0.5f) - bits_of(0.5f);
    uint32_t nan = 0x7e00 | (bits >> 13 & 0x01ff);
    uint32_t finite = pick(magnitude < 0x38800000, small, normal);
    uint32_t special = pick(magnitude > 0x7f800000, nan, 0x7c00);
    uint32_t half = pick(magnitude < 0x477ff000, finite, special); /* 65520 */

    return (uint16_t)(half | (u >> 16 & 0x8000));
}

KV_TEMPLATE uint16_t bf16_narrow(float f)
{
    uint32_t u = bits_of(f);
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    uint32_t nan = u >> 16 | 0x0040;

    return (uint16_t)pick((u & 0x7fffffff) > 0x7f800000, nan, rounded);
}

/* --- f16 by instruction ----------------------------------------------------
 */

#if defined(__x86_64__)

#include <immintrin.h>

#define BY_INSTRUCTION __attribute__((target("avx,f16c")))

/* No processor has AVX2 but not F16C. */
static int converts_f16(void)
{
    return __builtin_cpu_supports("avx2");
}

/* Both return how many were done. Denormal modes do not touch these. */
BY_INSTRUCTION static size_t widen_eights(const kv_u16_any *in, kv_f32_any *out,
                                          size_t count)
{
    size_t i = 0;

    for (; i + 8 <= count; i += 8) {
        __m128i halves = _mm_loadu_si128((const void *)(in + i));

        _mm256_storeu_ps((void *)(out + i), _mm256_cvtph_ps(halves));
    }
    return i;
}

BY_INSTRUCTION static size_t narrow_eights(const kv_f32_any *in,
                                           kv_u16_any *out, size_t count)
{
    size_t i = 0;

    for (; i + 8 <= count; i += 8) {
        __m256 floats = _mm256_loadu_ps((const void *)(in + i));

        _mm_storeu_si128((void *)(out + i),
                         _mm256_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT));
    }
    return i;
}

#else

static int converts_f16(void)
{
    return 0;
}

static size_t widen_eights(const kv_u16_any *in, kv_f32_any *out, size_t count)
{
    (void)in;
    (void)out;
    (void)count;
    return 0;
}

static size_t narrow_eights(const kv_f32_any *in, kv_u16_any *out, size_t count)
{
    (void)in;
    (void)out;
    (void)count;
    return 0;
}

#endif

/* --- bf16, which is the upper half of an f32 --------------------------------
 */

/* Static, because other files cannot call a clone that clang made. */
KV_CLONES static void kv_bf16_widen_loop(const kv_u16_any *in, kv_f32_any *out,
                                         size_t count)
{
    KV_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        out[i] = float_of((uint32_t)in[i] << 16);
    }
}

KV_CLONES static void kv_bf16_narrow_loop(const kv_f32_any *in, kv_u16_any *out,
                                          size_t count)
{
    KV_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        out[i] = bf16_narrow(in[i]);
    }
}

/* --- Arrays ----------------------------------------------------------------
 */

void kv_f16_widen(const kv_u16_any *in, kv_f32_any *out, size_t count)
{
    size_t done = converts_f16() ? widen_eights(in, out, count) : 0;

    KV_INDEPENDENT
    for (size_t i = done; i < count; i++) {
        out[i] = f16_widen(in[i]);
    }
}

void kv_f16_narrow(const kv_f32_any *in, kv_u16_any *out, size_t count)
{
    size_t done = converts_f16() ? narrow_eights(in, out, count) : 0;

    KV_INDEPENDENT
    for (size_t i = done; i < count; i++) {
        out[i] = f16_narrow(in[i]);
    }
}

void kv_bf16_widen(const kv_u16_any *in, kv_f32_any *out, size_t count)
{
    kv_bf16_widen_loop(in, out, count);
}

void kv_bf16_narrow(const kv_f32_any *in, kv_u16_any *out, size_t count)
{
    kv_bf16_narrow_loop(in, out, count);
}
