/* What a round does to elements: their sum, and the rule. */
#include <string.h>

#include "common/base/mem.h"
#include "common/compute/sum.h"
#include "server/shard_commit.h"
#include "server/shard_private.h"

static const union {
    float f32[SHARD_BLOCK];
    double f64[SHARD_BLOCK];
} zeros __attribute__((aligned(64)));

void shard_sum(struct shard *s, enum kv_dtype dtype, size_t n, size_t count,
               const void *old, void *new)
{
    size_t unit = kv_dtype_size(dtype);

    if (s->generation == 0) {
        kv_codec_sum_own(s->codecs, s->inputs, n, dtype, 0, count, new);
        return;
    }
    for (size_t first = 0; first < count; first += SHARD_BLOCK) {
        const void *const pair[] = {(const char *)old + first * unit, s->sum};
        size_t left = count - first;
        size_t part = left < SHARD_BLOCK ? left : SHARD_BLOCK;

        kv_codec_sum_own(s->codecs, s->inputs, n, dtype, first, part, s->sum);
        shard_guard(s, dtype, s->sum, part);
        kv_sum(dtype, (char *)new + first *unit, pair, 2, part);
    }
}

/* --- Blocks --------------------------------------------------------------- */

static void *room(size_t count, size_t unit)
{
    return mem_aligned(64, count * unit);
}

bool shard_reserve(struct shard *s, size_t count)
{
    void *gradient, *weight, *new_weight;

    if (count <= s->block) {
        return true;
    }
    gradient = room(count + KV_CODEC_GRAIN, sizeof(double));
    weight = room(count, sizeof(float));
    new_weight = room(count, sizeof(float));
    if (gradient == NULL || weight == NULL || new_weight == NULL) {
        mem_free(gradient);
        mem_free(weight);
        mem_free(new_weight);
        return false;
    }
    mem_free(s->gradient);
    mem_free(s->weight);
    mem_free(s->new_weight);
    s->gradient = gradient;
    s->weight = weight;
    s->new_weight = new_weight;
    s->block = count;
    return true;
}

size_t shard_block_size(const struct shard_change *c, size_t first)
{
    size_t left = c->shape->count - first, width = c->shape->width;
    size_t block = SHARD_BLOCK;

    if (c->form.by_row) {
        block = width < SHARD_BLOCK ? SHARD_BLOCK / width * width : width;
    }
    return left < block ? left : block;
}

/* --- The rule ------------------------------------------------------------- */

const void *shard_gradient(struct shard *s, enum kv_dtype dtype, size_t n,
                           size_t first, size_t count)
{
    size_t lead = first % KV_CODEC_GRAIN;

    if (n == 0) {
        return &zeros;
    }
    if (dtype == KV_F64) {
        kv_codec_sum_own(s->codecs, s->inputs, n, dtype, first, count,
                         s->gradient);
        return s->gradient;
    }
    return kv_codec_sum_view(s->codecs, s->inputs, n, dtype, first - lead,
                             count + lead, s->gradient) +
           lead;
}

static const void *weights_at(struct shard *s, const struct shard_change *c,
                              size_t first, size_t count)
{
    const char *at =
        (const char *)c->old + first * kv_dtype_size(c->shape->dtype);

    if (c->shape->dtype == kv_optim_real(c->shape->dtype)) {
        return at;
    }
    if (c->form.master && !c->fresh) {
        return state_master(c->shape, c->old) + first;
    }
    kv_to_f32(c->shape->dtype, at, s->weight, count);
    return s->weight;
}

/* Of an array of state, where that of element `first` is. */
static size_t state_first(const struct shard_change *c, size_t first)
{
    return c->form.by_row ? first / c->shape->width : first;
}

void shard_before(struct shard *s, const struct shard_change *c, size_t first,
                  struct kv_optim_args *args)
{
    size_t at = state_first(c, first);

    for (unsigned i = 0; i < c->form.slots; i++) {
        args->slot[i] =
            c->fresh ? &zeros : state_slot(c->shape, c->form, c->old, i, at);
    }
    args->row_length = c->shape->width;
    args->weight = weights_at(s, c, first, args->count);
}

void shard_after(struct shard *s, const struct shard_change *c, size_t first,
                 struct kv_optim_args *args)
{
    enum kv_dtype dtype = c->shape->dtype, real = kv_optim_real(dtype);
    const struct kv_optim *optim = kv_optim_for(s->spec.optim, dtype);
    char *at = (char *)c->new + first *kv_dtype_size(dtype);
    size_t slot_at = state_first(c, first);

    shard_guard(s, real, args->gradient, args->count);
    for (unsigned i = 0; i < c->form.slots; i++) {
        args->new_slot[i] = state_slot(c->shape, c->form, c->new, i, slot_at);
    }
    if (dtype == real) {
        args->new_weight = at;
        optim->update(args);
        return;
    }
    args->new_weight =
        c->form.master ? state_master(c->shape, c->new) + first : s->new_weight;
    optim->update(args);
    kv_from_f32(dtype, args->new_weight, at, args->count);
}

void shard_fill(const struct shard_change *c)
{
    memset(c->new, 0, state_size(c->shape, c->form));
    memcpy(c->new, c->old, c->shape->count * kv_dtype_size(c->shape->dtype));
    if (c->form.master) {
        kv_to_f32(c->shape->dtype, c->old, state_master(c->shape, c->new),
                  c->shape->count);
    }
}
