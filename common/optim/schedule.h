/**
 * schedule - the learning rate as a function of the number of updates.
 *
 * MXNet's schedulers, without their state: theirs shrink a number as updates
 * go by, here the rate of any update is computed from nothing but its number.
 * So a server that restarts, or joins late, goes on at the right rate.
 *
 *     rate                factor: times `factor` after each step[0] updates,
 *      |  __                but not below stop_factor_lr
 *      | /  \__           multifactor: times `factor` after each of step[]
 *      |/      \___       poly: base to final_lr at max_update, by a power
 *      +------------ n    cosine: the same by half a cosine
 *       warm-up
 *
 * Warm-up comes first in each: updates below warmup_steps go in a line from
 * warmup_begin_lr to the base, or stay at warmup_begin_lr. It delays nothing:
 * step[] and max_update count from the first update of all.
 *
 * Thread:  any. Nothing here has state.
 * Memory:  borrows.
 */
#ifndef KV_COMMON_OPTIM_SCHEDULE_H
#define KV_COMMON_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KV_SCHEDULE_STEPS_MAX 16
#define KV_SCHEDULE_UPDATES_MAX 1e12 /* The largest number of an update. */

enum kv_schedule_kind {
    KV_SCHEDULE_NONE, /* Always the base. */
    KV_SCHEDULE_FACTOR,
    KV_SCHEDULE_MULTIFACTOR,
    KV_SCHEDULE_POLY,
    KV_SCHEDULE_COSINE,
};

/* Plain data. Those that a kind does not have are not looked at; numbers of
 * updates are whole. */
struct kv_schedule {
    enum kv_schedule_kind kind;
    bool constant_warmup;
    unsigned step_count;                /* factor: 1. */
    double step[KV_SCHEDULE_STEPS_MAX]; /* From 1, rising. */
    double factor, stop_factor_lr;      /* From 0 to 1; 0 or more. */
    double max_update;                  /* More than warmup_steps. */
    double pwr, final_lr;
    double warmup_steps, warmup_begin_lr;
};

/* The rate of update n, 1 being the first. */
double kv_schedule_lr(const struct kv_schedule *s, double base_lr, uint64_t n);

#ifdef __cplusplus
}
#endif

#endif
