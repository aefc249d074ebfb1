/**
 * local_keys - the keys of a local store, from kvw_init() to kvw_delete().
 *
 * Each has a number, in the order of registration. A key that is deleted is
 * found by nobody from then on, and freed once the operations before that have
 * been done.
 *
 * Thread:  the lane's.
 * Memory:  owns keys and values.
 */
#ifndef KV_WORKER_LOCAL_KEYS_H
#define KV_WORKER_LOCAL_KEYS_H

#include "common/base/roll.h"
#include "worker/op.h"

struct local_keys {
    struct keys table;
    struct roll roll; /* All, those that are being deleted too. */
};

void local_keys_init(struct local_keys *k);
void local_keys_fini(struct local_keys *k);

/* OP_INIT: all or none. */
void local_keys_add(struct local_keys *k, struct kvw_op *op);

/* OP_DELETE: all or none are found no more; false: the op has failed. Free them
 * in line, behind the operations that have found them. */
bool local_keys_take(struct local_keys *k, struct kvw_op *op);
void local_keys_free(struct local_keys *k, const struct kvw_op *op);

/* OP_RESET, whose keys have been looked up. */
void local_keys_reset(const struct kvw_op *op);

void local_keys_list(const struct local_keys *k, struct op_page *page);

/* OP_VERSION. */
void local_keys_version(const struct local_keys *k, struct kvw_op *op);

#endif
