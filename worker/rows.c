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

static unsigned bits_of(uint64_t count)
{
    return count < 2 ? 1 : 64 - (unsigned)__builtin_clzll(count - 1);
}

bool rows_fit(uint64_t limit, uint64_t count)
{
    return bits_of(limit) + bits_of(count) <= 64;
}

/* Returns all rows, one on the other. */
static uint64_t mark(struct rows_marks *m, const struct rows_part *parts,
                     size_t part_count)
{
    uint64_t all = 0;
    size_t count = 0;

    for (size_t p = 0; p < part_count; p++) {
        count += parts[p].count;
    }
    m->place_bits = bits_of(count);
    m->count = 0;
    for (size_t p = 0; p < part_count; p++) {
        for (uint32_t i = 0; i < parts[p].count; i++) {
            uint64_t row = (uint64_t)parts[p].rows[i];

            m->of[m->count] = row << m->place_bits | m->count;
            m->count++;
            all |= row;
        }
    }
    return all;
}

static void sort_by_digit(struct rows_marks *m, unsigned shift)
{
    size_t begin[DIGITS] = {0}, sum = 0;
    uint64_t *sorted = m->spare;

    for (size_t i = 0; i < m->count; i++) {
        begin[m->of[i] >> shift & (DIGITS - 1)]++;
    }
    for (size_t digit = 0; digit < DIGITS; digit++) {
        size_t here = begin[digit];

        begin[digit] = sum;
        sum += here;
    }
    for (size_t i = 0; i < m->count; i++) {
        sorted[begin[m->of[i] >> shift & (DIGITS - 1)]++] = m->of[i];
    }
    m->spare = m->of;
    m->of = sorted;
}

void rows_sort(struct rows_marks *m, const struct rows_part *parts,
               size_t part_count)
{
    uint64_t all = mark(m, parts, part_count);
    bool sorted = true;

    for (size_t i = 1; sorted && i < m->count; i++) {
        sorted = m->of[i - 1] < m->of[i];
    }
    for (unsigned shift = 0; !sorted && shift < 64 && all >> shift != 0;
         shift += DIGIT_BITS) {
        sort_by_digit(m, m->place_bits + shift);
    }
}

/* --- Merging -------------------------------------------------------------- */

static int64_t row_of(const struct rows_marks *m, size_t i)
{
    return (int64_t)(m->of[i] >> m->place_bits);
}

size_t rows_unique(const struct rows_marks *m, int64_t *out)
{
    size_t unique = 0;

    for (size_t i = 0; i < m->count; i++) {
        int64_t row = row_of(m, i);

        if (unique == 0 || row != out[unique - 1]) {
            out[unique++] = row;
        }
    }
    return unique;
}

static const void *data_of(const struct rows_marks *m, size_t i,
                           const struct rows_part *parts, size_t size)
{
    size_t place = (size_t)(m->of[i] & ((UINT64_C(1) << m->place_bits) - 1));

    while (place >= parts->count) {
        place -= parts->count;
        parts++;
    }
    return (const char *)parts->data + place * size;
}

/* Inlined, because gcc drops calls of functions that do no more than this. */
KV_TEMPLATE void fetch(const void *row, size_t size)
{
    for (size_t at = 0; at < size && at < FETCHED_MAX; at += 64) {
        __builtin_prefetch((const char *)row + at);
    }
}

/* `count` of the same row, from the first on. */
static void sum_same(const struct rows_marks *m, size_t first, size_t count,
                     const struct rows_part *parts, enum kv_dtype dtype,
                     size_t length, void *out)
{
    const void *inputs[SUMMED_MAX];
    size_t size = length * kv_dtype_size(dtype), used = 0;

    for (size_t i = first; i < first + count; i++) {
        if (used == SUMMED_MAX) {
            kv_sum(dtype, out, inputs, used, length);
            inputs[0] = out;
            used = 1;
        }
        inputs[used++] = data_of(m, i, parts, size);
    }
    if (used == 1) {
        memcpy(out, inputs[0], size);
    } else {
        kv_sum(dtype, out, inputs, used, length);
    }
}

/* How many are of the row at `first`. */
static size_t same_as(const struct rows_marks *m, size_t first)
{
    size_t same = 1;

    while (first + same < m->count &&
           row_of(m, first + same) == row_of(m, first)) {
        same++;
    }
    return same;
}

size_t rows_sum(const struct rows_marks *m, const struct rows_part *parts,
                enum kv_dtype dtype, size_t length, int64_t *out,
                const void **from, void *data)
{
    size_t size = length * kv_dtype_size(dtype), unique = 0;
    char *to = data;

    for (size_t i = 0, same; i < m->count; i += same) {
        same = same_as(m, i);
        out[unique] = row_of(m, i);
        if (from != NULL && same == 1) {
            from[unique++] = data_of(m, i, parts, size);
            continue;
        }
        for (size_t n = i; n < i + same && m->count - n > ROWS_AHEAD; n++) {
            fetch(data_of(m, n + ROWS_AHEAD, parts, size), size);
        }
        sum_same(m, i, same, parts, dtype, length, to);
        if (from != NULL) {
            from[unique] = to;
        }
        unique++;
        to += size;
    }
    return unique;
}

void rows_copy(const void *const *from, size_t count, size_t size, void *out)
{
    char *to = out;

    for (size_t i = 0; i < count; i++, to += size) {
        if (count - i > ROWS_AHEAD) {
            fetch(from[i + ROWS_AHEAD], size);
        }
        memcpy(to, from[i], size);
    }
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
