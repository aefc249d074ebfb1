/* accumulate - each gradient is added to the weight as it is. What MXNet's
 * stores do with an updater `stored += received`. */
#include "common/optim/rule.h"

#define RULE_NAME accumulate
#define RULE_SLOTS 0
#define RULE_LAZY KV_OPTIM_LAZY_ALWAYS
#define RULE_ADDS 1

static const struct kv_optim_param params[] = {{NULL, NULL, 0, 0, 0}};

struct step {
    char nothing; /* C has no empty struct. */
};

static unsigned slots(const double *p)
{
    (void)p;
    return RULE_SLOTS;
}

static struct step prepare(const double *p, const struct kv_optim_now *now)
{
    struct step k = {0};

    (void)p;
    (void)now;
    return k;
}

RULE_FN struct elem update(struct elem e, real g, struct step k)
{
    (void)k;
    e.w = e.w + g;
    return e;
}

#include "common/optim/rule_loops.h"
