/* Runs of small slices, as they come in a frame. */
#include "common/base/check.h"
#include "server/shard_commit.h"
#include "server/shard_settings.h"

#define PREFETCH_AHEAD 4               /* Slices. */
#define PREFETCH_MAX ((size_t)2 << 10) /* Bytes of a slice. */

/* Slices of a run follow each other, but a record, a block's header and its
 * values each lie in a place of their own: by the time that they are needed
 * they should be on their way. A compiler takes a call that only does this for
 * one that does nothing, so there must be none. */
static inline __attribute__((always_inline)) void
prefetch(const struct shard *s, const struct run *run, uint32_t slot)
{
    const struct entry *e = shard_entry(s, slot + PREFETCH_AHEAD);
    const char *block;
    size_t size;

    if (slot + PREFETCH_AHEAD >= run->slot + run->count || e == NULL) {
        return;
    }
    block = (const char *)e->value;
    size = e->count * sizeof(float);
    size = size < PREFETCH_MAX ? size : PREFETCH_MAX;
    __builtin_prefetch(e->record, 1);
    arena_prefetch(block);
    for (size_t at = 0; at < sizeof *e->value + size; at += 64) {
        __builtin_prefetch(block + at, 0);
    }
}

/* --- Pushes --------------------------------------------------------------- */

/* The codec, if pushes in it may be committed by commit_alone(); else NULL. */
static const struct kv_codec *codec_alone(const struct shard *s, uint32_t rank,
                                          uint32_t id)
{
    const struct kv_codec *codec = kv_codec_by_id(id);
    bool plain = codec != NULL && codec->accepts(KV_F32) &&
                 codec->plain(KV_F32) == (int)KV_F32;

    return plain && !shard_has_left(s, rank) && !s->policy->per_rank &&
                   s->measures == 0 &&
                   (s->generation == 0 || s->spec.optim->passes == 0)
               ? codec
               : NULL;
}

/* Does this push close the round by itself, with nobody waiting for it? */
static bool closes_alone(const struct shard *s, const struct entry *e,
                         uint32_t rank, const struct run *run)
{
    struct policy_view v = shard_view(s, e);

    v.arrived = 1;
    return e->arrived == 0 && e->waiting == 0 && e->shares[rank] == NULL &&
           e->dtype == KV_F32 && e->row_length == 0 &&
           e->count * sizeof(float) == run->size &&
           s->policy->committed(&v, rank) + 1 == run->round &&
           s->policy->closes(&v);
}

static bool commit_alone(struct shard *s, uint32_t rank, const struct run *run,
                         uint32_t slot, const struct kv_codec *codec,
                         const void *payload)
{
    struct entry *e = shard_entry_of(s, slot, run->round);

    if (codec == NULL || e == NULL || !closes_alone(s, e, rank, run)) {
        return false;
    }
    shard_tune(s, e);
    s->inputs[0] = payload;
    s->codecs[0] = codec;
    s->alone = rank;
    if (shard_commit(s, e, 1) != KV_OK) {
        return false;
    }
    shard_tell_skip(s, rank, e, run->round);
    return true;
}

/* Slots first .. end-1 are committed. */
static void answer(struct shard *s, uint32_t rank, const struct run *run,
                   uint32_t first, uint32_t end)
{
    struct shard_answer a = {.rank = rank,
                             .slot = first,
                             .more = end - first - 1,
                             .round = run->round,
                             .status = KV_OK};

    if (first < end) {
        s->events.answer(s->events.ctx, &a);
    }
}

/* With one worker slices mostly need nothing but the commit: a share of what
 * is open, and an answer for each, would cost more than that. */
void shard_push_run(struct shard *s, uint32_t rank, const struct run *run,
                    uint32_t codec, const void *payload)
{
    const struct kv_codec *alone = codec_alone(s, rank, codec);
    const char *at = payload;
    uint32_t first = run->slot, end = run->slot + run->count;

    KV_CHECK(rank < s->workers);
    for (uint32_t slot = run->slot; slot < end; slot++, at += run->size) {
        prefetch(s, run, slot);
        if (commit_alone(s, rank, run, slot, alone, at)) {
            continue;
        }
        answer(s, rank, run, first, slot);
        first = slot + 1;
        shard_push(s, rank, slot, run->round, codec, at, run->size, NULL);
    }
    answer(s, rank, run, first, end);
}

/* --- Pulls ---------------------------------------------------------------- */

void shard_pull_run(struct shard *s, uint32_t rank, const struct run *run)
{
    for (uint32_t n = 0; n < run->count; n++) {
        prefetch(s, run, run->slot + n);
        shard_pull(s, rank, run->slot + n, run->round);
    }
}
