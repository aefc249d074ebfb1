#include "worker/rows.h"

#include <string.h>

#include "common/compute/sum.h"
#include "common/compute/vector.h"

#define DIGIT_BITS 11 /* Of the radix sort: two passes do a million rows. */
#define DIGITS ((size_t)1 << DIGIT_BITS)
#define SUMMED_MAX 64 /* Rows that are summed in one pass. */

/* Rows come in any order, which the processor cannot guess: it is told of each
 * this many rows before. The end of a long row it finds by itself. */
#define ROWS_AHEAD 8
#define FETCHED_MAX ((size_t)1024)

bool rows_ascending(const int64_t *rows, size_t count, int64_t limit)
{
    int64_t least = 0;

    for (size_t i = 0; i < count; i++) {
        if (rows[i] < least || rows[i] >= limit) {
            return false;
        }
        least = rows[i] + 1;
    }
    return true;
}

/* --- Reading -------------------------------------------------------------- */

static int64_t read_one(enum kv_dtype dtype, const void *in, size_t i)
{
    switch (dtype) {
    case KV_U8:
        return ((const uint8_t *)in)[i];
    case KV_I8:
        return ((const int8_t *)in)[i];
    case KV_I32:
        return ((const int32_t *)in)[i];
    default:
        return ((const int64_t *)in)[i];
    }
}

enum kv_status rows_read(enum kv_dtype dtype, const void *in, size_t count,
                         int64_t limit, int64_t *out, size_t *bad)
{
    if (dtype != KV_U8 && dtype != KV_I8 && dtype != KV_I32 &&
        dtype != KV_I64) {
        return KV_ENOTSUP;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = read_one(dtype, in, i);
        if (out[i] < 0 || out[i] >= limit) {
            *bad = i;
            return KV_EINVAL;
        }
    }
    return KV_OK;
}

/* --- Sorting -------------------------------------------------------------- */

static void sort_by_digit(const struct rows_entry *in, struct rows_entry *out,
                          size_t count, unsigned shift)
{
    size_t begin[DIGITS] = {0}, sum = 0;

    for (size_t i = 0; i < count; i++) {
        begin[(uint64_t)in[i].row >> shift & (DIGITS - 1)]++;
    }
    for (size_t digit = 0; digit < DIGITS; digit++) {
        size_t here = begin[digit];

        begin[digit] = sum;
        sum += here;
    }
    for (size_t i = 0; i < count; i++) {
        out[begin[(uint64_t)in[i].row >> shift & (DIGITS - 1)]++] = in[i];
    }
}

struct rows_entry *rows_sort(struct rows_entry *entries,
                             struct rows_entry *spare, size_t count)
{
    bool sorted = true;
    uint64_t all = 0;

    for (size_t i = 0; i < count; i++) {
        all |= (uint64_t)entries[i].row;
        sorted = sorted && (i == 0 || entries[i - 1].row <= entries[i].row);
    }
    for (unsigned shift = 0; !sorted && shift < 64 && all >> shift != 0;
         shift += DIGIT_BITS) {
        struct rows_entry *from = entries;

        sort_by_digit(from, spare, count, shift);
        entries = spare;
        spare = from;
    }
    return entries;
}

/* --- Merging -------------------------------------------------------------- */

void rows_list(const struct rows_part *parts, size_t part_count,
               struct rows_entry *out)
{
    for (size_t p = 0; p < part_count; p++) {
        for (uint32_t i = 0; i < parts[p].count; i++) {
            *out++ = (struct rows_entry){parts[p].rows[i], (uint32_t)p, i};
        }
    }
}

size_t rows_unique(const struct rows_entry *entries, size_t count, int64_t *out)
{
    size_t unique = 0;

    for (size_t i = 0; i < count; i++) {
        if (i == 0 || entries[i].row != entries[i - 1].row) {
            out[unique++] = entries[i].row;
        }
    }
    return unique;
}

/* Inlined, because gcc drops calls of functions that do no more than this. */
KV_TEMPLATE void fetch(const struct rows_entry *e,
                       const struct rows_part *parts, size_t size)
{
    const char *row = (const char *)parts[e->part].data + e->at * size;

    for (size_t at = 0; at < size && at < FETCHED_MAX; at += 64) {
        __builtin_prefetch(row + at);
    }
}

/* `count` of the same row. */
static void sum_same(const struct rows_entry *entries, size_t count,
                     const struct rows_part *parts, enum kv_dtype dtype,
                     size_t length, void *out)
{
    const void *inputs[SUMMED_MAX];
    size_t size = length * kv_dtype_size(dtype), used = 0;

    for (size_t i = 0; i < count; i++) {
        if (used == SUMMED_MAX) {
            kv_sum(dtype, out, inputs, used, length);
            inputs[0] = out;
            used = 1;
        }
        inputs[used++] =
            (const char *)parts[entries[i].part].data + entries[i].at * size;
    }
    if (used == 1) {
        memcpy(out, inputs[0], size);
    } else {
        kv_sum(dtype, out, inputs, used, length);
    }
}

size_t rows_sum(const struct rows_entry *entries, size_t count,
                const struct rows_part *parts, enum kv_dtype dtype,
                size_t length, int64_t *out, void *data)
{
    size_t size = length * kv_dtype_size(dtype), unique = 0;
    char *to = data;

    for (size_t i = 0, same; i < count; i += same) {
        for (same = 1;
             i + same < count && entries[i + same].row == entries[i].row;) {
            same++;
        }
        for (size_t n = i; n < i + same && count - n > ROWS_AHEAD; n++) {
            fetch(&entries[n + ROWS_AHEAD], parts, size);
        }
        out[unique] = entries[i].row;
        sum_same(entries + i, same, parts, dtype, length, to + unique * size);
        unique++;
    }
    return unique;
}

size_t rows_below(const int64_t *rows, size_t count, int64_t row)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows[middle] < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
