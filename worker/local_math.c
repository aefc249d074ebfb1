#include "worker/local_math.h"

#include <string.h>

#include "common/compute/stream.h"
#include "common/compute/sum.h"
#include "worker/local_pieces.h"

/* A result of this size is in no cache when it is read next. */
#define STREAM_MIN_BYTES ((size_t)16 << 20)

/* --- Copies --------------------------------------------------------------- */

struct copies {
    size_t size;
    const unsigned char *from;
    void *const *outs;
    size_t out_count;
    bool stream;
};

static void copy_piece(const void *task, size_t piece)
{
    const struct copies *c = task;
    size_t at = piece * LOCAL_PIECE;
    size_t size = local_length(piece, c->size);

    for (size_t i = 0; i < c->out_count; i++) {
        unsigned char *to = (unsigned char *)c->outs[i] + at;

        if (c->stream) {
            kv_stream_copy(to, c->from + at, size);
        } else {
            memcpy(to, c->from + at, size);
        }
    }
    if (c->stream) {
        kv_stream_end();
    }
}

void local_copy(struct team *team, size_t size, const void *from,
                void *const *outs, size_t out_count)
{
    struct copies c = {size, from, outs, out_count, size >= STREAM_MIN_BYTES};

    local_pieces(team, size * (out_count + 1), copy_piece, &c, size);
}

/* --- Rows ----------------------------------------------------------------- */

struct row_copies {
    const struct local_rows *rows;
    size_t unit; /* Bytes of an element. */
    const unsigned char *from;
    unsigned char *table; /* To be written; NULL: the outs are. */
    void *const *outs;
    size_t out_count;
};

static void copy_rows_piece(const void *task, size_t piece)
{
    const struct row_copies *c = task;
    size_t first = piece * LOCAL_PIECE;
    size_t end = first + local_length(piece, c->rows->count * c->rows->length);

    while (first < end) {
        size_t at, count = local_stretch(c->rows, first, end, &at);

        if (c->table != NULL) {
            memcpy(c->table + at * c->unit, c->from + first * c->unit,
                   count * c->unit);
        }
        for (size_t i = 0; i < c->out_count; i++) {
            memcpy((unsigned char *)c->outs[i] + first * c->unit,
                   c->from + at * c->unit, count * c->unit);
        }
        first += count;
    }
}

static void copy_rows(struct team *team, const struct row_copies *c)
{
    size_t count = c->rows->count * c->rows->length;

    local_pieces(team, count * c->unit * (c->out_count + 2), copy_rows_piece, c,
                 count);
}

void local_spread(struct team *team, enum kv_dtype dtype,
                  const struct local_rows *rows, const void *from, void *table,
                  size_t size)
{
    struct row_copies c = {.rows = rows,
                           .unit = kv_dtype_size(dtype),
                           .from = from,
                           .table = table};

    memset(table, 0, size);
    copy_rows(team, &c);
}

void local_gather(struct team *team, enum kv_dtype dtype,
                  const struct local_rows *rows, const void *table,
                  void *const *outs, size_t out_count)
{
    struct row_copies c = {.rows = rows,
                           .unit = kv_dtype_size(dtype),
                           .from = table,
                           .outs = outs,
                           .out_count = out_count};

    copy_rows(team, &c);
}

/* --- Sums ----------------------------------------------------------------- */

struct sums {
    enum kv_dtype dtype;
    size_t count;
    unsigned char *out;
    const void *const *inputs;
    size_t input_count;
    bool stream;
};

static void sum_piece(const void *task, size_t piece)
{
    const struct sums *s = task;
    size_t first = piece * LOCAL_PIECE;

    kv_sum_part(s->dtype, s->out + first * kv_dtype_size(s->dtype), s->inputs,
                s->input_count, first, local_length(piece, s->count),
                s->stream);
}

void local_sum(struct team *team, enum kv_dtype dtype, size_t count, void *out,
               const void *const *inputs, size_t input_count)
{
    size_t size = count * kv_dtype_size(dtype);
    struct sums s = {dtype,  count,       out,
                     inputs, input_count, size >= STREAM_MIN_BYTES};

    if (input_count == 1) { /* Bit for bit, even a signaling NaN. */
        local_copy(team, size, inputs[0], &out, 1);
        return;
    }
    local_pieces(team, size * (input_count + 1), sum_piece, &s, count);
}
