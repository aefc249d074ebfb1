/* adadelta - steps as large as the steps so far, no learning rate (Zeiler,
 * 2012). As MXNet 1.9: weight decay is decoupled, and as there is no learning
 * rate either, wd is the part of each weight that every update takes away. */
#include "common/optim/rule.h"

#define RULE_NAME adadelta
#define RULE_SLOTS 2 /* Averages of the squares of gradient and step. */

enum { RHO, EPSILON, WD, RESCALE, CLIP };

/* Epsilon may not be 0: a weight whose gradient has always been 0 would become
 * 0/0. */
static const struct kv_optim_param params[] = {
    {"rho", NULL, 0.9, 0, 1},
    {"epsilon", NULL, 1e-5, 1e-30, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real rho, rest, epsilon, wd, rescale, limit;
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
    k.rho = (real)p[RHO];
    k.rest = (real)(1 - p[RHO]);
    k.epsilon = (real)p[EPSILON];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real move;

    g = rule_clip(k.rescale * g, k.limit);
    e.s[0] = k.rho * e.s[0] + k.rest * g * g;
    move = rule_sqrt(e.s[1] + k.epsilon) / rule_sqrt(e.s[0] + k.epsilon) * g;
    e.s[1] = k.rho * e.s[1] + k.rest * move * move;
    e.w = e.w - (move + k.wd * e.w);
    return e;
}

#include "common/optim/rule_loops.h"
