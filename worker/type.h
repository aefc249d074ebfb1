/**
 * type - the kinds of store, by name.
 *
 * Names are looked up exactly, in one table: a misspelled kind is an error that
 * lists what there is, never another store. MXNet's other spellings stand for
 * the same kinds.
 *
 * Thread:  any.
 * Memory:  constants.
 */
#ifndef KV_WORKER_TYPE_H
#define KV_WORKER_TYPE_H

#include <stddef.h>

#include "common/base/status.h"
#include "proto/message.h"

struct type {
    const char *name;
    enum kv_policy_id policy; /* 0: not built yet. */
};

/* KV_EINVAL there is no such kind, KV_ENOTSUP it is not built yet; either with
 * a sentence in `error`. */
KV_MUST_CHECK enum kv_status type_find(const char *name,
                                       const struct type **out, char *error,
                                       size_t error_size);

#endif
