/* adamax - adam whose steps are bounded by the largest gradient of late (Kingma
 * & Ba, 2015). As MXNet 1.9: weight decay is added to the gradient, then both
 * are clipped; there is no epsilon. A weight that has never had a gradient
 * stays where it is; MXNet makes it 0/0. */
#include "common/optim/rule.h"

#define RULE_NAME adamax
#define RULE_SLOTS 2 /* First moment; the largest gradient. */

enum { LR, BETA1, BETA2, WD, RESCALE, CLIP };

/* The largest beta is the last that f32 tells from 1. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.002, 0, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.9, 0, 0.9999999},
    {"beta2", NULL, 0.999, 0, 0.9999999},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, beta1, beta2, rest1, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    k.lr = (real)(p[LR] / (1 - pow(p[BETA1], (double)now->t)));
    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = (real)(1 - p[BETA1]);
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real largest, size;

    g = rule_clip(k.rescale * g + k.wd * e.w, k.limit);
    size = rule_abs(g);
    largest = k.beta2 * e.s[1];
    e.s[0] = k.beta1 * e.s[0] + k.rest1 * g;
    e.s[1] = largest > size ? largest : size;
    e.w = e.s[1] == 0 ? e.w : e.w - k.lr * e.s[0] / e.s[1];
    return e;
}

#include "common/optim/rule_loops.h"
