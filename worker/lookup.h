/**
 * lookup - the keys that a push or pull names, before anything is done.
 *
 * Items are dense ones; moves may have rows (moves.h).
 *
 * Thread:  the lane's.
 * Memory:  items and moves borrow their keys, which stay.
 * Result:  false: the op has failed, with a sentence that names the key:
 *          KV_ENOTFOUND, KV_EMISMATCH, KV_EINVAL for one that stands twice.
 *          Otherwise each key is marked with the op's number.
 */
#ifndef KV_WORKER_LOOKUP_H
#define KV_WORKER_LOOKUP_H

#include "worker/op.h"

bool lookup_items(const struct keys *keys, uint32_t rank, struct kvw_op *op);

/* Does each key stand in the call once? They may be unknown. */
bool lookup_once(uint32_t rank, struct kvw_op *op);
bool lookup_moves(const struct keys *keys, uint32_t rank, struct kvw_op *op);

#endif
