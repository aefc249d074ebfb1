/* adagrad - steps shrink with the sum of the squared gradients (Duchi et al.,
 * 2011). As MXNet 1.9: weight decay is decoupled and not clipped, eps is inside
 * the root. */
#include "common/optim/rule.h"

#define RULE_NAME adagrad
#define RULE_SLOTS 1 /* The sum of squares. */
#define RULE_LAZY KV_OPTIM_LAZY_ALWAYS

enum { LR, EPS, WD, RESCALE, CLIP };

/* Epsilon may not be 0: a weight whose gradient has always been 0 would become
 * 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"eps", NULL, 1e-7, 1e-30, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, eps, wd, rescale, limit;
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
    k.lr = (real)p[LR];
    k.eps = (real)p[EPS];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    g = rule_clip(k.rescale * g, k.limit);
    e.s[0] = e.s[0] + g * g;
    e.w = e.w - k.lr * (g / rule_sqrt(e.s[0] + k.eps) + k.wd * e.w);
    return e;
}

#include "common/optim/rule_loops.h"
