/* rmsprop - steps relative to the root of the mean square of the gradient
 * (Tieleman & Hinton, 2012), or with centered=1 to its deviation, and then with
 * momentum gamma2 (Graves, 2013). As MXNet 1.9: weight decay is added to the
 * gradient, then both are clipped; epsilon is inside the root. Where rounding
 * makes the variance negative it counts as 0; MXNet takes the root of that. */
#include "common/optim/rule.h"

#define RULE_NAME rmsprop
#define RULE_SLOTS 3 /* Mean square; if centered also mean and velocity. */

enum { LR, GAMMA1, GAMMA2, EPSILON, CENTERED, CLIP_WEIGHTS, WD, RESCALE, CLIP };

/* Epsilon may not be 0: a weight whose gradient has always been 0 would become
 * 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.001, 0, KV_OPTIM_HUGE},
    {"gamma1", NULL, 0.9, 0, 1},
    {"gamma2", NULL, 0.9, 0, 1},
    {"epsilon", NULL, 1e-8, 1e-30, KV_OPTIM_HUGE},
    {"centered", NULL, 0, 0, 1},
    {"clip_weights", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, gamma1, gamma2, rest, epsilon, bound, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    return p[CENTERED] != 0 ? 3 : 1;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    (void)now;
    k.lr = (real)p[LR];
    k.gamma1 = (real)p[GAMMA1];
    k.gamma2 = (real)p[GAMMA2];
    k.rest = 1 - k.gamma1;
    k.epsilon = (real)p[EPSILON];
    k.bound = rule_limit(p[CLIP_WEIGHTS]);
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    g = rule_clip(k.rescale * g + k.wd * e.w, k.limit);
    e.s[0] = k.rest * (g * g) + k.gamma1 * e.s[0];
    if (e.slots == 1) {
        e.w = e.w - k.lr * (g / rule_sqrt(e.s[0] + k.epsilon));
    } else {
        real variance;

        e.s[1] = k.rest * g + k.gamma1 * e.s[1];
        variance = e.s[0] - e.s[1] * e.s[1];
        variance = variance < 0 ? 0 : variance;
        e.s[2] = k.gamma2 * e.s[2] - k.lr * g / rule_sqrt(variance + k.epsilon);
        e.w = e.w + e.s[2];
    }
    e.w = rule_clip(e.w, k.bound);
    return e;
}

#include "common/optim/rule_loops.h"
