/**
 * store - what is behind struct kvw, and what every call does with it.
 *
 * Thread:  any.
 * Memory:  a store owns its pool and its lane.
 * Result:  functions that return int have remembered the sentence of a failure.
 */
#ifndef KV_WORKER_STORE_H
#define KV_WORKER_STORE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "worker/kind.h"
#include "worker/kvworker.h"
#include "worker/lane.h"
#include "worker/op.h"
#include "worker/options.h"

struct kvw {
    uint64_t number; /* Of this store, in this process; for failure(). */
    pid_t pid;
    char type[KIND_NAME_MAX + 1];
    struct options options;
    struct op_pool pool;
    struct lane *lane;
    atomic_bool closing; /* Callbacks look at it, too. */
    atomic_bool barrier_before_exit;
    atomic_int key_kind; /* enum key_kind, since the first kvw_init(). */
};

/* First of all: may this caller use the store, and may it wait? */
int store_enter(const struct kvw *kv, bool waits);

/* An op to fill in. Blocks for room, but not on the lane. */
int store_take(struct kvw *kv, enum op_kind kind, struct kvw_op **op);
void store_start(struct kvw *kv, struct kvw_op *op, bool handle);

/* The handle stays after KVW_ETIMEOUT. */
int store_wait(struct kvw *kv, struct kvw_op *op, int64_t timeout_ms);

/* Start it and wait for ever. */
int store_run(struct kvw *kv, struct kvw_op *op);

/* KVW_ETIMEOUT, saying what the op of this number waits for; `of` as in
 * failure(). */
int store_late(struct kvw *kv, uint64_t of, uint64_t number,
               int64_t timeout_ms);

#endif
