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

/* One tensor: data[at] is row rows[at]. */
struct rows_part {
    const int64_t *rows;
    const void *data;
    uint32_t count;
};

/* The rows of some parts, to be sorted: words of a row and, in the lowest bits,
 * its place, counted through all parts. */
struct rows_marks {
    uint64_t *of, *spare; /* Room for all rows each; the caller's. */
    size_t count;
    unsigned place_bits;
};

/* Each is 0 to limit - 1, and more than the one before. */
bool rows_ascending(const int64_t *rows, size_t count, int64_t limit);

/* Numbers of an integer dtype as int64. KV_EINVAL when one is not within 0 to
 * limit - 1; it is in out[*bad]. KV_ENOTSUP: no integers. */
KV_MUST_CHECK enum kv_status rows_read(enum kv_dtype dtype, const void *in,
                                       size_t count, int64_t limit,
                                       int64_t *out, size_t *bad);

/* May that many rows be marked at once, each 0 to limit - 1? 2^24 rows may be
 * of a table of 2^40. */
bool rows_fit(uint64_t limit, uint64_t count);

/* All rows of the parts, ascending, those of one row in the order given. They
 * fit, and none is negative. */
void rows_sort(struct rows_marks *m, const struct rows_part *parts,
               size_t part_count);

/* Of sorted rows: each once into `out`, which may have room for all. Returns
 * how many. */
size_t rows_unique(const struct rows_marks *m, int64_t *out);

/* The same, with the rows' sums: `length` elements of dtype each, into `data`.
 * `parts` are those that were sorted. With `from`, only what stands twice is
 * summed, into `data`, which has room for half of the rows; from[i] is where
 * row out[i] is, there or in its part. */
size_t rows_sum(const struct rows_marks *m, const struct rows_part *parts,
                enum kv_dtype dtype, size_t length, int64_t *out,
                const void **from, void *data);

/* Copy `count` rows of `size` bytes each, one after the other. */
void rows_copy(const void *const *from, size_t count, size_t size, void *out);

/* How many of the ascending rows are below `row`. */
size_t rows_below(const int64_t *rows, size_t count, int64_t row);

#endif
