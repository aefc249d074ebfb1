/**
 * rule - what an optimizer's file includes first; rule_loops.h comes last.
 *
 * In between, a file rules/NAME.c has:
 *
 *     #define RULE_NAME NAME
 *     #define RULE_SLOTS 2           the most state arrays it ever uses
 *     static const struct kv_optim_param params[]   settings, a NULL name last
 *     static unsigned slots(const double *p)        how many with these
 *     struct step                    what update() needs, as reals
 *     static struct step prepare(p, now)            struct kv_optim_now: when
 *     RULE_FN struct elem update(struct elem e, real g, struct step k)
 *
 * and before rule_loops.h, if they are not what most rules have:
 *
 *     #define RULE_LAZY KV_OPTIM_LAZY_CHOICE   how it takes a sparse gradient
 *
 *     #define RULE_PASSES 1          it needs norms of the whole key
 *     #define RULE_NORMS 2           that many a pass
 *     RULE_FN struct norms measure(e, g, k, pass)   what to square
 *     static void absorb(struct step *k, unsigned pass, const double *norm)
 *
 *     #define RULE_ROWS 1            its state is one real a row
 *     #define RULE_NORMS 1
 *     RULE_FN struct norms measure(e, g, k, 0)      what to square
 *     RULE_FN struct elem row(struct elem e, real mean, struct step k)
 *
 *     #define RULE_NOISE 1           it reads e.noise; its step has a
 *                                    `key`, a `limit` and a float `spread`
 *
 *     #define RULE_HEAVY 1           it computes more than it waits
 *
 *     #define RULE_ADDS 1            it does weight + gradient, and nothing
 * else
 *
 * A file is built twice: a real is a float, or, with KV_RULE_F64, a double, for
 * weights of f64.
 *
 * row() changes a row's state by the mean of the squares; update() then only
 * reads it.
 *
 * prepare() runs once an update, in double; pow() and exp() stay there.
 * update() runs once a weight and keeps to + - * / rule_sqrt, rule_abs,
 * selects: those are exact to the last bit everywhere, so a rule gives the same
 * result on every processor. Selects are written so that a NaN passes: it must
 * reach the weight, where it is seen. The files are built without fused
 * multiply-add for the same reason; an update is bound by memory, so that costs
 * nothing.
 *
 * Keep to what C and C++ share, and to branches that are constant or can be a
 * select: a compiler for another device can then read the same file.
 */
#ifndef KV_COMMON_OPTIM_RULE_H
#define KV_COMMON_OPTIM_RULE_H

#include <math.h>
#include <string.h>

#include "common/compute/stream.h"
#include "common/compute/vector.h"
#include "common/optim/optim.h"

#define RULE_FN KV_TEMPLATE

#ifdef KV_RULE_F64
typedef double real;
typedef kv_f64_any rule_any;
#else
typedef float real;
typedef kv_f32_any rule_any;
#endif

RULE_FN real rule_sqrt(real x)
{
    return sizeof x == sizeof(float) ? (real)sqrtf((float)x)
                                     : (real)sqrt((double)x);
}

RULE_FN real rule_abs(real x)
{
    return sizeof x == sizeof(float) ? (real)fabsf((float)x)
                                     : (real)fabs((double)x);
}

/* One weight and its state, by value: a rule cannot reach anything else. */
struct elem {
    real w;
    real s[KV_OPTIM_SLOTS_MAX];
    unsigned slots; /* How many of s count. A constant in each loop. */
    real noise;     /* RULE_NOISE: a normal variate times `spread`. */
};

/* What to take the squares of, for RULE_NORMS. */
struct norms {
    real of[KV_OPTIM_NORMS_MAX];
};

/* clip_gradient as a limit that rule_clip() can always apply: 0 or less is
 * off. */
static inline real rule_limit(double clip)
{
    return clip > 0 ? (real)clip : INFINITY;
}

RULE_FN real rule_clip(real g, real limit)
{
    g = g > limit ? limit : g;
    return g < -limit ? -limit : g;
}

/* -1, 0 or 1, or a NaN. */
RULE_FN real rule_sign(real x)
{
    x = x > 0 ? 1 : x;
    return x < 0 ? -1 : x;
}

/* lower_bound and upper_bound; an upper_bound below 0 is none. */
static inline double rule_bound(double norm, real lower, real upper)
{
    norm = norm < (double)lower ? (double)lower : norm;
    return upper >= 0 && norm > (double)upper ? (double)upper : norm;
}

/* How much the weight's norm outweighs the other; 1 if either is 0. */
static inline real rule_trust(double weight, double other)
{
    return (real)(weight != 0 && other != 0 ? weight / other : 1);
}

#endif
