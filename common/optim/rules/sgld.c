/* sgld - stochastic gradient Langevin dynamics: half a step of sgd, and noise,
 * so that weights are samples of their posterior (Welling and Teh, 2011). As
 * MXNet 1.9, but for where the noise comes from: see noise.h. */
#include "common/optim/noise.h"
#include "common/optim/rule.h"

#define RULE_NAME sgld
#define RULE_SLOTS 0
#define RULE_HEAVY 1
#define RULE_NOISE 1

enum { LR, SEED, WD, RESCALE, CLIP };

static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"seed", NULL, 0, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    struct noise_words key;
    float spread;
    real half, wd, rescale, limit;
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    uint64_t seed; /* Any number is one: its bits. */
    struct step k;

    memcpy(&seed, &p[SEED], sizeof seed);
    k.key = noise_key(seed, now->key, now->t);
    k.spread = (float)sqrt(p[LR]);
    k.half = (real)(p[LR] / 2);
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    g = rule_clip(k.rescale * g, k.limit) + k.wd * e.w;
    e.w = e.w - k.half * g + e.noise;
    return e;
}

#include "common/optim/rule_loops.h"
