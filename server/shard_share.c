#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/shard_commit.h"
#include "server/shard_private.h"

/* Small contributions lie together in buffers of this size; those above a
 * quarter of it get a buffer of their own. */
#define REGION_SIZE ((size_t)64 << 10)
#define REGION_HEAD ((size_t)64)

#define SLAB_SHARES 256

struct share_slab {
    struct share_slab *next;
    struct share shares[SLAB_SHARES];
};

/* --- Shares --------------------------------------------------------------- */

static bool add_slab(struct shard *s)
{
    struct share_slab *slab = mem_zalloc(1, sizeof *slab);

    if (slab == NULL) {
        return false;
    }
    slab->next = s->share_slabs;
    s->share_slabs = slab;
    for (size_t i = 0; i < SLAB_SHARES; i++) {
        slab->shares[i].next = s->idle_shares;
        s->idle_shares = &slab->shares[i];
    }
    return true;
}

struct share *shard_share(struct shard *s, struct entry *e, uint32_t rank)
{
    struct share *share = e->shares[rank];

    if (share != NULL) {
        return share;
    }
    if (s->idle_shares == NULL && !add_slab(s)) {
        return NULL;
    }
    share = s->idle_shares;
    s->idle_shares = share->next;
    share->entry = e;
    share->rank = rank;
    e->shares[rank] = share;
    return share;
}

void shard_share_tidy(struct shard *s, struct share *share)
{
    if (share->pushed || share->pulls || share->refused) {
        return;
    }
    if (list_linked(&share->among_open)) {
        list_unlink(&share->among_open);
    }
    share->entry->shares[share->rank] = NULL;
    share->next = s->idle_shares;
    s->idle_shares = share;
}

void shard_share_open(struct shard *s, struct share *share)
{
    if (!list_linked(&share->among_open)) {
        share->since_ms = s->now_ms;
        list_push(&s->ranks[share->rank].open, &share->among_open);
    }
}

void shard_free_shares(struct shard *s)
{
    while (s->share_slabs != NULL) {
        struct share_slab *slab = s->share_slabs;

        s->share_slabs = slab->next;
        mem_free(slab);
    }
}

/* --- Bytes of contributions ----------------------------------------------- */

static void count(struct shard *s, const struct share *share)
{
    struct region *region = share->region;

    if (region == NULL) {
        s->ranks[share->rank].held += share->buffer->capacity;
    } else if (region->counted++ == 0) {
        s->ranks[share->rank].held += region->buffer->capacity;
    }
}

static void uncount(struct shard *s, const struct share *share)
{
    struct rank *r = &s->ranks[share->rank];
    struct region *region = share->region;
    size_t before = r->held;

    if (region == NULL) {
        r->held -= share->buffer->capacity;
    } else if (--region->counted == 0) {
        r->held -= region->buffer->capacity;
    }
    if (r->held < before) {
        s->events.released(s->events.ctx, share->rank);
    }
}

static size_t lying(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

static struct region *region_with_room(struct shard *s, struct rank *r,
                                       size_t size)
{
    struct region *region = r->region;
    struct buffer *b;

    if (region != NULL &&
        lying(size) <= region->buffer->capacity - region->used) {
        return region;
    }
    b = bufpool_get(s->buffers, REGION_SIZE);
    if (b == NULL) {
        return NULL;
    }
    region = (struct region *)(void *)b->data;
    region->buffer = b;
    region->used = REGION_HEAD;
    region->live = 0;
    region->counted = 0;
    r->region = region;
    return region;
}

static enum kv_status copy(struct shard *s, struct share *share)
{
    struct rank *r = &s->ranks[share->rank];
    void *place;

    if (share->size > REGION_SIZE / 4) {
        share->buffer = bufpool_get(s->buffers, share->size);
        if (share->buffer == NULL) {
            return KV_ENOMEM;
        }
        place = share->buffer->data;
    } else {
        share->region = region_with_room(s, r, share->size);
        if (share->region == NULL) {
            return KV_ENOMEM;
        }
        place = share->region->buffer->data + share->region->used;
        share->region->used += lying(share->size);
        share->region->live++;
    }
    memcpy(place, share->payload, share->size);
    share->payload = place;
    return KV_OK;
}

enum kv_status shard_share_keep(struct shard *s, struct share *share)
{
    struct rank *r = &s->ranks[share->rank];

    if (share->buffer == NULL && copy(s, share) != KV_OK) {
        return KV_ENOMEM;
    }
    count(s, share);
    share->kept = true;
    r->pushed_count++;
    shard_share_open(s, share);
    return KV_OK;
}

void shard_share_waive(struct shard *s, struct share *share)
{
    if (share->kept && !share->waived) {
        share->waived = true;
        uncount(s, share);
    }
}

void shard_share_claim(struct shard *s, struct share *share)
{
    if (share->waived) {
        share->waived = false;
        count(s, share);
    }
}

static void let_go(struct shard *s, struct share *share)
{
    struct rank *r = &s->ranks[share->rank];
    struct region *region = share->region;

    if (share->kept && !share->waived) {
        uncount(s, share);
    }
    if (region == NULL) {
        bufpool_put(s->buffers, share->buffer);
    } else if (--region->live == 0) {
        if (r->region == region) {
            r->region = NULL;
        }
        bufpool_put(s->buffers, region->buffer);
    }
    share->waived = false;
    share->buffer = NULL;
    share->region = NULL;
}

void shard_share_unpush(struct shard *s, struct share *share)
{
    KV_CHECK(share->pushed);
    share->entry->arrived--;
    share->pushed = false;
    shard_norms_end(s, share->entry);
    if (share->kept) {
        s->ranks[share->rank].pushed_count--;
    }
    let_go(s, share);
    share->kept = false;
    if (share->pulls && list_linked(&share->among_open)) {
        /* What it waits for now is another round. */
        list_unlink(&share->among_open);
        shard_share_open(s, share);
    }
    shard_share_tidy(s, share);
}

void shard_share_unpull(struct shard *s, struct share *share)
{
    KV_CHECK(share->pulls);
    share->entry->waiting--;
    share->pulls = false;
    share->ripe = false;
    bufpool_put(s->buffers, share->wanted);
    share->wanted = NULL;
    shard_share_tidy(s, share);
}

void shard_share_answer(struct shard *s, struct share *share)
{
    const struct buffer *wanted = share->wanted;

    shard_answer_pull(s, share->rank, share->entry, share->pull_round,
                      wanted == NULL ? NULL : wanted->data,
                      share->wanted_count);
    shard_share_unpull(s, share);
}

void shard_share_ripen(struct shard *s, struct share *share)
{
    KV_CHECK(share->pulls && !share->pushed && !share->ripe);
    share->ripe = true;
    list_unlink(&share->among_open);
    list_push(&s->ranks[share->rank].ripe, &share->among_open);
}

void shard_drained(struct shard *s, uint32_t rank)
{
    struct list *ripe = &s->ranks[rank].ripe;

    while (!list_empty(ripe) && !s->events.full(s->events.ctx, rank)) {
        shard_share_answer(
            s, LIST_ENTRY(list_first(ripe), struct share, among_open));
    }
}

void shard_share_refuse(struct shard *s, struct entry *e, uint32_t rank)
{
    struct share *share = shard_share(s, e, rank);

    if (share == NULL || share->pushed) {
        return; /* A second push: the first one stands, with its pull. */
    }
    share->refused = true;
    shard_share_open(s, share);
    if (share->pulls) {
        shard_share_unpull(s, share);
    }
}

void shard_share_pardon(struct shard *s, struct share *share)
{
    share->refused = false;
    shard_share_tidy(s, share);
}
