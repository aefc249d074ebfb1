/**
 * lookup - the keys that a push or pull names, before anything is done.
 *
 * Thread:  the lane's.
 * Memory:  items borrow their keys, which stay.
 * Result:  false: the op has failed, with a sentence that names the key:
 *          KV_ENOTFOUND, KV_EMISMATCH, KV_EINVAL for one that stands twice.
 */
#ifndef KV_WORKER_LOOKUP_H
#define KV_WORKER_LOOKUP_H

#include "worker/op.h"

bool lookup_items(const struct keys *keys, uint32_t rank, struct kvw_op *op);

#endif
