#include "worker/local_math.h"

#include <string.h>

#include "common/compute/stream.h"
#include "common/compute/sum.h"

#define PIECE ((size_t)16384) /* Elements; of a copy, bytes. */
#define BLOCK ((size_t)512)   /* Elements of an update, in the L1 cache. */

/* Below this many bytes read and written waking others takes longer. */
#define TEAM_MIN_BYTES ((size_t)1 << 20)

/* A result of this size is in no cache when it is read next. */
#define STREAM_MIN_BYTES ((size_t)16 << 20)

static void for_each(struct team *team, size_t moved_bytes, team_fn fn,
                     const void *task, size_t pieces)
{
    if (moved_bytes >= TEAM_MIN_BYTES) {
        team_run(team, fn, task, pieces);
        return;
    }
    for (size_t i = 0; i < pieces; i++) {
        fn(task, i);
    }
}

static void for_pieces(struct team *team, size_t moved_bytes, team_fn fn,
                       const void *task, size_t count)
{
    for_each(team, moved_bytes, fn, task, (count + PIECE - 1) / PIECE);
}

static size_t length(size_t piece, size_t count)
{
    size_t left = count - piece * PIECE;

    return left < PIECE ? left : PIECE;
}

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
    size_t at = piece * PIECE;
    size_t size = length(piece, c->size);

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

    for_pieces(team, size * (out_count + 1), copy_piece, &c, size);
}

/* --- Rows ----------------------------------------------------------------- */

/* How many of the elements `first` to `end` of rows side by side belong to one
 * row, which has them from *at of the table on. */
static size_t stretch(const struct local_rows *r, size_t first, size_t end,
                      size_t *at)
{
    size_t column = first % r->length, left = r->length - column;

    *at = (size_t)r->rows[first / r->length] * r->length + column;
    return left < end - first ? left : end - first;
}

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
    size_t first = piece * PIECE;
    size_t end = first + length(piece, c->rows->count * c->rows->length);

    while (first < end) {
        size_t at, count = stretch(c->rows, first, end, &at);

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

    for_pieces(team, count * c->unit * (c->out_count + 2), copy_rows_piece, c,
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
    size_t first = piece * PIECE;

    kv_sum_part(s->dtype, s->out + first * kv_dtype_size(s->dtype), s->inputs,
                s->input_count, first, length(piece, s->count), s->stream);
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
    for_pieces(team, size * (input_count + 1), sum_piece, &s, count);
}

/* --- Updates -------------------------------------------------------------- */

/* Rules write elsewhere. Their results go back from here: the lines that they
 * replace are in the cache still, and so each is read and written once. */
struct scratch {
    float gradient[BLOCK], weight[BLOCK], new_weight[BLOCK];
    float new_slot[KV_OPTIM_SLOTS_MAX][BLOCK];
    uint64_t sum[BLOCK]; /* Of what is not computed in f32. */
};

static const float *gradient_at(const struct local_update *u, size_t first,
                                size_t count, float *scratch)
{
    if (u->input_count == 1 && u->dtype == KV_F32) {
        return (const float *)u->inputs[0] + first;
    }
    kv_sum_range(u->dtype, scratch, u->inputs, u->input_count, first, count);
    return scratch;
}

static void add_block(const struct local_update *u, void *weights, size_t from,
                      size_t count, struct scratch *s)
{
    const void *const pair[] = {weights, s->sum};

    kv_sum_part(u->dtype, s->sum, u->inputs, u->input_count, from, count,
                false);
    kv_sum(u->dtype, weights, pair, 2, count);
}

/* `from` is where the gradient has what the value has at `first`. */
static void update_block(const struct local_update *u, size_t first,
                         size_t from, size_t count, struct scratch *s)
{
    void *weights =
        (unsigned char *)u->weights + first * kv_dtype_size(u->dtype);
    struct kv_optim_args args = {.count = count,
                                 .weight = s->weight,
                                 .new_weight = s->new_weight,
                                 .step = u->step,
                                 .first = first};

    if (!kv_dtype_in_f32(u->dtype)) {
        add_block(u, weights, from, count, s);
        return;
    }
    args.gradient = gradient_at(u, from, count, s->gradient);
    if (u->dtype == KV_F32) {
        args.weight = weights;
    } else if (u->master != NULL) {
        args.weight = u->master + first;
    } else {
        kv_to_f32(u->dtype, weights, s->weight, count);
    }
    for (unsigned i = 0; i < u->slot_count; i++) {
        args.slot[i] = u->slots[i] + first;
        args.new_slot[i] = s->new_slot[i];
    }
    u->optim->update(&args);
    kv_from_f32(u->dtype, s->new_weight, weights, count);
    if (u->master != NULL) {
        memcpy(u->master + first, s->new_weight, count * sizeof(float));
    }
    for (unsigned i = 0; i < u->slot_count; i++) {
        memcpy(u->slots[i] + first, s->new_slot[i], count * sizeof(float));
    }
}

static void update_piece(const void *task, size_t piece)
{
    const struct local_update *u = task;
    KV_SCRATCH struct scratch s;
    size_t first = piece * PIECE;
    size_t end = first + length(piece, u->count);

    while (first < end) {
        size_t count = end - first < BLOCK ? end - first : BLOCK;
        size_t at = first;

        if (u->rows.rows != NULL) {
            count = stretch(&u->rows, first, first + count, &at);
        }
        update_block(u, at, first, count, &s);
        first += count;
    }
}

/* --- Updates with state by rows: whole rows at a time --------------------- */

size_t local_update_room(const struct kv_optim *optim, enum kv_dtype dtype,
                         size_t count, size_t input_count)
{
    bool direct = dtype == KV_F32 && input_count == 1;

    return optim->rows && !direct ? 2 * count * sizeof(float) : 0;
}

static float *weights_of_rows(const struct local_update *u, void *weights,
                              size_t first, size_t from, size_t count)
{
    float *wide;

    if (u->dtype == KV_F32) {
        return weights;
    }
    if (u->master != NULL) {
        return u->master + first;
    }
    wide = u->room + u->count + from;
    kv_to_f32(u->dtype, weights, wide, count);
    return wide;
}

/* In place; `from` and `first` as in update_block(). */
static void update_rows(const struct local_update *u, size_t first, size_t from,
                        size_t count)
{
    void *weights =
        (unsigned char *)u->weights + first * kv_dtype_size(u->dtype);
    float *wide = weights_of_rows(u, weights, first, from, count);
    struct kv_optim_args args = {.count = count,
                                 .weight = wide,
                                 .new_weight = wide,
                                 .step = u->step,
                                 .first = first,
                                 .row_length = u->width};

    args.gradient =
        gradient_at(u, from, count, u->room == NULL ? NULL : u->room + from);
    for (unsigned i = 0; i < u->slot_count; i++) {
        args.slot[i] = args.new_slot[i] = u->slots[i] + first / u->width;
    }
    u->optim->update(&args);
    if (u->dtype != KV_F32) {
        kv_from_f32(u->dtype, wide, weights, count);
    }
}

static size_t rows_of_piece(const struct local_update *u)
{
    return u->width < PIECE ? PIECE / u->width : 1;
}

static void update_rows_piece(const void *task, size_t piece)
{
    const struct local_update *u = task;
    size_t rows = u->count / u->width, each = rows_of_piece(u);
    size_t first = piece * each;
    size_t end = rows - first < each ? rows : first + each;

    if (u->rows.rows == NULL) {
        update_rows(u, first * u->width, first * u->width,
                    (end - first) * u->width);
        return;
    }
    for (size_t row = first; row < end; row++) {
        update_rows(u, (size_t)u->rows.rows[row] * u->width, row * u->width,
                    u->width);
    }
}

void local_update(struct team *team, const struct local_update *u)
{
    size_t arrays = u->input_count + 2 + 2 * (size_t)u->slot_count;
    size_t bytes = u->count * kv_dtype_size(u->dtype) * arrays;

    if (u->optim->rows) {
        size_t each = rows_of_piece(u), rows = u->count / u->width;

        for_each(team, bytes, update_rows_piece, u, (rows + each - 1) / each);
        return;
    }
    for_pieces(team, bytes, update_piece, u, u->count);
}
