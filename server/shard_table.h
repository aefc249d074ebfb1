/**
 * shard_table - a row_sparse slice being read: its rows, and what ranks have
 * pushed to them, row by row.
 *
 *     n = table_begin(s, e)
 *     while ((row = table_next(s, n)) != UINT32_MAX)
 *         inputs = table_take(s, n, row)
 *
 * Readers belong to the shard: one table is read at a time.
 *
 * Thread:  the shard's.
 */
#ifndef KV_SERVER_SHARD_TABLE_H
#define KV_SERVER_SHARD_TABLE_H

#include "common/base/bytes.h"
#include "server/shard_private.h"

/* --- Rows ----------------------------------------------------------------- */

#define TABLE_ALIGN ((size_t)16)

static inline uint32_t table_rows(const struct entry *e)
{
    return (uint32_t)(e->count / e->row_length);
}

/* Of an image. */
static inline size_t table_stride_of(const struct state_shape *p,
                                     struct state_form form)
{
    return state_aligned(state_size(p, form), TABLE_ALIGN);
}

static inline size_t table_stride(const struct entry *e, const struct value *v)
{
    return table_stride_of(&e->shape, v->form);
}

static inline size_t table_next_stride(const struct shard *s,
                                       const struct entry *e)
{
    return table_stride_of(&e->shape, shard_form(s, e->dtype));
}

static inline char *table_at(const struct shard *s, const struct value *v)
{
    return arena_at(s->arena, v->rows);
}

/* --- Contributions -------------------------------------------------------- */

static inline uint32_t table_row_at(const unsigned char *rows, uint32_t index)
{
    return bytes_get_u32(rows + (size_t)index * sizeof(uint32_t));
}

/* One rank's contribution, being read row by row. */
struct row_reader {
    const struct kv_codec *codec;
    const unsigned char *rows; /* u32 each; NULL: all rows. */
    const unsigned char *data;
    size_t row_size; /* Bytes in the codec. */
    uint32_t count, at;
};

/* Readers of all contributions, in rank order; returns how many. */
size_t table_begin(struct shard *s, const struct entry *e);

/* How many rows any contribution has. */
uint32_t table_count(struct shard *s, const struct entry *e);

static inline uint32_t table_next_of(const struct row_reader *r)
{
    if (r->at == r->count) {
        return UINT32_MAX;
    }
    return r->rows == NULL ? r->at : table_row_at(r->rows, r->at);
}

/* The next row that any contribution has; UINT32_MAX after the last. */
static inline uint32_t table_next(const struct shard *s, size_t n)
{
    uint32_t row = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        uint32_t next = table_next_of(&s->readers[i]);

        row = next < row ? next : row;
    }
    return row;
}

/* Those who have the row, as inputs of a sum; returns how many. */
static inline size_t table_take(struct shard *s, size_t n, uint32_t row)
{
    size_t inputs = 0;

    for (size_t i = 0; i < n; i++) {
        struct row_reader *r = &s->readers[i];

        if (table_next_of(r) == row) {
            s->inputs[inputs] = r->data + r->at * r->row_size;
            s->codecs[inputs++] = r->codec;
            r->at++;
        }
    }
    return inputs;
}

#endif
