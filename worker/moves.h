/**
 * moves - what a call with row_sparse tensors asks for, tensor by tensor.
 *
 * Calls with dense tensors only take the shorter way of arguments.h. Here each
 * tensor pushed or pulled is a move of its own: rows that the caller gives in
 * any order, repeated or in several tensors, are merged first, so that a move
 * has each row once, ascending. One ascending tensor is used as it is.
 *
 * Thread:  the caller's; afterwards the lane's.
 * Memory:  moves live in the op's copy room, until it is done. Data and rows
 *          are the caller's, kept, or copies beside the moves.
 * Result:  KV_EINVAL or KV_ENOMEM with a sentence; the op is then still MADE.
 */
#ifndef KV_WORKER_MOVES_H
#define KV_WORKER_MOVES_H

#include "worker/arguments.h"

struct move {
    struct key_spec spec; /* Its name lies beside. */
    bool pull;
    void **data; /* Of a push: to be summed. Of a pull: all get the same. */
    uint32_t data_count;
    const int64_t *rows; /* Ascending; NULL: the whole value. */
    uint32_t row_count;  /* Of rows, and then data_count is 1 for a push. */
    const void *const
        *from; /* Where each row is; NULL: in data[0], in order. */
    /* The lane's. */
    struct key *key;
    void *dense; /* Owned: the gradient that rows stand for in a dense key. */
    struct part_rows *parts; /* Owned; one a slice. */
};

/* Is every tensor right? */
KV_MUST_CHECK enum kv_status moves_check(const struct kvw_item *items,
                                         size_t count,
                                         char text[ARGUMENTS_TEXT_MAX]);

/* The same values with all rows, for a first value: those that a tensor does
 * not have are zero. One block, to be freed with mem_free(); NULL: out of
 * memory. Every item is right. */
struct kvw_item *moves_spread(const struct kvw_item *items, size_t count);

/* For moves_take(), besides a call's: rows that are pushed may stay where they
 * are, scattered (`from`). */
#define MOVES_SCATTERED (1u << 31)

#define MOVES_TOO_MANY "it has too many rows for as many in one call"

/* Fill op->moves. `pushes` or `pulls` may be NULL. A key may stand in them once
 * each, but pulls of rows any number of times. With `flags`: KVW_COPY,
 * KVW_IGNORE_SPARSE, and MOVES_SCATTERED. */
KV_MUST_CHECK enum kv_status moves_take(struct op_pool *pool, struct kvw_op *op,
                                        const struct kvw_item *pushes,
                                        const struct kvw_item *pulls,
                                        size_t count, uint32_t flags,
                                        char text[ARGUMENTS_TEXT_MAX]);

/* Elements of a row of a value of this form. */
size_t moves_row_length(const struct key_spec *spec);

#endif
