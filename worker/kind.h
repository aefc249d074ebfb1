/**
 * kind - the kinds of store, by name.
 *
 * A kind is one file, kinds/NAME.c; the folder is the registry. It names the
 * function that starts a store's lane, or says what this build lacks.
 *
 * Names are looked up exactly, in lower case: a misspelled kind is an error
 * that lists what there is, never another store. MXNet's other spellings stand
 * for the same kinds.
 *
 * Thread:  any.
 * Memory:  constants.
 */
#ifndef KV_WORKER_KIND_H
#define KV_WORKER_KIND_H

#include <stddef.h>

#include "common/base/status.h"
#include "proto/message.h" /* enum kv_policy_id */
#include "worker/op.h"
#include "worker/options.h"

#define KIND_NAME_MAX 64
#define KIND_ALIASES_MAX 3

struct kind;
struct lane;

/* Starts the lane of a store; borrows all until lane_close(). KV_ENOMEM,
 * KV_EAGAIN. */
typedef enum kv_status (*kind_open_fn)(struct lane **out,
                                       const struct kind *kind,
                                       const struct options *options,
                                       struct op_pool *pool);

struct kind {
    const char *name;
    const char *aliases[KIND_ALIASES_MAX + 1]; /* NULL at the end. */
    kind_open_fn open;   /* NULL: this build cannot; `missing` says why. */
    const char *missing; /* "there is no ..." */
    uint32_t policy;     /* Of a dist kind: the id of what its servers do. */
};

/* In lower case; a name longer than any kind's is cut off. */
void kind_spell(const char *name, char out[KIND_NAME_MAX + 1]);

/* KV_EINVAL there is no such kind, KV_EDEVICE this build cannot; either with a
 * sentence in `error`. */
KV_MUST_CHECK enum kv_status kind_find(const char *name,
                                       const struct kind **out, char *error,
                                       size_t error_size);

#endif
