#include "worker/local_update.h"

#include <string.h>

#include "common/compute/stream.h"
#include "common/compute/sum.h"
#include "worker/local_pieces.h"

#define BLOCK ((size_t)512) /* Elements of an update, in the L1 cache. */

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
    size_t first = piece * LOCAL_PIECE;
    size_t end = first + local_length(piece, u->count);

    while (first < end) {
        size_t count = end - first < BLOCK ? end - first : BLOCK;
        size_t at = first;

        if (u->rows.rows != NULL) {
            count = local_stretch(&u->rows, first, first + count, &at);
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
    return u->width < LOCAL_PIECE ? LOCAL_PIECE / u->width : 1;
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

        local_each(team, bytes, update_rows_piece, u, (rows + each - 1) / each);
        return;
    }
    local_pieces(team, bytes, update_piece, u, u->count);
}
