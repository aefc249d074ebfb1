/* test - adds the gradient to the weight, as MXNet 1.9's optimizer of that name
 * does for tests of the store itself. */
#include "common/optim/rule.h"

#define RULE_NAME test
#define RULE_SLOTS 1 /* A copy of the weight. */

enum { RESCALE };

static const struct kv_optim_param params[] = {
    {"rescale_grad", NULL, 1, -KV_OPTIM_HUGE, KV_OPTIM_HUGE},
    {NULL, NULL, 0, 0, 0},
};

struct step {
    real rescale;
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
    k.rescale = (real)p[RESCALE];
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    e.w = e.w + g * k.rescale;
    e.s[0] = e.w;
    return e;
}

#include "common/optim/rule_loops.h"
