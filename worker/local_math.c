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

static void for_pieces(struct team *team, size_t moved_bytes, team_fn fn,
                       const void *task, size_t count)
{
    size_t pieces = (count + PIECE - 1) / PIECE;

    if (moved_bytes >= TEAM_MIN_BYTES) {
        team_run(team, fn, task, pieces);
        return;
    }
    for (size_t i = 0; i < pieces; i++) {
        fn(task, i);
    }
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

static void update_block(const struct local_update *u, size_t first,
                         size_t count, struct scratch *s)
{
    void *weights =
        (unsigned char *)u->weights + first * kv_dtype_size(u->dtype);
    struct kv_optim_args args = {.count = count,
                                 .weight = s->weight,
                                 .new_weight = s->new_weight,
                                 .step = u->step};

    args.gradient = gradient_at(u, first, count, s->gradient);
    if (u->dtype == KV_F32) {
        args.weight = weights;
    } else {
        kv_to_f32(u->dtype, weights, s->weight, count);
    }
    for (unsigned i = 0; i < u->slot_count; i++) {
        args.slot[i] = u->slots[i] + first;
        args.new_slot[i] = s->new_slot[i];
    }
    u->optim->update(&args);
    kv_from_f32(u->dtype, s->new_weight, weights, count);
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

    for (; first < end; first += BLOCK) {
        update_block(u, first, end - first < BLOCK ? end - first : BLOCK, &s);
    }
}

void local_update(struct team *team, const struct local_update *u)
{
    size_t arrays = u->input_count + 2 + 2 * (size_t)u->slot_count;

    for_pieces(team, u->count * kv_dtype_size(u->dtype) * arrays, update_piece,
               u, u->count);
}
