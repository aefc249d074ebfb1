/**
 * local_value - what a local store keeps of a key, and how a push changes it.
 *
 * Without a rule a push's sum becomes the value; an optimizer or an updater of
 * the caller's changes the value by it. State of an optimizer is made when the
 * first push of a key needs it, and begins anew with each new rule.
 *
 * Rows that are pushed into a table are those of its sum that are not zero; an
 * optimizer that is lazy leaves the others and their state alone. A dense value
 * takes them as the dense gradient that they stand for.
 *
 * Thread:  the lane's, with kv_flush_denormals() in force.
 * Memory:  a value owns its arrays, and copies what it is given: nothing that a
 *          caller does to a tensor later changes it.
 */
#ifndef KV_WORKER_LOCAL_VALUE_H
#define KV_WORKER_LOCAL_VALUE_H

#include "common/optim/hyper.h"
#include "worker/moves.h"
#include "worker/team.h"

struct local_value {
    void *data;
    float *master; /* Of f16 and bf16, with multi_precision; or NULL. */
    void *slots[KV_OPTIM_SLOTS_MAX]; /* NULL where the rule has none. */
    uint64_t generation;             /* Of the rule that these belong to. */
    uint64_t updates;                /* Of that rule. */
    uint64_t version;                /* Pushes, and resets. */
    struct kv_hyper *own; /* Owned; what the rule has for this key alone. */
    size_t own_count;
};

/* What pushes do. */
struct local_rule {
    uint64_t generation;       /* Grows with each new rule. */
    struct kv_optim_spec base; /* As it was set; optim NULL: there is none. */
    struct kv_hyper hypers[KV_HYPER_ALL_MAX]; /* What has changed since. */
    size_t hyper_count;
    struct kv_optim_spec spec; /* In force; see local_tune(). */
    struct kv_optim_scale scale;
    kvw_updater_fn updater; /* NULL: there is none. */
    void *arg;
    void *sum; /* Owned; what an updater receives of several tensors, or the
                  gradient that rows stand for. */
    size_t sum_size;
    void *room; /* Owned; of local_update(). */
    size_t room_size;
};

/* What is pushed or pulled. */
struct local_change {
    const struct key *key;
    enum kv_storage storage; /* Of what is pushed. */
    void **data;
    uint32_t data_count;
    const int64_t *rows; /* As in struct move. */
    uint32_t row_count;
};

static inline struct local_change local_change_item(const struct op_item *item)
{
    struct local_change c = {item->key,        KV_DENSE, item->data,
                             item->data_count, NULL,     0};
    return c;
}

static inline struct local_change local_change_move(const struct move *m)
{
    struct local_change c = {m->key,        m->spec.storage, m->data,
                             m->data_count, m->rows,         m->row_count};
    return c;
}

/* A copy of `data`; NULL when out of memory. */
struct local_value *local_value_new(const struct key *key, const void *data);
void local_value_free(struct local_value *v);

/* Begin anew with a copy of `data`. */
void local_value_reset(const struct key *key, const void *data);

/* Can the rule be applied to what is pushed, and is there memory for it?
 * Otherwise the op has failed, and the value is what it was. */
bool local_value_ready(struct local_rule *rule, struct kvw_op *op,
                       const struct local_change *c);

/* After local_value_ready(). False: nothing has changed, as the gradient is not
 * finite and the rule minds. */
bool local_value_push(struct team *team, struct local_rule *rule,
                      const struct local_change *c);
void local_value_pull(struct team *team, const struct local_change *c);

/* Bytes that it moves. */
size_t local_value_bytes(const struct local_change *c);

#endif
