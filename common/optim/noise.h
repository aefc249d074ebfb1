/**
 * noise - a normal variate for each element of each update.
 *
 * Counted, not drawn: a variate depends on nothing but (seed, key, update,
 * element). A value may be cut, lost and computed again, anywhere, and gets the
 * same noise. Only integers and + - * / sqrt, which are the same to the last
 * bit on every processor.
 *
 * Threefry-2x32 with 20 rounds (Salmon et al., SC 2011) makes two words of the
 * element's index; Box and Muller's method a variate of those. Half a turn does
 * for a whole one, as a sine and a cosine are distributed alike. Uniform
 * numbers have 31 bits, so that the largest variate is 6.7.
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

/* --- Normal --------------------------------------------------------------- */

/* The logarithm of u in (0, 1]: u = m * 2^e with m around 1, and twice the
 * inverse hyperbolic tangent of (m - 1) / (m + 1). Error below 3e-7 of it. */
KV_TEMPLATE float noise_log(float u)
{
    const int32_t root_half = 0x3f3504f3; /* The bits of sqrt(1/2). */
    int32_t bits, power;
    float m, s, s2;

    memcpy(&bits, &u, sizeof bits);
    bits -= root_half;
    power = bits >> 23;
    bits = (bits & 0x7fffff) + root_half;
    memcpy(&m, &bits, sizeof m);
    s = (m - 1) / (m + 1);
    s2 = s * s;
    s = 2 * s *
        (1 + s2 * (1 / 3.0f + s2 * (1 / 5.0f + s2 * (1 / 7.0f + s2 / 9))));
    return (float)power * 0.69314718f + s;
}

/* The sine of pi x, |x| at most 1/2: its series. Error below 2e-7 of it. */
KV_TEMPLATE float noise_sine(float x)
{
    float s = x * x;

    return x * (3.14159265f +
                s * (-5.16771278f +
                     s * (2.55016404f +
                          s * (-0.599264529f +
                               s * (0.0821458866f + s * -0.00737043094f)))));
}

/* Mean 0, variance 1: of element `at` under a key. */
KV_TEMPLATE float noise_normal(struct noise_words key, uint64_t at)
{
    struct noise_words index = {(uint32_t)at, (uint32_t)(at >> 32)};
    struct noise_words x = noise_words(key, index);
    float u = ((float)(int32_t)(x.a >> 1) + 0.5f) * 0x1p-31f;
    float turn = (float)(int32_t)x.b * 0x1p-32f;

    return sqrtf(-2 * noise_log(u)) * noise_sine(turn);
}

#endif
