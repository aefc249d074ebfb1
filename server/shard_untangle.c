#include <string.h>

#include "server/shard_private.h"

/* Ranks that push in different orders, and more than each may hold, come to a
 * point where every one waits for another. Who has to give way? If all do,
 * each by its own, they may pass each other for ever. So one open round is
 * chosen to be closed: the blocked ranks that it lacks put back all they have,
 * as often as it takes until what they send next is their part of it; nobody
 * puts back his part. It can only come nearer.
 *
 * The shard cannot know whether those ranks have their part to send yet, or
 * will only once another round has closed. So the choice moves on after a
 * while, and the while gets longer each time that all have had their turn. */

#define PATIENCE_FIRST 8 /* Tries for a round before the next one's turn. */

static bool has_part(const struct entry *e, uint32_t rank)
{
    return e->shares[rank] != NULL && e->shares[rank]->pushed;
}

/* Open, and putting something back could help it. */
static bool can_be_helped(const struct shard *s, const struct entry *e,
                          const bool *blocked)
{
    for (uint32_t rank = 0; e->arrived > 0 && rank < s->workers; rank++) {
        if (blocked[rank] && !has_part(e, rank)) {
            return true;
        }
    }
    return false;
}

/* Of the two the one that lacks fewer ranks. */
static struct entry *nearer(struct entry *a, struct entry *b)
{
    if (a == NULL || b->arrived > a->arrived) {
        return b;
    }
    return b->arrived == a->arrived && b->slot < a->slot ? b : a;
}

/* Of the two the one that comes first from `slot` on, and then around. */
static struct entry *sooner(struct entry *a, struct entry *b, uint32_t slot)
{
    return a == NULL || b->slot - slot < a->slot - slot ? b : a;
}

/* The nearest round, or with `next` the one whose turn it is. */
static struct entry *choose(const struct shard *s, const bool *blocked,
                            bool next)
{
    struct entry *best = NULL;

    for (uint32_t rank = 0; rank < s->workers; rank++) {
        LIST_EACH(&s->ranks[rank].open, link, after)
        {
            struct share *share = LIST_ENTRY(link, struct share, among_open);
            struct entry *e = share->entry;

            if (!share->pushed || !can_be_helped(s, e, blocked)) {
                continue;
            }
            best = next ? sooner(best, e, s->tangle.slot + 1) : nearer(best, e);
        }
    }
    return best;
}

static struct entry *choose_now(struct shard *s, const bool *blocked)
{
    struct tangle *t = &s->tangle;
    struct entry *e = shard_entry(s, t->slot);

    if (t->commits != s->commits || t->patience == 0) {
        t->commits = s->commits;
        t->patience = PATIENCE_FIRST;
    } else if (++t->tries < t->patience && e != NULL &&
               can_be_helped(s, e, blocked)) {
        return e;
    } else {
        e = choose(s, blocked, true);
        if (e != NULL && e->slot <= t->slot && t->patience < UINT32_MAX / 2) {
            t->patience *= 2;
        }
        t->tries = 0;
        return e;
    }
    t->tries = 0;
    return choose(s, blocked, false);
}

static void put_back_all(struct shard *s, uint32_t rank)
{
    LIST_EACH(&s->ranks[rank].open, link, after)
    {
        struct share *share = LIST_ENTRY(link, struct share, among_open);
        struct entry *e = share->entry;
        struct policy_view v = shard_view(s, e);
        uint64_t round = s->policy->committed(&v, rank) + 1;

        if (share->pushed && e->measure == NULL) {
            shard_share_unpush(s, share);
            shard_answer_push(s, rank, e->slot, round, KV_EAGAIN);
        }
    }
}

void shard_untangle(struct shard *s, const bool *blocked)
{
    struct entry *e = choose_now(s, blocked);

    if (e == NULL) {
        return;
    }
    s->tangle.slot = e->slot;
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        if (blocked[rank] && !has_part(e, rank)) {
            put_back_all(s, rank);
        }
    }
}
