/* sgd - stochastic gradient descent, with heavy-ball momentum if asked for.
 * Rounds where MXNet 1.9 does: weight decay apart from the gradient, and
 * therefore not clipped with it. */
#include "common/optim/rule.h"

#define RULE_NAME sgd
#define RULE_SLOTS 1 /* Velocity; none without momentum. */
#define RULE_LAZY KV_OPTIM_LAZY_CHOICE

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
    real lr, momentum, lr_wd, keep, rescale, limit;
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
    k.lr_wd = k.lr * (real)p[WD];
    k.keep = 1 - k.lr_wd;
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real move = k.lr * rule_clip(k.rescale * g, k.limit);

    if (e.slots == 0) {
        e.w = k.keep * e.w - move;
        return e;
    }
    e.s[0] = k.momentum * e.s[0] - k.lr_wd * e.w - move;
    e.w = e.w + e.s[0];
    return e;
}

#include "common/optim/rule_loops.h"
