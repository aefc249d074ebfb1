/* nadam - adam with Nesterov's momentum, which warms up (Dozat, 2016). As MXNet
 * 1.9: weight decay is added to the gradient, then both are clipped.
 * The schedule's product is this key's own. MXNet has one for all keys and
 * multiplies it at each key's update, so that a model of many keys leaves its
 * warm-up at once. */
#include "common/optim/rule.h"

#define RULE_NAME nadam
#define RULE_SLOTS 2 /* First and second moment. */

enum { LR, BETA1, BETA2, EPSILON, DECAY, WD, RESCALE, CLIP };

/* The largest beta is the last that f32 tells from 1. Epsilon may not be 0: a
 * weight whose gradient has always been 0 would become 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.001, 0, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.9, 0, 0.9999999},
    {"beta2", NULL, 0.999, 0, 0.9999999},
    {"epsilon", NULL, 1e-8, 1e-30, KV_OPTIM_HUGE},
    {"schedule_decay", NULL, 0.004, 0, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, beta1, beta2, rest1, rest2, epsilon, wd, rescale, limit;
    real now, next; /* Momentum of this update and the next. */
    real unbias, unbias_next, unbias2;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

/* Momentum warms up from beta1 / 2 to beta1. */
static double momentum(const double *p, double t)
{
    return p[BETA1] * (1 - 0.5 * pow(0.96, t * p[DECAY]));
}

/* The product of the momenta 1 to t: the power of beta1, and the warm-up, whose
 * factors soon are 1 or have made it 0. */
static double schedule(const double *p, uint64_t t)
{
    double factor = pow(0.96, p[DECAY]), missing = 0.5, warm = 1;

    for (uint64_t i = 1; i <= t && missing > 1e-17 && warm > 1e-20; i++) {
        missing *= factor;
        warm *= 1 - missing;
    }
    return pow(p[BETA1], (double)t) * warm;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    double t = (double)now->t, product = schedule(p, now->t);
    struct step k;

    k.lr = (real)p[LR];
    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = (real)(1 - p[BETA1]);
    k.rest2 = (real)(1 - p[BETA2]);
    k.epsilon = (real)p[EPSILON];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    k.now = (real)(1 - momentum(p, t));
    k.next = (real)momentum(p, t + 1);
    k.unbias = (real)(1 - product);
    k.unbias_next = (real)(1 - product * momentum(p, t + 1));
    k.unbias2 = (real)(1 - pow(p[BETA2], t));
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real towards;

    g = rule_clip(k.rescale * g + k.wd * e.w, k.limit);
    e.s[0] = k.beta1 * e.s[0] + k.rest1 * g;
    e.s[1] = k.beta2 * e.s[1] + k.rest2 * g * g;
    towards = k.now * (g / k.unbias) + k.next * (e.s[0] / k.unbias_next);
    e.w = e.w - k.lr * towards / (rule_sqrt(e.s[1] / k.unbias2) + k.epsilon);
    return e;
}

#include "common/optim/rule_loops.h"
