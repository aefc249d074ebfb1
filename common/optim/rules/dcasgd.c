/* dcasgd - sgd that corrects for late gradients, made for dist_async (Zheng et
 * al., 2016). The weight has moved since the gradient was taken; how much
 * that changed the gradient is estimated from its square. As MXNet 1.9. */
#include "common/optim/rule.h"

#define RULE_NAME dcasgd
#define RULE_SLOTS                                                             \
    2 /* Velocity if there is momentum; then the weight before. */

enum { LR, MOMENTUM, LAMDA, WD, RESCALE, CLIP };

static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"momentum", NULL, 0, 0, 1},
    {"lamda", NULL, 0.04, 0, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, momentum, lamda, wd, rescale, limit, fresh;
};

static unsigned slots(const double *p)
{
    return p[MOMENTUM] != 0 ? 2 : 1;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    k.lr = (real)p[LR];
    k.momentum = (real)p[MOMENTUM];
    k.lamda = (real)p[LAMDA];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    k.fresh = now->fresh ? 1 : 0;
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real now = e.w, before = e.slots > 1 ? e.s[1] : e.s[0], move;

    /* Before the first update the weight before is this one, not 0. */
    before = k.fresh != 0 ? now : before;
    g = rule_clip(k.rescale * g, k.limit);
    move = -k.lr * (g + k.wd * now + k.lamda * g * g * (now - before));
    if (e.slots > 1) {
        move = k.momentum * e.s[0] + move;
        e.s[0] = move;
        e.s[1] = now;
    } else {
        e.s[0] = now;
    }
    e.w = now + move;
    return e;
}

#include "common/optim/rule_loops.h"
