/* adam - moments of the gradient set each weight's step (Kingma & Ba, 2015).
 * As MXNet 1.9: weight decay is added to the gradient, then both are clipped;
 * epsilon is added to the root of the uncorrected second moment. */
#include "common/optim/rule.h"

#define RULE_NAME adam
#define RULE_SLOTS 2 /* First and second moment. */
#define RULE_LAZY KV_OPTIM_LAZY_CHOICE

enum { LR, BETA1, BETA2, EPSILON, WD, RESCALE, CLIP };

/* The largest beta is the last that f32 tells from 1. Epsilon may not be 0: a
 * weight whose gradient has always been 0 would become 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.001, 0, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.9, 0, 0.9999999},
    {"beta2", NULL, 0.999, 0, 0.9999999},
    {"epsilon", NULL, 1e-8, 1e-30, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, beta1, beta2, rest1, rest2, epsilon, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    double unbias1 = 1 - pow(p[BETA1], (double)now->t);
    double unbias2 = 1 - pow(p[BETA2], (double)now->t);
    struct step k;

    k.lr = (real)(p[LR] * sqrt(unbias2) / unbias1);
    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = 1 - k.beta1;
    k.rest2 = 1 - k.beta2;
    k.epsilon = (real)p[EPSILON];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    g = rule_clip(k.rescale * g + k.wd * e.w, k.limit);
    e.s[0] = k.beta1 * e.s[0] + k.rest1 * g;
    e.s[1] = k.beta2 * e.s[1] + k.rest2 * (g * g);
    e.w = e.w - k.lr * e.s[0] / (rule_sqrt(e.s[1]) + k.epsilon);
    return e;
}

#include "common/optim/rule_loops.h"
