#include <stdio.h>

#include "common/base/check.h"
#include "server/shard_commit.h"
#include "server/shard_private.h"

/* Leaving is one store: of the life that has left, plus 1. So a new life of the
 * rank is a member again by being a new life, and a kill leaves the rank in or
 * out. Nothing of it can be in an open round when it leaves, so all rounds
 * before are with it and all after without it, whenever the news arrives. */

bool shard_is_member(const struct shard *s, uint32_t rank)
{
    return !shard_has_left(s, rank);
}

uint32_t shard_left(const struct shard *s)
{
    return s->workers - s->members;
}

bool shard_pushed(const struct shard *s, uint32_t rank, uint32_t *slot,
                  uint64_t *round)
{
    const struct entry *e = shard_each(s, slot);
    struct policy_view v;

    if (e == NULL) {
        return false;
    }
    v = shard_view(s, e);
    *slot = e->slot;
    *round = s->policy->committed(&v, rank);
    return true;
}

/* --- What a change of members does to open rounds ------------------------- */

/* A round that was complete lacks somebody now: it is measured when he has
 * come. */
static void measure_later(struct shard *s)
{
    for (uint32_t slot = 0; s->measures > 0 && slot < s->slots; slot++) {
        shard_norms_end(s, shard_entry(s, slot));
    }
}

static void close_complete(struct shard *s)
{
    struct entry *e;

    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        struct policy_view v = shard_view(s, e);

        if (e->arrived > 0 && s->policy->closes(&v)) {
            shard_close_round(s, e);
        }
    }
}

void shard_count_members(struct shard *s)
{
    uint32_t before = s->members;

    s->members = 0;
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        s->members += !shard_has_left(s, rank);
    }
    if (s->members > before) {
        measure_later(s);
    } else if (s->members < before) {
        close_complete(s);
    }
}

/* --- Leaving and coming back ---------------------------------------------- */

static bool waits(const struct shard *s, uint32_t rank)
{
    LIST_EACH(&s->ranks[rank].open, link, after)
    {
        const struct share *share = LIST_ENTRY(link, struct share, among_open);

        if (share->pushed || share->pulls) {
            return true;
        }
    }
    return !list_empty(&s->ranks[rank].ripe);
}

enum kv_status shard_member(struct shard *s, uint32_t rank, bool in,
                            char *error, size_t error_size)
{
    uint64_t left;

    KV_CHECK(rank < s->workers);
    if (s->policy->per_rank || in == shard_is_member(s, rank)) {
        return KV_OK;
    }
    if (!in && waits(s, rank)) {
        snprintf(error, error_size,
                 "rank %u leaves with pushes or pulls that are not answered",
                 rank);
        return KV_EBUSY;
    }
    left = in ? 0 : s->fence->rank[rank].incarnation + 1;
    arena_store(&s->fence->rank[rank].left, left);
    shard_count_members(s);
    return KV_OK;
}
