/**
 * noise - a normal variate for each element of each update.
 *
 * Counted, not drawn: a variate depends on nothing but (seed, key, update,
 * element). A value may be cut, lost and computed again, anywhere, and gets the
 * same noise. Only integers and + - * / sqrt, which are the same to the last
 * bit on every processor.
 *
 * Elements go by blocks of NOISE_BLOCK. Threefry-2x32 with 20 rounds (Salmon et
 * al., SC 2011) makes two words of a block's number; under them,
 * multiplications and xorshifts (constants of C. Wellons' hash-prospector) make
 * two words of a place in the block; Box and Muller's method makes two variates
 * of those. So memory stays the slower part: one Threefry an element took five
 * times as long. The largest variate is 6.6; the variance is within 2e-6 of 1.
 *
 * Thread:  any. Nothing here has state.
 */
#ifndef KV_COMMON_OPTIM_NOISE_H
#define KV_COMMON_OPTIM_NOISE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "common/compute/vector.h"

struct noise_words {
    uint32_t a, b;
};

/* --- Words ---------------------------------------------------------------- */

KV_TEMPLATE uint32_t noise_turn(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

KV_TEMPLATE struct noise_words noise_round(struct noise_words x, unsigned bits)
{
    x.a += x.b;
    x.b = noise_turn(x.b, bits) ^ x.a;
    return x;
}

KV_TEMPLATE struct noise_words noise_even(struct noise_words x)
{
    return noise_round(noise_round(noise_round(noise_round(x, 13), 15), 26), 6);
}

KV_TEMPLATE struct noise_words noise_odd(struct noise_words x)
{
    return noise_round(noise_round(noise_round(noise_round(x, 17), 29), 16),
                       24);
}

KV_TEMPLATE struct noise_words noise_add(struct noise_words x, uint32_t a,
                                         uint32_t b)
{
    x.a += a;
    x.b += b;
    return x;
}

/* Threefry-2x32-20 of a counter under a key. */
KV_TEMPLATE struct noise_words noise_words(struct noise_words key,
                                           struct noise_words counter)
{
    uint32_t c = 0x1bd11bda ^ key.a ^ key.b;
    struct noise_words x = noise_add(counter, key.a, key.b);

    x = noise_add(noise_even(x), key.b, c + 1);
    x = noise_add(noise_odd(x), c, key.a + 2);
    x = noise_add(noise_even(x), key.a, key.b + 3);
    x = noise_add(noise_odd(x), key.b, c + 4);
    return noise_add(noise_even(x), c, key.a + 5);
}

/* The key of all elements of one update: each number mixed in by its own
 * block. */
static inline struct noise_words noise_key(uint64_t seed, uint64_t key,
                                           uint64_t t)
{
    const uint64_t parts[] = {seed, key, t};
    struct noise_words k = {0, 0};

    for (int i = 0; i < 3; i++) {
        struct noise_words part = {(uint32_t)parts[i],
                                   (uint32_t)(parts[i] >> 32)};

        k = noise_words(k, part);
    }
    return k;
}

/* Two words of a place in a block: few operations, as the key, which no other
 * block has, is mixed well. Both words of the key go in, so that blocks differ
 * by more than an offset. The lowest bits are the worst. */
KV_TEMPLATE struct noise_words noise_place(struct noise_words key,
                                           uint32_t place)
{
    uint32_t x = key.a + place * 0x9e3779b9;
    struct noise_words words;

    x = (x ^ x >> 16) * 0x21f0aaad;
    words.a = (x ^ x >> 15 ^ key.b) * 0xd35a2d97;
    words.b = (x ^ x >> 13 ^ key.b) * 0x846ca68b;
    return words;
}

/* --- Normal --------------------------------------------------------------- */

#define NOISE_UNIT 4.0652082e-4f /* The root of 2 log 2 / 2^23. */

/* How far from 0 a pair of variates is, in NOISE_UNITs, with the word's sign:
 * the root of -2 log(u / 2^31), where u is 2^31 less the word's other bits, the
 * lowest set. The bits of u as a float are a line between powers of two; what
 * that lacks is a polynomial of m, where u = (2 - m) 2^n. The square's error is
 * below 3e-5 of it, or of 0.6 if that is more; it is never below 0. */
KV_TEMPLATE float noise_radius(uint32_t word)
{
    float u = (float)(int32_t)(word | 0x80000001); /* Always with a sign. */
    float line, m, m2, low, high, radius;
    uint32_t bits;

    memcpy(&bits, &u, sizeof bits);
    line = (float)(int32_t)(0xcf000000 - bits); /* Those of -2^31. */
    m = (float)(int32_t)(~bits & 0x7fffff);     /* Times 2^23. */
    m2 = m * m;
    low = -0.278165555f + m * 2.07220094e-8f;
    high = 1.2465894e-15f + m * -4.39136164e-23f + m2 * 8.59053483e-30f;
    radius = sqrtf(line + m * (low + m2 * high));
    memcpy(&bits, &radius, sizeof bits);
    bits |= word & 0x80000000;
    memcpy(&radius, &bits, sizeof radius);
    return radius;
}

/* Sine and cosine of pi x, |x| at most 1/2. p and q are root 2 times those of
 * half of it. Errors below 9e-6. */
KV_TEMPLATE void noise_angle(float x, float *sine, float *cosine)
{
    float s = x * x;
    float p = x * (2.22142336f + s * (-0.913084637f + s * 0.109580326f));
    float q = 1.41417107f + s * (-1.74322948f + s * 0.346307194f);

    *sine = p * q;
    *cosine = 1 - p * p;
}

/* --- Blocks --------------------------------------------------------------- */

#define NOISE_BLOCK 128u
#define NOISE_HALF (NOISE_BLOCK / 2)

/* A variate times `spread` for `count` elements of a block from `first` on, and
 * for those half a block behind them: pairs. The block's key is noise_words()
 * of the update's key and the block's number. Turns of a half circle have no
 * negative cosine, so the radius has a sign. Three loops, as in one a place's
 * steps would wait for each other. */
KV_TEMPLATE void noise_block(struct noise_words key, float spread,
                             uint32_t first, uint32_t count, float *out)
{
    KV_SCRATCH float radius[NOISE_HALF], turn[NOISE_HALF];
    KV_SCRATCH uint32_t words[NOISE_HALF];

    KV_INDEPENDENT
    for (uint32_t i = 0; i < count; i++) {
        struct noise_words w = noise_place(key, first + i);

        words[i] = w.a;
        turn[i] = (float)(int32_t)w.b * 0x1p-32f;
    }
    KV_INDEPENDENT
    for (uint32_t i = 0; i < count; i++) {
        radius[i] = noise_radius(words[i]) * (spread * NOISE_UNIT);
    }
    KV_INDEPENDENT
    for (uint32_t i = 0; i < count; i++) {
        float sine, cosine;

        noise_angle(turn[i], &sine, &cosine);
        out[first + i] = radius[i] * sine;
        out[first + i + NOISE_HALF] = radius[i] * cosine;
    }
}

#endif
