/**
 * local_math - sums, updates and copies of whole values, on a team.
 *
 * Large values are dealt with in pieces by all threads, and results that no
 * cache would keep are written past the caches. However the pieces are dealt
 * out, the bits are the same.
 *
 * Thread:  the lane's, with kv_flush_denormals() in force.
 * Memory:  borrows.
 */
#ifndef KV_WORKER_LOCAL_MATH_H
#define KV_WORKER_LOCAL_MATH_H

#include "common/compute/dtype.h"
#include "common/optim/optim.h"
#include "worker/team.h"

/* out = the sum of the inputs, from left to right. */
void local_sum(struct team *team, enum kv_dtype dtype, size_t count, void *out,
               const void *const *inputs, size_t input_count);

/* One array of `size` bytes into each of the others. */
void local_copy(struct team *team, size_t size, const void *from,
                void *const *outs, size_t out_count);

/* Some rows of a table: ascending numbers, each of `length` elements. */
struct local_rows {
    const int64_t *rows; /* NULL: there is no table, all of a value is meant. */
    size_t count, length;
};

/* A table of `size` bytes with these rows, which lie side by side in `from`,
 * and zeros elsewhere. */
void local_spread(struct team *team, enum kv_dtype dtype,
                  const struct local_rows *rows, const void *from, void *table,
                  size_t size);

/* These rows of a table, side by side, into each of the others. */
void local_gather(struct team *team, enum kv_dtype dtype,
                  const struct local_rows *rows, const void *table,
                  void *const *outs, size_t out_count);

/* One update of a value in place: the gradient is the sum of the inputs. With
 * rows, that of these rows, and the others and their state stay as they are. */
struct local_update {
    enum kv_dtype dtype; /* One that kv_optim_takes(). */
    size_t count;        /* Elements of each input. */
    struct local_rows rows;
    void *weights;
    float *master;       /* Of f16 and bf16 weights; NULL: there is none. */
    float *const *slots; /* As many as `slot_count`. */
    unsigned slot_count;
    const void *const *inputs;
    size_t input_count;
    size_t width; /* Of a row, if the optimizer has state by rows; then: */
    float *room; /* Twice as many as `count`; NULL: local_update_room() is 0. */
    const struct kv_optim *optim;
    const void *step; /* From kv_optim_prepare(). */
};
void local_update(struct team *team, const struct local_update *u);

/* Bytes at `room` that updates of so many elements from so many inputs need. */
size_t local_update_room(const struct kv_optim *optim, enum kv_dtype dtype,
                         size_t count, size_t input_count);

#endif
