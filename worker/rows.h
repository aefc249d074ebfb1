/**
 * rows - the row numbers of row_sparse tensors: read, sorted, merged.
 *
 * What callers give is in any order, repeated, of any integer type, or spread
 * over several tensors; what travels is each row once, ascending. Rows that
 * stand twice are summed, in the order in which they were given: left to right
 * through a tensor, one tensor after the other.
 *
 * Thread:  pure.
 * Memory:  the caller owns all arrays.
 */
#ifndef KV_WORKER_ROWS_H
#define KV_WORKER_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/compute/dtype.h"

/* Where a row stands that is to be merged. */
struct rows_entry {
    int64_t row;
    uint32_t part, at; /* Tensor, and row of its data. */
};

/* One tensor: data[at] is row rows[at]. */
struct rows_part {
    const int64_t *rows;
    const void *data;
    uint32_t count;
};

/* Each is 0 to limit - 1, and more than the one before. */
bool rows_ascending(const int64_t *rows, size_t count, int64_t limit);

/* Numbers of an integer dtype as int64. KV_EINVAL when one is not within 0 to
 * limit - 1; it is in out[*bad]. KV_ENOTSUP: no integers. */
KV_MUST_CHECK enum kv_status rows_read(enum kv_dtype dtype, const void *in,
                                       size_t count, int64_t limit,
                                       int64_t *out, size_t *bad);

/* Ascending, those of one row in their old order. `spare` has as many; returns
 * whichever of the two has the result. No row is negative. */
struct rows_entry *rows_sort(struct rows_entry *entries,
                             struct rows_entry *spare, size_t count);

/* All rows of the parts as entries, in order; there is room for them. */
void rows_list(const struct rows_part *parts, size_t part_count,
               struct rows_entry *out);

/* Of sorted entries: each row once into `out`, which may have room for all.
 * Returns how many. */
size_t rows_unique(const struct rows_entry *entries, size_t count,
                   int64_t *out);

/* The same, with the rows' sums: `length` elements of dtype each, into `data`.
 * `parts` are those of the entries. */
size_t rows_sum(const struct rows_entry *entries, size_t count,
                const struct rows_part *parts, enum kv_dtype dtype,
                size_t length, int64_t *out, void *data);

/* How many of the ascending rows are below `row`. */
size_t rows_below(const int64_t *rows, size_t count, int64_t row);

#endif
