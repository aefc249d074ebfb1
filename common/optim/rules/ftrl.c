/* ftrl - follow the regularized leader: adagrad's steps, and weights that are
 * exactly 0 until they matter (McMahan et al., 2013). As MXNet 1.9: weight
 * decay is its L2 regularization. The weight is computed from the state alone,
 * so the one a key begins with counts only in the first update. */
#include "common/optim/rule.h"

#define RULE_NAME ftrl
#define RULE_SLOTS 2 /* z, the sum of adjusted gradients; n, of squares. */
#define RULE_HEAVY 1
#define RULE_LAZY KV_OPTIM_LAZY_ALWAYS

enum { LR, LAMDA1, BETA, WD, RESCALE, CLIP };

/* The learning rate divides. */
static const struct kv_optim_param params[] = {
    {"learning_rate", "lr", 0.1, 1e-30, KV_OPTIM_HUGE},
    {"lamda1", NULL, 0.01, 0, KV_OPTIM_HUGE},
    {"beta", NULL, 1, 0, KV_OPTIM_HUGE},
    {"wd", NULL, 0, 0, KV_OPTIM_HUGE},
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {"clip_gradient", NULL, -1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real lr, lamda1, beta, wd, rescale, limit;
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
    k.lamda1 = (real)p[LAMDA1];
    k.beta = (real)p[BETA];
    k.wd = (real)p[WD];
    k.rescale = (real)p[RESCALE];
    k.limit = rule_limit(p[CLIP]);
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    real n, root;

    g = rule_clip(k.rescale * g, k.limit);
    n = e.s[1] + g * g;
    root = rule_sqrt(n);
    e.s[0] = e.s[0] + (g - (root - rule_sqrt(e.s[1])) * e.w / k.lr);
    e.s[1] = n;
    e.w = (rule_sign(e.s[0]) * k.lamda1 - e.s[0]) /
          ((k.beta + root) / k.lr + k.wd);
    e.w = rule_abs(e.s[0]) <= k.lamda1 ? 0 : e.w;
    return e;
}

#include "common/optim/rule_loops.h"
