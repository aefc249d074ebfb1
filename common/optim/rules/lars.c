/* lars - sgd whose learning rate is scaled for each key by how much its weights
 * outweigh their gradient (You et al., 2017). As MXNet 1.9, over the whole key.
 */
#include "common/optim/rule.h"

#define RULE_NAME lars
#define RULE_SLOTS 1 /* Velocity; none without momentum. */
#define RULE_HEAVY 1
#define RULE_LAZY KV_OPTIM_LAZY_CHOICE
#define RULE_PASSES 1
#define RULE_NORMS 2 /* Weight and gradient. */

enum { LR, MOMENTUM, ETA, EPSILON, CORRECTION, WD, RESCALE, CLIP };

static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"momentum", NULL, 0, 0, 1},
    {"eta", NULL, 0.001, 0, KV_OPTIM_HUGE},
    {"epsilon", NULL, 0, 0, KV_OPTIM_HUGE},
    {"momentum_correction", NULL, 1, 0, 1},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    double rate, eta, decay, epsilon; /* For absorb(); eta below 0: no ratio. */
    real lr, momentum, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    return p[MOMENTUM] != 0 ? 1 : 0;
}

/* The velocity holds learning rates of the past: corrected, it turns with the
 * rate of now. */
static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    double turn =
        p[CORRECTION] != 0 && now->last_lr > 0 ? p[LR] / now->last_lr : 1;
    struct step k;

    k.rate = p[LR];
    k.eta = now->plain ? -1 : p[ETA];
    k.decay = p[WD];
    k.epsilon = p[EPSILON];
    k.lr = (real)p[LR];
    k.momentum = (real)(p[MOMENTUM] * turn);
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct norms measure(struct elem e, real g, struct step k,
                             unsigned pass)
{
    struct norms n = {{e.w, k.rescale * g}};

    (void)pass;
    return n;
}

static void absorb(struct step *k, unsigned pass, const double *norm)
{
    double weight = norm[0], gradient = norm[1];

    (void)pass;
    if (k->eta >= 0 && weight != 0 && gradient != 0) {
        k->lr = (real)(k->rate * k->eta * weight /
                       (gradient + k->decay * weight + k->epsilon));
    }
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real lr_wd = k.lr * k.wd;
    real move = k.lr * rule_clip(k.rescale * g, k.limit);

    if (e.slots == 0) {
        e.w = (1 - lr_wd) * e.w - move;
        return e;
    }
    e.s[0] = k.momentum * e.s[0] - lr_wd * e.w - move;
    e.w = e.w + e.s[0];
    return e;
}

#include "common/optim/rule_loops.h"
