/* Rounds whose sum is not finite. The rule's results stand out of place, so
 * they are thrown away, and the round is committed with the value as it was.
 * All slices of a key that share norms are left out alike: a total is not
 * finite either. Who pushed what is told to everyone in the round before its
 * answer, and to who pushes it again. */
#include <math.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/compute/finite.h"
#include "server/shard_commit.h"
#include "server/shard_private.h"

/* --- Found ---------------------------------------------------------------- */

void shard_guard(struct shard *s, enum kv_dtype dtype, const void *sum,
                 size_t count)
{
    if (!s->spoiled && kv_optim_guards(&s->spec)) {
        s->spoiled = !kv_finite(dtype, sum, count);
    }
}

void shard_guard_totals(const struct shard *s, struct measure *m,
                        const double *totals)
{
    for (unsigned i = 0; i < KV_NORMS_MAX && kv_optim_guards(&s->spec); i++) {
        m->spoiled = m->spoiled || !isfinite(totals[i]);
    }
}

void shard_guard_begin(struct shard *s, const struct entry *e)
{
    s->spoiled = e->measure != NULL && e->measure->spoiled;
}

/* --- Who ------------------------------------------------------------------ */

static bool is_finite(struct shard *s, const struct kv_codec *codec,
                      enum kv_dtype dtype, const void *data, size_t count)
{
    if (!kv_dtype_in_f32(dtype)) {
        return kv_finite(dtype, data, count); /* In no other codec. */
    }
    for (size_t first = 0, part; first < count; first += part) {
        part = count - first < SHARD_BLOCK ? count - first : SHARD_BLOCK;
        if (!kv_finite(KV_F32,
                       kv_codec_sum_view(&codec, &data, 1, dtype, first, part,
                                         s->gradient),
                       part)) {
            return false;
        }
    }
    return true;
}

static bool share_is_finite(struct shard *s, const struct entry *e,
                            const struct share *share)
{
    const char *data = share->payload;
    size_t count = e->count;

    if (share->rows) {
        size_t rows = bytes_get_u32(share->payload);

        count = rows * e->row_length;
        data += (1 + rows) * sizeof(uint32_t);
    }
    return is_finite(s, share->codec, e->dtype, data, count);
}

/* The lowest of those in the round; SHARD_NOBODY: only their sum is not. */
static uint32_t culprit(struct shard *s, const struct entry *e)
{
    if (e->arrived == 0) {
        return s->alone;
    }
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        const struct share *share = e->shares[rank];

        if (share != NULL && share->pushed && !share_is_finite(s, e, share)) {
            return rank;
        }
    }
    return SHARD_NOBODY;
}

/* --- Left out ------------------------------------------------------------- */

/* The name of the round for who pushed it: in async its own count. */
static uint64_t name_of(const struct shard *s, const struct entry *e,
                        const struct value *next)
{
    for (uint32_t rank = 0; s->policy->per_rank && rank < s->workers; rank++) {
        if (e->shares[rank] != NULL && e->shares[rank]->pushed) {
            return next->seq[rank];
        }
    }
    return next->round;
}

enum kv_status shard_skip(struct shard *s, struct entry *e)
{
    const struct value *old = e->value;
    size_t size = shard_block_bytes(e);
    struct value *next = arena_alloc(s->arena, size);

    if (next == NULL) {
        return KV_ENOSPC;
    }
    memcpy(next, old, size);
    next->changed = 0;
    shard_count_round(s, e, next);
    shard_keep_norms(e, next);
    next->skipped = name_of(s, e, next);
    next->culprit = culprit(s, e);
    next->fails = s->spec.nonfinite == (double)KV_NONFINITE_ERROR;
    shard_make_live(s, e, next);
    return KV_OK;
}

/* --- Told ----------------------------------------------------------------- */

void shard_tell_skip(struct shard *s, uint32_t rank, const struct entry *e,
                     uint64_t round)
{
    const struct value *v = e->value;
    struct shard_skip skip = {v->culprit, v->fails != 0};

    if (v->skipped != round || (s->policy->per_rank && rank != v->culprit)) {
        return;
    }
    s->events.skipped(s->events.ctx, rank, e->slot, round, &skip);
}
