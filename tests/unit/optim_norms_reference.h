/**
 * optim_norms_reference - lars, lamb and lans once more: their papers' formulas
 * over a whole key, in double.
 */
#ifndef KV_TESTS_UNIT_OPTIM_NORMS_REFERENCE_H
#define KV_TESTS_UNIT_OPTIM_NORMS_REFERENCE_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/optim/optim.h"

#define WHOLE_MAX 8192

/* A key: its weights, state, and what a step needs on the way. */
struct whole {
    size_t count;
    double t; /* Updates, with this one. */
    double w[WHOLE_MAX], m[WHOLE_MAX], v[WHOLE_MAX];
    double d1[WHOLE_MAX], d2[WHOLE_MAX];
};

static inline void whole_start(struct whole *k, const float *weight,
                               size_t count)
{
    memset(k, 0, sizeof *k);
    k->count = count;
    for (size_t i = 0; i < count; i++) {
        k->w[i] = (double)weight[i];
    }
}

static inline double whole_param(const struct kv_optim_spec *s,
                                 const char *name)
{
    return s->params[kv_optim_param_index(s->optim, name)];
}

static inline double whole_clip(double g, double limit)
{
    return limit <= 0 ? g : fmin(fmax(g, -limit), limit);
}

static inline double whole_length(const double *x, size_t count)
{
    long double sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += (long double)x[i] * (long double)x[i];
    }
    return (double)sqrtl(sum);
}

static inline double whole_ratio(double weight, double other)
{
    return weight > 0 && other > 0 ? weight / other : 1;
}

/* Rows without a gradient keep their weights and state, if the spec is lazy:
 * `moves` says which elements have one; NULL: all. */
static inline void whole_lars(struct whole *k, const struct kv_optim_spec *s,
                              const float *gradient, const unsigned char *moves)
{
    double lr = whole_param(s, "lr"), wd = whole_param(s, "wd"), wn, gn;

    for (size_t i = 0; i < k->count; i++) {
        k->d1[i] = whole_param(s, "rescale_grad") * (double)gradient[i];
    }
    wn = whole_length(k->w, k->count);
    gn = whole_length(k->d1, k->count);
    if (wn > 0 && gn > 0) {
        lr *= whole_param(s, "eta") * wn /
              (gn + wd * wn + whole_param(s, "epsilon"));
    }
    for (size_t i = 0; i < k->count; i++) {
        double g = whole_clip(k->d1[i], whole_param(s, "clip_gradient"));

        if (moves == NULL || moves[i] != 0 || s->lazy_update == 0) {
            k->m[i] =
                whole_param(s, "momentum") * k->m[i] - lr * (g + wd * k->w[i]);
            k->w[i] += k->m[i];
        }
    }
}

/* Moments as adam's, of g / by; the weight's norm. */
static inline double whole_moments(struct whole *k,
                                   const struct kv_optim_spec *s,
                                   const float *gradient, double by)
{
    for (size_t i = 0; i < k->count; i++) {
        double g = whole_clip(whole_param(s, "rescale_grad") *
                                  (double)gradient[i] / by,
                              whole_param(s, "clip_gradient"));

        k->m[i] += (1 - whole_param(s, "beta1")) * (g - k->m[i]);
        k->v[i] += (1 - whole_param(s, "beta2")) * (g * g - k->v[i]);
        k->d2[i] = g;
    }
    return whole_length(k->w, k->count);
}

static inline double whole_unbiased(double beta, double t)
{
    return 1 - pow(beta, t);
}

static inline void whole_lamb(struct whole *k, const struct kv_optim_spec *s,
                              const float *gradient)
{
    double wn = whole_moments(k, s, gradient, 1), scale;
    double c1 = whole_unbiased(whole_param(s, "beta1"), k->t);
    double c2 = whole_unbiased(whole_param(s, "beta2"), k->t);

    for (size_t i = 0; i < k->count; i++) {
        k->d1[i] =
            k->m[i] / c1 / (sqrt(k->v[i] / c2) + whole_param(s, "epsilon")) +
            whole_param(s, "wd") * k->w[i];
    }
    scale =
        whole_param(s, "lr") * whole_ratio(wn, whole_length(k->d1, k->count));
    for (size_t i = 0; i < k->count; i++) {
        k->w[i] -= scale * k->d1[i];
    }
}

static inline void whole_lans(struct whole *k, const struct kv_optim_spec *s,
                              const float *gradient)
{
    double c1 = whole_unbiased(whole_param(s, "beta1"), k->t);
    double c2 = whole_unbiased(whole_param(s, "beta2"), k->t);
    double beta1 = whole_param(s, "beta1"), lr = whole_param(s, "lr");
    double wn, gn, by_m, by_g;

    for (size_t i = 0; i < k->count; i++) {
        k->d1[i] = whole_param(s, "rescale_grad") * (double)gradient[i];
    }
    gn = whole_length(k->d1, k->count);
    wn = whole_moments(k, s, gradient, gn > 0 ? gn : 1);
    for (size_t i = 0; i < k->count; i++) {
        double scale = sqrt(k->v[i] / c2) + whole_param(s, "epsilon");

        k->d1[i] = k->m[i] / c1 / scale + whole_param(s, "wd") * k->w[i];
        k->d2[i] = k->d2[i] / scale + whole_param(s, "wd") * k->w[i];
    }
    by_m = lr * beta1 * whole_ratio(wn, whole_length(k->d1, k->count));
    by_g = lr * (1 - beta1) * whole_ratio(wn, whole_length(k->d2, k->count));
    for (size_t i = 0; i < k->count; i++) {
        k->w[i] -= by_m * k->d1[i] + by_g * k->d2[i];
    }
}

/* The next update, by the optimizer's own formula. */
static inline void whole_update(struct whole *k, const struct kv_optim_spec *s,
                                const float *gradient,
                                const unsigned char *moves)
{
    k->t++;
    if (strcmp(s->optim->name, "lars") == 0) {
        whole_lars(k, s, gradient, moves);
    } else if (strcmp(s->optim->name, "lamb") == 0) {
        whole_lamb(k, s, gradient);
    } else {
        whole_lans(k, s, gradient);
    }
}

/* MXNet's own grid of options, with momentum where there is one. */
#define WHOLE_GRID ((size_t)3 * 3 * 4 * 4)

static inline const char *whole_grid(char *text, size_t size, size_t i)
{
    static const char *const clips[] = {"", ",clip_gradient=0.4",
                                        ",clip_gradient=0.5"};
    static const char *const rules[][2] = {
        {"lamb", "lr=0.1"},
        {"lans", "lr=0.1"},
        {"lars", "lr=2,eta=0.1"},
        {"lars", "lr=2,eta=0.1,momentum=0.9"}};
    static const double rescales[] = {1, 0.14, 0.8};
    static const double decays[] = {0, 0.03, 0.05, 0.07};

    snprintf(text, size, "%s,rescale_grad=%g,wd=%g%s", rules[i % 4][1],
             rescales[i / 4 % 3], decays[i / 12 % 4], clips[i / 48]);
    return rules[i % 4][0];
}

/* Adam's kind of quotient enlarges f32's rounding where a moment is near 0. */
static inline double whole_tolerance(const char *name)
{
    return strcmp(name, "lars") == 0 ? 2e-6 : 2e-5;
}

#endif
