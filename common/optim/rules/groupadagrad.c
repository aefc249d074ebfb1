/* groupadagrad - adagrad with one sum of squares for each row of a matrix, of
 * the row's mean square: little state, for embeddings. As MXNet 1.9:
 * eps is inside the root, and there is no weight decay. */
#include "common/optim/rule.h"

#define RULE_NAME groupadagrad
#define RULE_SLOTS 1 /* The sum of mean squares. */
#define RULE_HEAVY 1
#define RULE_LAZY KV_OPTIM_LAZY_ALWAYS
#define RULE_ROWS 1
#define RULE_NORMS 1 /* Gradient. */

enum { LR, EPS, WD, RESCALE, CLIP };

/* Epsilon may not be 0: a row whose gradient has always been 0 would become
 * 0/0. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.01, 0, KV_OPTIM_HUGE},
    {"eps", NULL, 1e-5, 1e-30, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, 0},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, eps, rescale, limit;
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
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct norms measure(struct elem e, real g, struct step k,
                             unsigned pass)
{
    struct norms n = {{rule_clip(k.rescale * g, k.limit)}};

    (void)e;
    (void)pass;
    return n;
}

RULE_FN struct elem row(struct elem e, real mean, struct step k)
{
    (void)k;
    e.s[0] = e.s[0] + mean;
    return e;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    g = rule_clip(k.rescale * g, k.limit);
    e.w = e.w - k.lr * (g / rule_sqrt(e.s[0] + k.eps));
    return e;
}

#include "common/optim/rule_loops.h"
