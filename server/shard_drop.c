#include "common/base/check.h"
#include "server/shard_private.h"

/* A slice goes by one store. Before it, the number of the deletion is stored:
 * what makes a new slice of the same slot begin with other rounds, and keeps a
 * late Open from creating again what is gone. A kill between the two leaves the
 * slice, and whoever drops it asks again. */

uint64_t shard_deletions(const struct shard *s)
{
    return arena_words(s->arena)[SHARD_WORD_DELETIONS];
}

/* What this rank has open here ends. */
static void end_share(struct shard *s, struct entry *e, struct share *share)
{
    struct policy_view v = shard_view(s, e);
    uint32_t rank = share->rank;
    uint64_t next = s->policy->committed(&v, rank) + 1;
    uint64_t pulled = share->pull_round;
    bool pushed = share->pushed, pulls = share->pulls;

    if (share->refused) {
        shard_share_pardon(s, share);
    }
    if (pulls) {
        shard_share_unpull(s, share);
    }
    if (pushed) {
        shard_share_unpush(s, share);
        shard_answer_push(s, rank, e->slot, next, KV_ENOTFOUND);
    }
    if (pulls) {
        shard_refuse_pull(s, rank, e->slot, pulled, KV_ENOTFOUND);
    }
}

void shard_drop(struct shard *s, uint32_t key_id, uint32_t slice,
                uint64_t deletion)
{
    uint64_t key = shard_slice_key(key_id, slice);
    struct entry *e = map_get(&s->slices, key);

    if (deletion > shard_deletions(s)) {
        arena_store(&arena_words(s->arena)[SHARD_WORD_DELETIONS], deletion);
    }
    shard_end_waiting(s, key);
    if (e == NULL) {
        return;
    }
    arena_unkeep(s->arena, e->record);
    (void)shard_refuse(s, KV_ENOTFOUND, SHARD_DELETED);
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        if (e->shares[rank] != NULL) {
            end_share(s, e, e->shares[rank]);
        }
        KV_CHECK(e->shares[rank] == NULL);
    }
    shard_destroy(s, e);
}

enum kv_status shard_version(const struct shard *s, uint32_t key_id,
                             uint32_t slice, uint64_t *version)
{
    const struct entry *e = map_get(&s->slices, shard_slice_key(key_id, slice));

    if (e == NULL) {
        return KV_ENOTFOUND;
    }
    *version = message_rounds(e->value->round);
    return KV_OK;
}
