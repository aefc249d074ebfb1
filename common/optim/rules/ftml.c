/* ftml - follow the moving leader: between rmsprop and adam (Zheng & Kwok,
 * 2017). As MXNet 1.9: weight decay is added to the gradient, then both are
 * clipped. */
#include "common/optim/rule.h"

#define RULE_NAME ftml
#define RULE_SLOTS 3 /* d, the strength of the hold; v, second moment; z. */

enum { LR, BETA1, BETA2, EPSILON, WD, RESCALE, CLIP };

/* The learning rate divides. The largest beta is the last that f32 tells from
 * 1. Epsilon may not be 0: a weight whose gradient has always been 0 would
 * become 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 1e-30, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.6, 0, 0.9999999},
    {"beta2", NULL, 0.999, 0, 0.9999999},
    {"epsilon", NULL, 1e-8, 1e-30, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real unbias1_lr, unbias2; /* 1 less the powers of the betas. */
    real beta1, beta2, rest1, rest2, epsilon, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = 1 - k.beta1;
    k.rest2 = 1 - k.beta2;

    /* Of the betas as f32 has them, or the averages would stay biased. */
    k.unbias1_lr = (real)((1 - pow((double)k.beta1, (double)now->t)) / p[LR]);
    k.unbias2 = (real)(1 - pow((double)k.beta2, (double)now->t));
    k.epsilon = (real)p[EPSILON];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real d;

    g = rule_clip(k.rescale * g + k.wd * e.w, k.limit);
    e.s[1] = k.beta2 * e.s[1] + k.rest2 * (g * g);
    d = k.unbias1_lr * (rule_sqrt(e.s[1] / k.unbias2) + k.epsilon);
    e.s[2] = k.beta1 * e.s[2] + k.rest1 * g - (d - k.beta1 * e.s[0]) * e.w;
    e.s[0] = d;
    e.w = -e.s[2] / d;
    return e;
}

#include "common/optim/rule_loops.h"
