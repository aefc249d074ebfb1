#include "worker/local_update.h"

#include <stdatomic.h>
#include <string.h>

#include "common/compute/finite.h"
#include "common/compute/stream.h"
#include "common/compute/sum.h"
#include "worker/local_pieces.h"

#define BLOCK ((size_t)512) /* Elements of an update, in the L1 cache. */

/* --- Elements, and state like them ---------------------------------------- */

/* Rules write elsewhere. Their results go back from here: the lines that they
 * replace are in the cache still, and so each is read and written once. */
union reals {
    float f32[BLOCK];
    double f64[BLOCK];
};

struct scratch {
    union reals gradient, new_weight, new_slot[KV_OPTIM_SLOTS_MAX];
    float weight[BLOCK];
    uint64_t sum[BLOCK]; /* Of what no rule computes. */
};

/* Bytes of an element of what is computed. */
static size_t real_size(const struct local_update *u)
{
    return kv_dtype_size(kv_optim_real(u->dtype));
}

static bool is_real(const struct local_update *u)
{
    return u->dtype == kv_optim_real(u->dtype);
}

static const struct kv_optim *rule_of(const struct local_update *u)
{
    return kv_optim_for(u->optim, u->dtype);
}

/* Element `at` of an array of reals. */
static void *real_at(const struct local_update *u, const void *array, size_t at)
{
    return (unsigned char *)(uintptr_t)array + at * real_size(u);
}

static const void *gradient_at(const struct local_update *u, size_t first,
                               size_t count, void *scratch)
{
    if (u->input_count == 1 && is_real(u)) {
        return real_at(u, u->inputs[0], first);
    }
    if (u->dtype == KV_F64) {
        kv_sum_part(u->dtype, scratch, u->inputs, u->input_count, first, count,
                    false);
    } else {
        kv_sum_range(u->dtype, scratch, u->inputs, u->input_count, first,
                     count);
    }
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

/* What a rule reads: the value at `first`, of which the gradient is at `from`.
 */
static struct kv_optim_args read_block(const struct local_update *u,
                                       size_t first, size_t from, size_t count,
                                       struct scratch *s)
{
    const void *weights =
        (unsigned char *)u->weights + first * kv_dtype_size(u->dtype);
    struct kv_optim_args args = {.count = count,
                                 .weight = s->weight,
                                 .step = u->step,
                                 .first = u->number + first};

    args.gradient = gradient_at(u, from, count, &s->gradient);
    if (is_real(u)) {
        args.weight = weights;
    } else if (u->master != NULL) {
        args.weight = u->master + first;
    } else {
        kv_to_f32(u->dtype, weights, s->weight, count);
    }
    for (unsigned i = 0; i < u->slot_count; i++) {
        args.slot[i] = real_at(u, u->slots[i], first);
    }
    return args;
}

static void update_block(const struct local_update *u, size_t first,
                         size_t from, size_t count, struct scratch *s)
{
    void *weights =
        (unsigned char *)u->weights + first * kv_dtype_size(u->dtype);
    struct kv_optim_args args;

    if (!kv_optim_computes(u->dtype)) {
        add_block(u, weights, from, count, s);
        return;
    }
    args = read_block(u, first, from, count, s);
    args.new_weight = &s->new_weight;
    for (unsigned i = 0; i < u->slot_count; i++) {
        args.new_slot[i] = &s->new_slot[i];
    }
    rule_of(u)->update(&args);
    if (is_real(u)) {
        memcpy(weights, &s->new_weight, count * real_size(u));
    } else {
        kv_from_f32(u->dtype, args.new_weight, weights, count);
    }
    if (u->master != NULL) {
        memcpy(u->master + first, &s->new_weight, count * sizeof(float));
    }
    for (unsigned i = 0; i < u->slot_count; i++) {
        memcpy(real_at(u, u->slots[i], first), &s->new_slot[i],
               count * real_size(u));
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

/* --- State by rows: whole rows at a time ---------------------------------- */

static void *weights_of_rows(const struct local_update *u, void *weights,
                             size_t first, size_t from, size_t count)
{
    float *room = u->room, *wide;

    if (is_real(u)) {
        return weights;
    }
    if (u->master != NULL) {
        return u->master + first;
    }
    wide = room + u->count + from;
    kv_to_f32(u->dtype, weights, wide, count);
    return wide;
}

/* In place; `from` and `first` as in update_block(). */
static void update_rows(const struct local_update *u, size_t first, size_t from,
                        size_t count)
{
    void *weights =
        (unsigned char *)u->weights + first * kv_dtype_size(u->dtype);
    void *wide = weights_of_rows(u, weights, first, from, count);
    void *room = u->room == NULL ? NULL : real_at(u, u->room, from);
    struct kv_optim_args args = {.count = count,
                                 .weight = wide,
                                 .new_weight = wide,
                                 .step = u->step,
                                 .first = u->number + first,
                                 .row_length = u->width};

    args.gradient = gradient_at(u, from, count, room);
    for (unsigned i = 0; i < u->slot_count; i++) {
        args.new_slot[i] = real_at(u, u->slots[i], first / u->width);
        args.slot[i] = args.new_slot[i];
    }
    rule_of(u)->update(&args);
    if (!is_real(u)) {
        kv_from_f32(u->dtype, wide, weights, count);
    }
}

/* Rows of f32 are updated in place, many fetched before they are computed. */
static bool fetches(const struct local_update *u)
{
    return u->rows.rows != NULL && u->dtype == KV_F32 && u->input_count == 1;
}

static void update_fetched(const struct local_update *u, size_t first,
                           size_t count)
{
    const float *gradient = u->inputs[0];
    struct kv_optim_args table = {.weight = u->weights,
                                  .new_weight = u->weights,
                                  .gradient = gradient + first * u->width,
                                  .step = u->step,
                                  .first = u->number,
                                  .row_length = u->width};

    for (unsigned i = 0; i < u->slot_count; i++) {
        table.slot[i] = table.new_slot[i] = u->slots[i];
    }
    kv_optim_update_rows(u->optim, &table, u->rows.rows + first, count);
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

    if (fetches(u)) {
        update_fetched(u, first, end - first);
        return;
    }
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

/* --- Norms ---------------------------------------------------------------- */

_Static_assert(LOCAL_PIECE % KV_OPTIM_BLOCK == 0, "a piece is whole blocks");
_Static_assert(KV_OPTIM_BLOCK % BLOCK == 0, "measured in equal parts");
_Static_assert(BLOCK % KV_OPTIM_CHUNK == 0, "parts are whole chunks");

#define SUMS (sizeof(double[KV_OPTIM_NORMS_MAX]))

struct measuring {
    const struct local_update *u;
    unsigned pass;
};

static size_t blocks_of(size_t count)
{
    return (count + KV_OPTIM_BLOCK - 1) / KV_OPTIM_BLOCK;
}

static void measure_block(const struct measuring *m, size_t block)
{
    const struct local_update *u = m->u;
    size_t first = block * KV_OPTIM_BLOCK, left = u->count - first;
    size_t end = first + (left < KV_OPTIM_BLOCK ? left : KV_OPTIM_BLOCK);
    double *sums = (double *)u->room + block * KV_OPTIM_NORMS_MAX;
    KV_SCRATCH struct scratch s;

    memset(sums, 0, SUMS);
    for (; first < end; first += BLOCK) {
        size_t count = end - first < BLOCK ? end - first : BLOCK;
        struct kv_optim_args args = read_block(u, first, first, count, &s);

        rule_of(u)->measure(&args, m->pass, sums);
    }
}

static void measure_piece(const void *task, size_t piece)
{
    const struct measuring *m = task;
    size_t first = piece * LOCAL_PIECE;
    size_t end = first + local_length(piece, m->u->count);

    for (size_t at = first; at < end; at += KV_OPTIM_BLOCK) {
        measure_block(m, at / KV_OPTIM_BLOCK);
    }
}

void local_measure(struct team *team, const struct local_update *u,
                   unsigned pass, double *total)
{
    size_t arrays = u->input_count + 1 + u->slot_count;
    size_t bytes = u->count * kv_dtype_size(u->dtype) * arrays;
    const double *sums = u->room;
    struct measuring m = {u, pass};

    local_pieces(team, bytes, measure_piece, &m, u->count);
    memset(total, 0, SUMS);
    for (size_t block = 0; block < blocks_of(u->count); block++) {
        for (unsigned i = 0; i < KV_OPTIM_NORMS_MAX; i++) {
            total[i] += *sums++;
        }
    }
}

/* --- Is it finite? -------------------------------------------------------- */

struct search {
    const struct local_update *u;
    atomic_bool *spoiled;
};

static bool block_is_finite(const struct local_update *u, size_t first,
                            size_t count)
{
    KV_SCRATCH union reals gradient;
    KV_SCRATCH uint64_t sum[BLOCK];

    if (kv_optim_computes(u->dtype)) {
        return kv_finite(kv_optim_real(u->dtype),
                         gradient_at(u, first, count, &gradient), count);
    }
    kv_sum_part(u->dtype, sum, u->inputs, u->input_count, first, count, false);
    return kv_finite(u->dtype, sum, count);
}

static void search_piece(const void *task, size_t piece)
{
    const struct search *s = task;
    size_t first = piece * LOCAL_PIECE;
    size_t end = first + local_length(piece, s->u->count);

    while (first < end) {
        size_t count = end - first < BLOCK ? end - first : BLOCK;

        if (!block_is_finite(s->u, first, count)) {
            atomic_store(s->spoiled, true);
        }
        first += count;
    }
}

/* One more read of the inputs: an update is in place, so it must be known
 * before. */
bool local_gradient_is_finite(struct team *team, const struct local_update *u)
{
    size_t bytes = u->count * kv_dtype_size(u->dtype) * u->input_count;
    atomic_bool spoiled = false;
    struct search s = {u, &spoiled};

    local_pieces(team, bytes, search_piece, &s, u->count);
    return !atomic_load(&spoiled);
}

/* --- All of it ------------------------------------------------------------ */

size_t local_update_room(const struct kv_optim *optim, enum kv_dtype dtype,
                         size_t count, size_t input_count)
{
    bool direct = dtype == kv_optim_real(dtype) && input_count == 1;

    if (optim->passes > 0) {
        return blocks_of(count) * SUMS;
    }
    return optim->rows && !direct
               ? 2 * count * kv_dtype_size(kv_optim_real(dtype))
               : 0;
}

void local_update(struct team *team, const struct local_update *u)
{
    size_t arrays = u->input_count + 2 + 2 * (size_t)u->slot_count;
    size_t bytes = u->count * kv_dtype_size(u->dtype) * arrays;

    if (u->optim->rows || fetches(u)) {
        size_t each = rows_of_piece(u), rows = u->count / u->width;

        local_each(team, bytes, update_rows_piece, u, (rows + each - 1) / each);
        return;
    }
    local_pieces(team, bytes, update_piece, u, u->count);
}
