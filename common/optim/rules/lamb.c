/* lamb - adam with decoupled weight decay whose step is scaled for each key to
 * the size of its weights (You et al., 2019). As MXNet 1.9, over the whole key.
 */
#include "common/optim/rule.h"

#define RULE_NAME lamb
#define RULE_SLOTS 2 /* First and second moment. */
#define RULE_HEAVY 1
#define RULE_PASSES 1
#define RULE_NORMS 2 /* Weight and step. */

enum { LR, BETA1, BETA2, EPSILON, LOWER, UPPER, UNBIAS, WD, RESCALE, CLIP };

/* Bounds of the weight's norm; below 0 there is none. Epsilon may not be 0: a
 * weight whose gradient has always been 0 would become 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.001, 0, KV_OPTIM_HUGE},
    {"beta1", NULL, 0.9, 0, 0.9999999},
    {"beta2", NULL, 0.999, 0, 0.9999999},
    {"epsilon", NULL, 1e-6, 1e-30, KV_OPTIM_HUGE},
    {"lower_bound", NULL, -1, -1, KV_OPTIM_HUGE},
    {"upper_bound", NULL, -1, -1, KV_OPTIM_HUGE},
    {"bias_correction", NULL, 1, 0, 1},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, beta1, beta2, rest1, rest2, unbias1, unbias2, epsilon, wd;
    real rescale, limit, lower, upper;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    double t = p[UNBIAS] != 0 ? (double)now->t : INFINITY;
    struct step k;

    k.lr = (real)p[LR];
    k.beta1 = (real)p[BETA1];
    k.beta2 = (real)p[BETA2];
    k.rest1 = 1 - k.beta1;
    k.rest2 = 1 - k.beta2;
    k.unbias1 = (real)(1 - pow(p[BETA1], t));
    k.unbias2 = (real)(1 - pow(p[BETA2], t));
    k.epsilon = (real)p[EPSILON];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    k.lower = (real)p[LOWER];
    k.upper = (real)p[UPPER];
    return k;
}

RULE_FN struct elem moments(struct elem e, real g, struct step k)
{
    g = rule_clip(k.rescale * g, k.limit);
    e.s[0] = k.beta1 * e.s[0] + k.rest1 * g;
    e.s[1] = k.beta2 * e.s[1] + k.rest2 * (g * g);
    return e;
}

RULE_FN real towards(struct elem e, struct step k)
{
    real mean = e.s[0] / k.unbias1;

    return mean / (rule_sqrt(e.s[1] / k.unbias2) + k.epsilon) + k.wd * e.w;
}

RULE_FN struct norms measure(struct elem e, real g, struct step k,
                             unsigned pass)
{
    struct norms n = {{e.w, towards(moments(e, g, k), k)}};

    (void)pass;
    return n;
}

static void absorb(struct step *k, unsigned pass, const double *norm)
{
    (void)pass;
    k->lr *= rule_trust(rule_bound(norm[0], k->lower, k->upper), norm[1]);
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    e = moments(e, g, k);
    e.w = e.w - k.lr * towards(e, k);
    return e;
}

#include "common/optim/rule_loops.h"
