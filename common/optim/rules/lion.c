/* lion - steps of one size, in the direction of an average that leans on the
 * newest gradient (Chen et al., 2023). Weight decay is decoupled. Not in MXNet.
 */
#include "common/optim/rule.h"

#define RULE_NAME lion
#define RULE_SLOTS 1 /* Average of the gradient. */

enum { LR, BETA1, BETA2, WD, RESCALE, CLIP };

static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 1e-4, 0, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.9, 0, 1},
    {"beta2", NULL, 0.99, 0, 1},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, beta1, beta2, rest1, rest2, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    (void)now;
    k.lr = (real)p[LR];
    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = 1 - k.beta1;
    k.rest2 = 1 - k.beta2;
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real towards;

    g = rule_clip(k.rescale * g, k.limit);
    towards = k.beta1 * e.s[0] + k.rest1 * g;
    e.w = e.w - k.lr * (rule_sign(towards) + k.wd * e.w);
    e.s[0] = k.beta2 * e.s[0] + k.rest2 * g;
    return e;
}

#include "common/optim/rule_loops.h"
