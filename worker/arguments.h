/**
 * arguments - what a caller passes, checked and copied into an op.
 *
 * Thread:  the caller's.
 * Memory:  borrows items and tensors; the op has its own copies of all but the
 *          tensors' data.
 * Result:  KV_EINVAL or KV_ENOMEM with a sentence; the op is then still MADE.
 */
#ifndef KV_WORKER_ARGUMENTS_H
#define KV_WORKER_ARGUMENTS_H

#include "worker/op.h"

#define ARGUMENTS_TEXT_MAX 512

/* KV_EINVAL unless the key may be one; `out` borrows its name. */
KV_MUST_CHECK enum kv_status arguments_key(const struct kvw_key *key,
                                           struct key_spec *out,
                                           char text[ARGUMENTS_TEXT_MAX]);

/* Keys without tensors, as op->pushes. */
KV_MUST_CHECK enum kv_status arguments_keys(struct kvw_op *op,
                                            const struct kvw_key *keys,
                                            size_t count,
                                            char text[ARGUMENTS_TEXT_MAX]);

/* The key and the form of an item's tensors, which are checked, too. */
KV_MUST_CHECK enum kv_status arguments_spec(const struct kvw_item *item,
                                            struct key_spec *out,
                                            char text[ARGUMENTS_TEXT_MAX]);

/* What a call brings, seen in one look at all of it, before it is checked. */
struct arguments_survey {
    size_t tensors, name_bytes;
    bool rows; /* Some tensor is row_sparse. */
    /* The first key that is one, or NULL. */
    const struct kvw_key *number, *name;
};

/* Adds to `s`, which begins as zeros; `items` may be NULL. */
void arguments_look(const struct kvw_item *items, size_t count,
                    struct arguments_survey *s);

/* What a store's keys are; any until there are some. */
enum key_kind { KEYS_ANY, KEYS_INTEGERS, KEYS_STRINGS };

/* Are the keys all integers or all strings, as the store's are? KV_EINVAL,
 * naming a key, and another or what the store has. */
KV_MUST_CHECK enum kv_status arguments_kind(const struct arguments_survey *s,
                                            enum key_kind stores,
                                            char text[ARGUMENTS_TEXT_MAX]);

/* `pushes` or `pulls` may be NULL, not both; `s` has been told of both. */
KV_MUST_CHECK enum kv_status arguments_items(struct kvw_op *op,
                                             const struct kvw_item *pushes,
                                             const struct kvw_item *pulls,
                                             size_t count,
                                             const struct arguments_survey *s,
                                             char text[ARGUMENTS_TEXT_MAX]);

/* Has each out its item's key, dtype and shape? KV_EINVAL, KV_EMISMATCH.
 * `items` may be NULL. */
KV_MUST_CHECK enum kv_status arguments_outs(const struct kvw_item *items,
                                            const struct kvw_item *outs,
                                            size_t count,
                                            char text[ARGUMENTS_TEXT_MAX]);

/* Let the pushes read from a copy (KVW_COPY). */
KV_MUST_CHECK enum kv_status arguments_copy(struct op_pool *pool,
                                            struct kvw_op *op,
                                            char text[ARGUMENTS_TEXT_MAX]);

#endif
