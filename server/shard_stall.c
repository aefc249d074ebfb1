#include "server/shard_private.h"

/* The ranks without which this share cannot go on. */
static uint32_t find_missing(struct shard *s, const struct share *share)
{
    const struct entry *e = share->entry;
    uint32_t n = 0;

    if (s->policy->per_rank) {
        s->missing[n++] = share->rank; /* Its own push has not come. */
        return n;
    }
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        if (!shard_has_left(s, rank) &&
            (e->shares[rank] == NULL || !e->shares[rank]->pushed)) {
            s->missing[n++] = rank;
        }
    }
    return n;
}

/* The oldest in which something waits, before one that is being measured; or
 * NULL. */
static const struct share *oldest_open(const struct rank *r)
{
    const struct share *measured = NULL;

    LIST_EACH(&r->open, link, after)
    {
        const struct share *share = LIST_ENTRY(link, struct share, among_open);

        if (!share->pushed && !share->pulls) {
            continue;
        }
        if (share->entry->measure == NULL) {
            return share;
        }
        measured = measured == NULL ? share : measured;
    }
    return measured;
}

void shard_clock(struct shard *s, uint64_t now_ms)
{
    s->now_ms = now_ms;
}

/* A measured round waits for nobody's push. */
void shard_stalls(struct shard *s, uint64_t now_ms, uint64_t age_ms,
                  shard_stall_fn each, void *ctx)
{
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        const struct share *share = oldest_open(&s->ranks[rank]);
        struct policy_view v;
        uint32_t missing;

        if (share == NULL || share->since_ms + age_ms > now_ms) {
            continue;
        }
        v = shard_view(s, share->entry);
        missing = share->entry->measure != NULL ? 0 : find_missing(s, share);
        each(ctx, rank, share->entry->slot,
             share->pushed ? s->policy->committed(&v, rank) + 1
                           : share->pull_round,
             share->since_ms, s->missing, missing);
    }
}
