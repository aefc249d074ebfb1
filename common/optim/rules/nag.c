/* nag - Nesterov's accelerated gradient (Sutskever et al., 2013). Without
 * momentum it is sgd, and rounds as that does.
 * As MXNet 1.9, but for a slip in its kernel: that overwrites the weight before
 * it decays the velocity by it. Here both decays see the old weight. */
#include "common/optim/rule.h"

#define RULE_NAME nag
#define RULE_SLOTS 1 /* Velocity; none without momentum. */

enum { LR, MOMENTUM, WD, RESCALE, CLIP };

static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"momentum", NULL, 0, 0, 1},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, momentum, ahead, wd, keep, rescale, limit;
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
    k.ahead = k.momentum + 1;
    k.wd = (real)p[WD];
    k.keep = 1 - k.lr * k.wd;
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real coast;

    g = rule_clip(k.rescale * g, k.limit);
    if (e.slots == 0) {
        e.w = k.keep * e.w - k.lr * g;
        return e;
    }
    coast = k.momentum * e.s[0];
    e.s[0] = coast - k.lr * (g + k.wd * e.w);
    e.w = e.w - coast + k.ahead * e.s[0];
    return e;
}

#include "common/optim/rule_loops.h"
