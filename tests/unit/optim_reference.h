/**
 * optim_reference - each optimizer once more: its formula, in double.
 *
 * Written from the formulas that MXNet 1.9 documents, or 2.0 for adamw and
 * adabelief and the paper for lion; not from common/optim/rules. Slow, plain,
 * and in the textbook's order.
 *
 *     G  = clip(rescale * g)           "before": clip before weight decay
 *     GB = clip(rescale * g) + wd * w
 *     GA = clip(rescale * g + wd * w)  "after"
 */
#ifndef KV_TESTS_UNIT_OPTIM_REFERENCE_H
#define KV_TESTS_UNIT_OPTIM_REFERENCE_H

#include "tests/unit/optim_fixture.h"

/* The numbers of a spec, by what they mean; 0 where it has none. */
struct hyper {
    double lr, wd, rescale, clip, momentum, beta1, beta2, eps;
    double wd_lh, lamda, rho, decay, lamda1, beta, gamma1, gamma2, bound;
    bool centered, unbias;
};

struct reference_weight {
    double w, a, b, c; /* The weight; its state, in MXNet's order. */
    double t;          /* Updates, with this one. */
    bool unsure;       /* So near a jump that f32 may be on its other side. */
};

typedef void (*reference_fn)(struct reference_weight *r, double g,
                             const struct hyper *h);

/* --- Pieces --------------------------------------------------------------- */

static inline double number(const struct kv_optim_spec *s, const char *name)
{
    return has_param(s, name) ? param(s, name) : 0;
}

static inline struct hyper hyper_of(const struct kv_optim_spec *s)
{
    return (struct hyper){
        .lr = number(s, "learning_rate"),
        .wd = number(s, "wd"),
        .rescale = number(s, "rescale_grad"),
        .clip = number(s, "clip_gradient"),
        .momentum = number(s, "momentum"),
        .beta1 = number(s, "beta1"),
        .beta2 = number(s, "beta2"),
        .eps = number(s, "epsilon") + number(s, "eps"),
        .wd_lh = number(s, "wd_lh"),
        .lamda = number(s, "lamda"),
        .rho = number(s, "rho"),
        .decay = number(s, "schedule_decay"),
        .lamda1 = number(s, "lamda1"),
        .beta = number(s, "beta"),
        .gamma1 = number(s, "gamma1"),
        .gamma2 = number(s, "gamma2"),
        .bound = number(s, "clip_weights"),
        .centered = number(s, "centered") != 0,
        .unbias = number(s, "correct_bias") != 0,
    };
}

static inline double clipped(double x, double limit)
{
    return limit <= 0 ? x : fmin(fmax(x, -limit), limit);
}

static inline double plain(double g, const struct hyper *h)
{
    return clipped(h->rescale * g, h->clip);
}

static inline double before(double w, double g, const struct hyper *h)
{
    return clipped(h->rescale * g, h->clip) + h->wd * w;
}

static inline double after(double w, double g, const struct hyper *h)
{
    return clipped(h->rescale * g + h->wd * w, h->clip);
}

static inline double sign_of(struct reference_weight *r, double x)
{
    r->unsure = x != 0 && fabs(x) < 1e-6;
    return (x > 0) - (x < 0);
}

static inline void average(double *old, double rate, double now)
{
    *old = rate * *old + (1 - rate) * now;
}

static inline double adams_lr(double t, const struct hyper *h)
{
    return h->lr * sqrt(1 - pow(h->beta2, t)) / (1 - pow(h->beta1, t));
}

/* --- By the gradient or its sign ------------------------------------------ */

static inline void reference_sgd(struct reference_weight *r, double g,
                                 const struct hyper *h)
{
    r->a = h->momentum * r->a - h->lr * before(r->w, g, h);
    r->w += r->a;
}

static inline void reference_nag(struct reference_weight *r, double g,
                                 const struct hyper *h)
{
    double move = h->lr * before(r->w, g, h);

    r->a = h->momentum * r->a - move;
    r->w += h->momentum * r->a - move;
}

static inline void reference_signum(struct reference_weight *r, double g,
                                    const struct hyper *h)
{
    if (h->momentum == 0) {
        r->w = (1 - h->lr * (h->wd + h->wd_lh)) * r->w - h->lr * sign_of(r, g);
        return;
    }
    average(&r->a, h->momentum, -before(r->w, g, h));
    r->w = (1 - h->lr * h->wd_lh) * r->w + h->lr * sign_of(r, r->a);
}

static inline void reference_dcasgd(struct reference_weight *r, double g,
                                    const struct hyper *h)
{
    double past = r->t == 1 ? r->w : r->b, was = r->w;

    g = plain(g, h);
    r->a = h->momentum * r->a -
           h->lr * (g + h->wd * r->w + h->lamda * g * g * (r->w - past));
    r->w += r->a;
    r->b = was;
    if (h->momentum == 0) {
        r->a = was; /* The only state there is. */
    }
}

static inline void reference_lion(struct reference_weight *r, double g,
                                  const struct hyper *h)
{
    double c;

    g = plain(g, h);
    c = h->beta1 * r->a + (1 - h->beta1) * g;
    r->w -= h->lr * (sign_of(r, c) + h->wd * r->w);
    average(&r->a, h->beta2, g);
}

static inline void reference_accumulate(struct reference_weight *r, double g,
                                        const struct hyper *h)
{
    (void)h;
    r->w += g;
}

static inline void reference_test(struct reference_weight *r, double g,
                                  const struct hyper *h)
{
    r->w += h->rescale * g;
    r->a = r->w;
}

/* --- By the squares of the gradients -------------------------------------- */

static inline void reference_adagrad(struct reference_weight *r, double g,
                                     const struct hyper *h)
{
    g = plain(g, h);
    r->a += g * g;
    r->w -= h->lr * (g / sqrt(r->a + h->eps) + h->wd * r->w);
}

static inline void reference_adadelta(struct reference_weight *r, double g,
                                      const struct hyper *h)
{
    double move;

    g = plain(g, h);
    average(&r->a, h->rho, g * g);
    move = sqrt(r->b + h->eps) / sqrt(r->a + h->eps) * g;
    average(&r->b, h->rho, move * move);
    r->w -= move + h->wd * r->w;
}

static inline void reference_rmsprop(struct reference_weight *r, double g,
                                     const struct hyper *h)
{
    g = after(r->w, g, h);
    average(&r->a, h->gamma1, g * g);
    if (h->centered) {
        average(&r->b, h->gamma1, g);
        r->c = h->gamma2 * r->c - h->lr * g / sqrt(r->a - r->b * r->b + h->eps);
        r->w += r->c;
    } else {
        r->w -= h->lr * g / sqrt(r->a + h->eps);
    }
    r->w = clipped(r->w, h->bound);
}

static inline void reference_ftrl(struct reference_weight *r, double g,
                                  const struct hyper *h)
{
    double hold, n;

    g = plain(g, h);
    n = r->b + g * g;
    r->a += g - (sqrt(n) - sqrt(r->b)) / h->lr * r->w;
    r->b = n;
    hold = (h->beta + sqrt(n)) / h->lr + h->wd;
    r->w = -copysign(fmax(fabs(r->a) - h->lamda1, 0), r->a) / hold;
}

static inline void reference_ftml(struct reference_weight *r, double g,
                                  const struct hyper *h)
{
    double d;

    g = after(r->w, g, h);
    average(&r->b, h->beta2, g * g);
    d = (1 - pow(h->beta1, r->t)) / h->lr *
        (sqrt(r->b / (1 - pow(h->beta2, r->t))) + h->eps);
    r->c = h->beta1 * r->c + (1 - h->beta1) * g - (d - h->beta1 * r->a) * r->w;
    r->a = d;
    r->w = -r->c / d;
}

/* --- Adam and its family -------------------------------------------------- */

static inline void reference_adam(struct reference_weight *r, double g,
                                  const struct hyper *h)
{
    g = after(r->w, g, h);
    average(&r->a, h->beta1, g);
    average(&r->b, h->beta2, g * g);
    r->w -= adams_lr(r->t, h) * r->a / (sqrt(r->b) + h->eps);
}

static inline void reference_adamw(struct reference_weight *r, double g,
                                   const struct hyper *h)
{
    double lr = h->unbias ? adams_lr(r->t, h) : h->lr;

    g = plain(g, h);
    average(&r->a, h->beta1, g);
    average(&r->b, h->beta2, g * g);
    r->w -= lr * (r->a / (sqrt(r->b) + h->eps) + h->wd * r->w);
}

static inline void reference_adabelief(struct reference_weight *r, double g,
                                       const struct hyper *h)
{
    double lr = h->unbias ? adams_lr(r->t, h) : h->lr;

    g = after(r->w, g, h);
    average(&r->a, h->beta1, g);
    average(&r->b, h->beta2, (g - r->a) * (g - r->a));
    r->b += h->eps;
    r->w -= lr * r->a / (sqrt(r->b) + h->eps);
}

static inline void reference_adamax(struct reference_weight *r, double g,
                                    const struct hyper *h)
{
    g = after(r->w, g, h);
    average(&r->a, h->beta1, g);
    r->b = fmax(h->beta2 * r->b, fabs(g));
    if (r->b != 0) {
        r->w -= h->lr / (1 - pow(h->beta1, r->t)) * r->a / r->b;
    }
}

static inline double nadams_momentum(double t, const struct hyper *h)
{
    return h->beta1 * (1 - 0.5 * pow(0.96, t * h->decay));
}

/* c, no state of the optimizer, is the product of the momenta so far. */
static inline void reference_nadam(struct reference_weight *r, double g,
                                   const struct hyper *h)
{
    double now = nadams_momentum(r->t, h), next = nadams_momentum(r->t + 1, h);
    double product = (r->t == 1 ? 1 : r->c) * now;

    g = after(r->w, g, h);
    average(&r->a, h->beta1, g);
    average(&r->b, h->beta2, g * g);
    r->c = product;
    r->w -=
        h->lr *
        ((1 - now) * g / (1 - product) + next * r->a / (1 - product * next)) /
        (sqrt(r->b / (1 - pow(h->beta2, r->t))) + h->eps);
}

#endif
