#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "server/shard_private.h"

struct wanted {
    const void *rows; /* NULL: all. */
    uint32_t count;
};

static enum kv_status check_wanted(struct shard *s, const struct entry *e,
                                   uint32_t rank, const struct wanted *w)
{
    if (w->rows == NULL) {
        return KV_OK;
    }
    if (e->row_length == 0) {
        return shard_refuse(
            s, KV_EMISMATCH,
            "rank %u pulls rows of key id %u slice %u, which is dense", rank,
            e->key_id, e->slice);
    }
    if (w->count == 0 || !shard_rows_valid(e, w->rows, w->count)) {
        return shard_refuse(
            s, KV_EINVAL,
            "rank %u pulls rows of key id %u slice %u that are not "
            "ascending or not of its %zu",
            rank, e->key_id, e->slice, e->count / e->row_length);
    }
    return KV_OK;
}

/* Wait for the round, with a copy of what is wanted then. */
static enum kv_status wait(struct shard *s, struct share *share, uint64_t round,
                           const struct wanted *w)
{
    size_t size = w->count * sizeof(uint32_t);

    if (w->rows != NULL) {
        share->wanted = bufpool_get(s->buffers, size);
        if (share->wanted == NULL) {
            return shard_no_memory(s);
        }
        memcpy(share->wanted->data, w->rows, size);
        share->wanted_count = w->count;
    }
    share->pulls = true;
    share->pull_round = round;
    share->entry->waiting++;
    shard_share_open(s, share);
    return KV_OK;
}

static enum kv_status pull(struct shard *s, uint32_t rank, struct entry *e,
                           uint64_t round, const struct wanted *w)
{
    struct policy_view v = shard_view(s, e);
    uint64_t committed = s->policy->committed(&v, rank);
    enum kv_status status = check_wanted(s, e, rank, w);
    struct share *share;

    if (status != KV_OK) {
        return status;
    }
    if (s->policy->readable(&v, rank, round)) {
        shard_answer_pull(s, rank, e, round, w->rows, w->count);
        return KV_OK;
    }
    if (round > committed + 1 || shard_has_left(s, rank)) {
        return shard_refuse(s, KV_EINVAL,
                            "rank %u pulls round %" PRIu64
                            " of key id %u slice %u, of which %" PRIu64
                            " are committed",
                            rank, message_rounds(round), e->key_id, e->slice,
                            message_rounds(committed));
    }
    share = shard_share(s, e, rank);
    if (share == NULL) {
        return shard_no_memory(s);
    }
    if (share->refused) {
        return KV_OK; /* Nobody waits for it. */
    }
    if (share->pulls) {
        return shard_refuse(s, KV_EEXIST,
                            "rank %u pulls round %" PRIu64
                            " of key id %u slice %u, and waits for %" PRIu64
                            " already",
                            rank, message_rounds(round), e->key_id, e->slice,
                            message_rounds(share->pull_round));
    }
    status = wait(s, share, round, w);
    if (status != KV_OK) {
        shard_share_tidy(s, share);
    }
    return status;
}

static void pull_any(struct shard *s, uint32_t rank, uint32_t slot,
                     uint64_t round, const struct wanted *w)
{
    struct entry *e = shard_entry_of(s, slot, round);
    enum kv_status status;

    KV_CHECK(rank < s->workers);
    status = e == NULL ? shard_no_slot(s, rank, slot, "pulls")
                       : pull(s, rank, e, round, w);
    if (status != KV_OK) {
        shard_refuse_pull(s, rank, slot, round, status);
    }
}

void shard_pull(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round)
{
    pull_any(s, rank, slot, round, &(struct wanted){NULL, 0});
}

void shard_pull_rows(struct shard *s, uint32_t rank, uint32_t slot,
                     uint64_t round, const void *rows, uint32_t count)
{
    pull_any(s, rank, slot, round, &(struct wanted){rows, count});
}
