#include "common/optim/schedule.h"

#include <math.h>

static double warming(const struct kv_schedule *s, double base_lr, double n)
{
    double way = s->constant_warmup ? 0 : n / s->warmup_steps;

    return s->warmup_begin_lr + (base_lr - s->warmup_begin_lr) * way;
}

/* The first drop is the first to look at the lower end: a base below that is
 * lifted to it, as in MXNet. */
static double by_factor(const struct kv_schedule *s, double base_lr, double n)
{
    double drops = n < 1 ? 0 : floor((n - 1) / s->step[0]);

    return drops < 1 ? base_lr
                     : fmax(base_lr * pow(s->factor, drops), s->stop_factor_lr);
}

static double by_factors(const struct kv_schedule *s, double base_lr, double n)
{
    for (unsigned i = 0; i < s->step_count && n > s->step[i]; i++) {
        base_lr *= s->factor;
    }
    return base_lr;
}

/* How much of base - final_lr is left. */
static double left(const struct kv_schedule *s, double n)
{
    double way = (fmin(n, s->max_update) - s->warmup_steps) /
                 (s->max_update - s->warmup_steps);

    return s->kind == KV_SCHEDULE_POLY ? pow(1 - way, s->pwr)
                                       : (1 + cos(acos(-1) * way)) / 2;
}

double kv_schedule_lr(const struct kv_schedule *s, double base_lr, uint64_t n)
{
    double at = (double)n;

    if (s->kind != KV_SCHEDULE_NONE && at < s->warmup_steps) {
        return warming(s, base_lr, at);
    }
    switch (s->kind) {
    case KV_SCHEDULE_FACTOR:
        return by_factor(s, base_lr, at);
    case KV_SCHEDULE_MULTIFACTOR:
        return by_factors(s, base_lr, at);
    case KV_SCHEDULE_POLY:
    case KV_SCHEDULE_COSINE:
        return s->final_lr + (base_lr - s->final_lr) * left(s, at);
    case KV_SCHEDULE_NONE:
        break;
    }
    return base_lr;
}
