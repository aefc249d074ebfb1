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
 * times as long. The largest variate is 6.6.
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

/* Polynomials are evaluated in halves, which are shorter to wait for. */

/* -2 log(x / 2^31) for x of 1 to 2^31: x = (1 + m) * 2^e with m around 0, and
 * m times a polynomial. Never below 0. Error below 1e-5 of it. */
KV_TEMPLATE float noise_square(float x)
{
    const int32_t root_half = 0x3f3504f3; /* The bits of sqrt(1/2). */
    int32_t bits, power;
    float m, m2, low, high;

    memcpy(&bits, &x, sizeof bits);
    bits -= root_half + (31 << 23);
    power = bits >> 23;
    bits = (bits & 0x7fffff) + root_half;
    memcpy(&m, &bits, sizeof m);
    m -= 1;
    m2 = m * m;
    low = m * (-2.00001107f + m * 0.999828105f) + (float)power * -1.38629436f;
    high = -0.664965368f + m * 0.507182738f +
           m2 * (-0.443375589f + m * 0.293251021f);
    return low + m2 * m * high;
}

/* The sine of pi x, |x| at most 1/2. Error below 8e-7. */
KV_TEMPLATE float noise_sine(float x)
{
    float s = x * x;

    return x * (3.14158202f + s * -5.16714280f +
                s * s * (2.54189903f + s * -0.554636201f));
}

/* The cosine, likewise. Error below 8e-6. */
KV_TEMPLATE float noise_cosine(float x)
{
    float s = x * x;

    return 0.999993295f + s * -4.93393802f +
           s * s * (4.04128383f + s * -1.22212707f);
}

/* x with the sign of `from`; x is not negative. */
KV_TEMPLATE float noise_sign(float x, float from)
{
    uint32_t bits, sign;

    memcpy(&bits, &x, sizeof bits);
    memcpy(&sign, &from, sizeof sign);
    bits |= sign & 0x80000000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Two variates, each with mean 0 and variance 1. Turns of a half circle have no
 * negative cosine, so the radius has a sign. */
KV_TEMPLATE void noise_pair(struct noise_words words, float *x, float *y)
{
    float whole = (float)(int32_t)(words.a | 1);
    float radius = noise_sign(sqrtf(noise_square(fabsf(whole))), whole);
    float turn = (float)(int32_t)words.b * 0x1p-32f;

    *x = radius * noise_sine(turn);
    *y = radius * noise_cosine(turn);
}

/* --- Blocks --------------------------------------------------------------- */

#define NOISE_BLOCK 64u

/* One variate for each element of a block. The block's key is noise_words() of
 * the update's key and the block's number. */
KV_TEMPLATE void noise_block(struct noise_words key, float *out)
{
    KV_INDEPENDENT
    for (uint32_t i = 0; i < NOISE_BLOCK / 2; i++) {
        noise_pair(noise_place(key, i), &out[i], &out[i + NOISE_BLOCK / 2]);
    }
}

#endif
