/* lans - lamb with the key's gradient scaled to length 1, and Nesterov's look
 * ahead: two directions, each scaled to the size of the weights (Zheng et al.,
 * 2020). As MXNet 2.0, over the whole key; a gradient of 0 is left at 0. */
#include "common/optim/rule.h"

#define RULE_NAME lans
#define RULE_SLOTS 2 /* First and second moment. */
#define RULE_HEAVY 1
#define RULE_PASSES 2
#define RULE_NORMS 3 /* Gradient; then weight and both directions. */

enum { LR, BETA1, BETA2, EPSILON, LOWER, UPPER, WD, RESCALE, CLIP };

/* Bounds of the weight's norm; below 0 there is none. Epsilon may not be 0: a
 * weight whose gradient has always been 0 would become 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.001, 0, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.9, 0, 0.9999999},
    {"beta2", NULL, 0.999, 0, 0.9999999},
    {"epsilon", NULL, 1e-6, 1e-30, KV_OPTIM_HUGE},
    {"lower_bound", NULL, -1, -1, KV_OPTIM_HUGE},
    {"upper_bound", NULL, -1, -1, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real by_moment, by_gradient; /* Learning rates of the two directions. */
    /* MXNet divides by what unbias1 and unbias2 are the inverse of. */
    real beta1, beta2, rest1, rest2, unbias1, unbias2, epsilon, wd;
    real rescale, length, limit, lower, upper;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k;

    k.by_moment = (real)(p[LR] * p[BETA1]);
    k.by_gradient = (real)(p[LR] * (1 - p[BETA1]));
    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = 1 - k.beta1;
    k.rest2 = 1 - k.beta2;
    k.unbias1 = (real)(1 / (1 - pow(p[BETA1], (double)now->t)));
    k.unbias2 = (real)(1 / (1 - pow(p[BETA2], (double)now->t)));
    k.epsilon = (real)p[EPSILON];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.length = 1;
    k.limit = rule_limit(p[CLIP]);
    k.lower = (real)p[LOWER];
    k.upper = (real)p[UPPER];
    return k;
}

/* Both directions, and the moments in between. */
struct look {
    struct elem e;
    real moment, gradient;
};

RULE_FN struct look look(struct elem e, real g, struct step k)
{
    struct look l;
    real scale;

    g = rule_clip(k.rescale * g / k.length, k.limit);
    e.s[0] = k.beta1 * e.s[0] + k.rest1 * g;
    e.s[1] = k.beta2 * e.s[1] + k.rest2 * (g * g);
    scale = rule_sqrt(e.s[1] * k.unbias2) + k.epsilon;
    l.e = e;
    l.moment = e.s[0] * k.unbias1 / scale + k.wd * e.w;
    l.gradient = g / scale + k.wd * e.w;
    return l;
}

RULE_FN struct norms measure(struct elem e, real g, struct step k,
                             unsigned pass)
{
    struct norms n = {{k.rescale * g, 0, 0}};

    if (pass > 0) {
        struct look l = look(e, g, k);

        n.of[0] = e.w;
        n.of[1] = l.moment;
        n.of[2] = l.gradient;
    }
    return n;
}

static void absorb(struct step *k, unsigned pass, const double *norm)
{
    if (pass == 0) {
        k->length = norm[0] != 0 ? (real)norm[0] : 1;
    } else {
        double weight = rule_bound(norm[0], k->lower, k->upper);

        k->by_moment *= rule_trust(weight, norm[1]);
        k->by_gradient *= rule_trust(weight, norm[2]);
    }
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    struct look l = look(e, g, k);

    l.e.w = e.w - (k.by_moment * l.moment + k.by_gradient * l.gradient);
    return l.e;
}

#include "common/optim/rule_loops.h"
