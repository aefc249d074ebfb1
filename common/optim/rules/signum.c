/* signum - steps of one size, in the direction of the gradient's average or,
 * without momentum, of the gradient (Bernstein et al., 2018). As MXNet 1.9.
 * Without momentum neither clip_gradient nor the size of rescale_grad can
 * matter, and wd is decoupled as wd_lh is: MXNet refuses wd_lh there. A
 * negative rescale_grad turns the step around, which MXNet forgets. */
#include "common/optim/rule.h"

#ifndef RULE_NAME
#define RULE_NAME signum
#define SIGNUM_MOMENTUM 0.9
#endif
#define RULE_SLOTS 1 /* The negative average; none without momentum. */

enum { LR, MOMENTUM, WD_LH, WD, RESCALE, CLIP };

static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"momentum", NULL, SIGNUM_MOMENTUM, 0, 1},
    {"wd_lh", NULL, 0, 0, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, momentum, rest, rest_wd, keep, rescale, limit;
};

static unsigned slots(const double *p)
{
    return p[MOMENTUM] != 0 ? 1 : 0;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    (void)now;
    k.lr = (real)p[LR];
    k.momentum = (real)p[MOMENTUM];
    k.rest = 1 - k.momentum;
    k.rest_wd = k.rest * (real)p[WD];
    k.keep = 1 - k.lr * (real)(p[WD_LH] + (slots(p) == 0 ? p[WD] : 0));
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    if (e.slots == 0) {
        /* Unscaled: a small gradient must not vanish on the way. */
        real towards = k.rescale * rule_sign(g);

        e.w = k.keep * e.w - k.lr * rule_sign(towards);
        return e;
    }
    e.s[0] = k.momentum * e.s[0] - k.rest_wd * e.w -
             k.rest * rule_clip(k.rescale * g, k.limit);
    e.w = k.keep * e.w + k.lr * rule_sign(e.s[0]);
    return e;
}

#include "common/optim/rule_loops.h"
