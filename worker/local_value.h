/**
 * local_value - what a local store keeps of a key, and how a push changes it.
 *
 * Without a rule a push's sum becomes the value; an optimizer or an updater of
 * the caller's changes the value by it. State of an optimizer is made when the
 * first push of a key needs it, and begins anew with each new rule.
 *
 * Thread:  the lane's, with kv_flush_denormals() in force.
 * Memory:  a value owns its arrays, and copies what it is given: nothing that a
 *          caller does to a tensor later changes it.
 */
#ifndef KV_WORKER_LOCAL_VALUE_H
#define KV_WORKER_LOCAL_VALUE_H

#include "worker/op.h"
#include "worker/team.h"

struct local_value {
    void *data;
    float *slots[KV_OPTIM_SLOTS_MAX]; /* NULL where the rule has none. */
    uint64_t generation;              /* Of the rule that these belong to. */
    uint64_t updates;                 /* Of that rule. */
    struct local_value *next;         /* For who keeps them. */
};

/* What pushes do. */
struct local_rule {
    uint64_t generation;       /* Grows with each new rule. */
    struct kv_optim_spec spec; /* Its optim is NULL: there is none. */
    kvw_updater_fn updater;    /* NULL: there is none. */
    void *arg;
    void *sum; /* Owned; what an updater receives of several tensors. */
    size_t sum_size;
};

/* A copy of `data`; NULL when out of memory. */
struct local_value *local_value_new(const struct key *key, const void *data);
void local_value_free(struct local_value *v);

/* Can the rule be applied to this item, and is there memory for it? Otherwise
 * the op has failed, and the value is what it was. */
bool local_value_ready(struct local_rule *rule, struct kvw_op *op,
                       const struct op_item *item);

/* After local_value_ready(). */
void local_value_push(struct team *team, struct local_rule *rule,
                      const struct op_item *item);
void local_value_pull(struct team *team, const struct op_item *item);

#endif
