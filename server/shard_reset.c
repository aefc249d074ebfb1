#include <inttypes.h>

#include "server/shard_commit.h"
#include "server/shard_private.h"

/* A reset is a round like any other: whoever is in it has its place in the
 * order of pushes and pulls, and it is committed once. Only its value is not
 * computed, but what one of the ranks brings; the others bring nothing. */

/* The lowest rank that brings the value: all would bring the same. */
static const void *find_value(const struct shard *s, const struct entry *e)
{
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        const struct share *share = e->shares[rank];

        if (share != NULL && share->pushed && share->size > 0) {
            return share->payload;
        }
    }
    return NULL;
}

enum kv_status shard_reset(struct shard *s, struct entry *e)
{
    struct slice_desc desc = {.key_id = e->key_id,
                              .slice = e->slice,
                              .dtype = (uint32_t)e->dtype,
                              .count = e->count,
                              .row_length = e->row_length,
                              .slices = e->slices,
                              .plain = e->plain,
                              .width = e->record->width};
    const void *value = find_value(s, e);
    struct value *next;

    if (value == NULL) {
        return shard_refuse(
            s, KV_EINVAL,
            "nobody brings the value that key id %u slice %u is "
            "reset to: rank 0 does",
            e->key_id, e->slice);
    }
    next = shard_first(s, &desc, value);
    if (next == NULL) {
        return KV_ENOSPC;
    }
    shard_count_round(s, e, next);
    next->reset = 1;
    shard_make_live(s, e, next);
    return KV_OK;
}

static uint32_t first_in_round(const struct shard *s, const struct entry *e)
{
    uint32_t rank = 0;

    while (rank < s->workers &&
           (e->shares[rank] == NULL || !e->shares[rank]->pushed)) {
        rank++;
    }
    return rank;
}

/* Were only the late one refused, two ranks could be refused each other's way
 * at two slices of a key, and wait for each other for ever. */
enum kv_status shard_reset_mixed(struct shard *s, struct entry *e,
                                 uint32_t rank, uint64_t round)
{
    enum kv_status status = shard_refuse(
        s, KV_EMISMATCH,
        "round %" PRIu64 " of key id %u slice %u: rank %u %s, but rank %u %s; "
        "nothing has changed",
        message_rounds(round), e->key_id, e->slice, rank,
        e->reset ? "pushes a gradient" : "resets it", first_in_round(s, e),
        e->reset ? "resets it" : "pushes a gradient");

    for (uint32_t other = 0; other < s->workers; other++) {
        if (e->shares[other] != NULL && e->shares[other]->pushed) {
            shard_refuse_share(s, e, e->shares[other], status);
            shard_share_refuse(s, e, other);
        }
    }
    return status;
}
