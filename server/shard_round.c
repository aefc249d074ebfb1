#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

#include "server/shard_commit.h"
#include "server/shard_settings.h"

/* --- The sum over the ranks, and the rule --------------------------------- */

size_t shard_inputs(struct shard *s, const struct entry *e)
{
    size_t n = 0;

    for (uint32_t rank = 0; n < e->arrived; rank++) {
        const struct share *share = e->shares[rank];

        if (share != NULL && share->pushed) {
            s->inputs[n] = share->payload;
            s->codecs[n] = share->codec;
            n++;
        }
    }
    return n;
}

struct shard_change shard_change(const struct shard *s, const struct entry *e,
                                 void *new)
{
    struct shard_change c = {.shape = &e->shape,
                             .form = shard_form(s, e->dtype),
                             .fresh = e->value->generation != s->generation,
                             .old = shard_weights(e->value),
                             .new = new};

    return c;
}

void shard_block(struct shard *s, const struct entry *e,
                 const struct shard_change *c, size_t n, size_t first,
                 struct kv_optim_args *args)
{
    args->count = shard_block_size(c, first);
    args->first = shard_element(e, first);
    args->gradient = shard_gradient(s, e->dtype, n, first, args->count);
    shard_before(s, c, first, args);
}

/* Block by block: sum, then weights and state out of place. */
static void update(struct shard *s, const struct entry *e, size_t n,
                   const struct value *next)
{
    struct shard_change c = shard_change(s, e, shard_weights(next));
    struct kv_optim_args args = {.step = shard_round_step(s, e, next->updates)};

    for (size_t first = 0; first < e->count; first += args.count) {
        shard_block(s, e, &c, n, first, &args);
        shard_after(s, &c, first, &args);
    }
}

/* --- Commit --------------------------------------------------------------- */

void shard_count_round(const struct shard *s, const struct entry *e,
                       struct value *next)
{
    const struct value *old = e->value;

    KV_CHECK(next->seqs == 0 || next->seqs == s->workers);
    next->round = old->round + 1;
    next->reset = 0;
    for (uint32_t rank = 0; rank < next->seqs; rank++) {
        const struct share *share = e->shares[rank];
        bool pushed = share != NULL && share->pushed;

        next->seq[rank] = old->seq[rank] + (pushed ? 1 : 0);
    }
}

void shard_keep_norms(const struct entry *e, struct value *next)
{
    next->passes = 0;
    if (e->measure != NULL) {
        next->passes = e->measure->pass;
        memcpy(next->sums, e->measure->sums, sizeof next->sums);
    }
}

void shard_next_head(const struct shard *s, const struct entry *e,
                     struct value *next)
{
    const struct value *old = e->value;
    bool fresh = old->generation != s->generation;

    *next = *old;
    shard_count_round(s, e, next);
    next->generation = s->generation;
    next->form = shard_form(s, e->dtype);
    if (s->generation != 0) {
        next->updates = (fresh ? 0 : old->updates) + 1;
    }
    shard_keep_norms(e, next);
}

/* A reply that is still being sent holds the old block. */
void shard_make_live(struct shard *s, struct entry *e, struct value *next)
{
    struct value *old = e->value;

    arena_store(&e->record->live, arena_offset(s->arena, next));
    e->value = next;
    s->commits++;
    if (old->rows != next->rows) {
        arena_release(s->arena, arena_at(s->arena, old->rows));
    }
    arena_release(s->arena, old);
}

/* All of the new state stands in a block of its own before the one store. */
enum kv_status shard_commit(struct shard *s, struct entry *e, size_t n)
{
    const struct value *old = e->value;
    struct value *next;

    next = arena_alloc(s->arena, shard_value_size(s, &e->shape));
    if (next == NULL) {
        return KV_ENOSPC;
    }
    shard_next_head(s, e, next);
    shard_guard_begin(s, e);
    if (s->generation != 0 && kv_optim_computes(e->dtype)) {
        update(s, e, n, next);
    } else {
        shard_sum(s, e->dtype, n, e->count, shard_weights(old),
                  shard_weights(next));
    }
    if (s->spoiled) {
        arena_release(s->arena, next);
        return shard_skip(s, e);
    }
    shard_make_live(s, e, next);
    return KV_OK;
}

/* --- Answers -------------------------------------------------------------- */

static void answer_pushes(struct shard *s, struct entry *e)
{
    for (uint32_t rank = 0; e->arrived > 0; rank++) {
        struct share *share = e->shares[rank];

        if (share != NULL && share->pushed) {
            struct policy_view v = shard_view(s, e);

            uint64_t round = s->policy->committed(&v, rank);

            shard_share_unpush(s, share);
            shard_tell_skip(s, rank, e, round);
            shard_answer_push(s, rank, e->slot, round, KV_OK);
        }
    }
}

static void answer_pulls(struct shard *s, struct entry *e)
{
    struct policy_view v = shard_view(s, e);

    for (uint32_t rank = 0; rank < s->workers && e->waiting > 0; rank++) {
        struct share *share = e->shares[rank];

        if (share == NULL || !share->pulls || share->ripe ||
            !s->policy->readable(&v, rank, share->pull_round)) {
            continue;
        }
        if (s->events.full(s->events.ctx, rank)) {
            shard_share_ripen(s, share);
        } else {
            shard_share_answer(s, share);
        }
    }
}

/* The pull behind a push waits for a round that the rank will push again only
 * once it has heard of both. */
void shard_refuse_share(struct shard *s, const struct entry *e,
                        struct share *share, enum kv_status status)
{
    struct policy_view v = shard_view(s, e);
    uint32_t rank = share->rank;
    uint64_t round = s->policy->committed(&v, rank) + 1;
    bool pulls = share->pulls;

    shard_share_unpush(s, share);
    shard_answer_push(s, rank, e->slot, round, status);
    if (pulls) {
        shard_share_unpull(s, share);
        shard_refuse_pull(s, rank, e->slot, round, status);
    }
}

void shard_refuse_round(struct shard *s, struct entry *e, enum kv_status status)
{
    for (uint32_t rank = 0; e->arrived > 0; rank++) {
        if (e->shares[rank] != NULL && e->shares[rank]->pushed) {
            shard_refuse_share(s, e, e->shares[rank], status);
            shard_share_refuse(s, e, rank);
        }
    }
}

/* Who pushes into a full arena may try again, and the round may still close:
 * everyone is told, so that nobody waits for it unknowing. */
static void no_room(struct shard *s, struct entry *e)
{
    snprintf(
        s->text, sizeof s->text,
        "the server has no room left for key id %u slice %u: %zu bytes are "
        "wanted (--arena-dir, --arena-max)",
        e->key_id, e->slice, shard_value_size(s, &e->shape));
    shard_refuse_round(s, e, KV_ENOSPC);
}

static enum kv_status commit_any(struct shard *s, struct entry *e)
{
    if (e->reset) {
        return shard_reset(s, e);
    }
    return e->row_length > 0 ? shard_rows_commit(s, e)
                             : shard_commit(s, e, shard_inputs(s, e));
}

void shard_close_round(struct shard *s, struct entry *e)
{
    bool ready = true;
    enum kv_status status = KV_OK;

    shard_tune(s, e);
    if (!e->reset) {
        status = shard_norms_ready(s, e, &ready);
    }
    if (status == KV_OK && !ready) {
        return;
    }
    if (status == KV_OK) {
        status = commit_any(s, e);
    }
    shard_norms_end(s, e);
    if (status == KV_EINVAL) {
        shard_refuse_round(s, e, status); /* It has its sentence. */
        return;
    }
    if (status != KV_OK) {
        no_room(s, e);
        return;
    }
    answer_pushes(s, e);
    answer_pulls(s, e);
}
