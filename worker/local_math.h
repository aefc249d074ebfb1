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

/* How many of the elements `first` to `end` of rows side by side belong to one
 * row, which has them from *at of the table on. */
static inline size_t local_stretch(const struct local_rows *r, size_t first,
                                   size_t end, size_t *at)
{
    size_t column = first % r->length, left = r->length - column;

    *at = (size_t)r->rows[first / r->length] * r->length + column;
    return left < end - first ? left : end - first;
}

/* A table of `size` bytes with these rows, which lie side by side in `from`,
 * and zeros elsewhere. */
void local_spread(struct team *team, enum kv_dtype dtype,
                  const struct local_rows *rows, const void *from, void *table,
                  size_t size);

/* These rows of a table, side by side, into each of the others. */
void local_gather(struct team *team, enum kv_dtype dtype,
                  const struct local_rows *rows, const void *table,
                  void *const *outs, size_t out_count);

#endif
