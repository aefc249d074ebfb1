#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/base/check.h"
#include "server/shard_private.h"

void shard_refuse_pull(struct shard *s, uint32_t rank, uint32_t slot,
                       uint64_t round, enum kv_status status)
{
    struct shard_answer a = {.rank = rank,
                             .slot = slot,
                             .round = round,
                             .status = status,
                             .pull = true,
                             .text = s->text};

    s->events.answer(s->events.ctx, &a);
}

__attribute__((format(printf, 3, 4))) static enum kv_status
refuse(struct shard *s, enum kv_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->text, sizeof s->text, format, args);
    va_end(args);
    return status;
}

static enum kv_status out_of_memory(struct shard *s)
{
    return refuse(s, KV_ENOMEM, "the server is out of memory");
}

static enum kv_status no_slot(struct shard *s, uint32_t rank, uint32_t slot,
                              const char *verb)
{
    return refuse(s, KV_ENOTFOUND,
                  "rank %u %s slot %u: this shard has %u slices", rank, verb,
                  slot, s->slots);
}

/* --- Push ----------------------------------------------------------------- */

static enum kv_status bad_codec(struct shard *s, const struct entry *e,
                                uint32_t rank, uint32_t id)
{
    char names[128];

    kv_codec_names(names, sizeof names);
    return refuse(s, KV_EINVAL,
                  "rank %u pushes key %u slice %u in codec %u; known are %s",
                  rank, e->key_id, e->slice, id, names);
}

static enum kv_status check_payload(struct shard *s, const struct entry *e,
                                    uint32_t rank, uint32_t id, size_t size,
                                    const struct kv_codec **out)
{
    const struct kv_codec *codec = kv_codec_by_id(id);
    size_t right;

    if (codec == NULL) {
        return bad_codec(s, e, rank, id);
    }
    if (!codec->accepts(e->dtype)) {
        return refuse(s, KV_EINVAL,
                      "rank %u pushes key %u slice %u in codec %s, which does "
                      "not carry %s",
                      rank, e->key_id, e->slice, codec->name,
                      kv_dtype_name(e->dtype));
    }
    right = codec->encoded_size(e->dtype, e->count);
    if (size != right) {
        return refuse(s, KV_EMISMATCH,
                      "rank %u pushes %zu bytes to key %u slice %u: %zu "
                      "elements of %s in codec %s have %zu",
                      rank, size, e->key_id, e->slice, e->count,
                      kv_dtype_name(e->dtype), codec->name, right);
    }
    *out = codec;
    return KV_OK;
}

/* Is `round` the next push of this rank, and not there yet? */
static enum kv_status check_next(struct shard *s, const struct entry *e,
                                 uint32_t rank, uint64_t round,
                                 uint64_t committed)
{
    const struct share *share = e->shares[rank];

    if (round != committed + 1) {
        return refuse(s, KV_EINVAL,
                      "rank %u pushes round %" PRIu64
                      " of key %u slice %u: its next is %" PRIu64,
                      rank, round, e->key_id, e->slice, committed + 1);
    }
    if (share != NULL && share->pushed) {
        return refuse(s, KV_EEXIST,
                      "rank %u has pushed round %" PRIu64
                      " of key %u slice %u before",
                      rank, round, e->key_id, e->slice);
    }
    if (s->policy->per_rank && s->generation == 0) {
        return refuse(s, KV_EINVAL,
                      "rank %u pushes key %u slice %u: dist_async needs an "
                      "optimizer: call kvw_set_optimizer first",
                      rank, e->key_id, e->slice);
    }
    return KV_OK;
}

/* Close the round, or keep the contribution until others close it. */
static enum kv_status contribute(struct shard *s, struct entry *e,
                                 struct share *share)
{
    struct policy_view v;

    share->pushed = true;
    e->arrived++;
    v = shard_view(s, e);
    if (s->policy->closes(&v)) {
        shard_close_round(s, e);
        return KV_OK;
    }
    if (shard_share_keep(s, share) != KV_OK) {
        shard_share_unpush(s, share);
        return out_of_memory(s);
    }
    return KV_OK;
}

/* The contribution is not wanted. */
static enum kv_status drop(struct shard *s, struct buffer *buffer,
                           enum kv_status status)
{
    bufpool_put(s->buffers, buffer);
    return status;
}

static enum kv_status push(struct shard *s, uint32_t rank, struct entry *e,
                           uint64_t round, uint32_t codec_id,
                           const void *payload, size_t size,
                           struct buffer *buffer)
{
    struct policy_view v = shard_view(s, e);
    uint64_t committed = s->policy->committed(&v, rank);
    const struct kv_codec *codec = NULL;
    struct share *share;
    enum kv_status status;

    status = check_payload(s, e, rank, codec_id, size, &codec);
    if (status != KV_OK) {
        return drop(s, buffer, status);
    }
    if (round <= committed) {
        shard_answer_push(s, rank, e->slot, round, KV_OK);
        return drop(s, buffer, KV_OK);
    }
    status = check_next(s, e, rank, round, committed);
    if (status != KV_OK) {
        return drop(s, buffer, status);
    }
    share = shard_share(s, e, rank);
    if (share == NULL) {
        return drop(s, buffer, out_of_memory(s));
    }
    if (share->refused) {
        share->refused = false;
        list_unlink(&share->among_open);
    }
    share->codec = codec;
    share->payload = payload;
    share->size = size;
    share->buffer = buffer;
    return contribute(s, e, share);
}

void shard_push(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round,
                uint32_t codec, const void *payload, size_t size,
                struct buffer *buffer, uint64_t now_ms)
{
    struct entry *e = shard_entry(s, slot);
    enum kv_status status;

    KV_CHECK(rank < s->workers);
    s->now_ms = now_ms;
    if (e == NULL) {
        bufpool_put(s->buffers, buffer);
        status = no_slot(s, rank, slot, "pushes to");
    } else {
        status = push(s, rank, e, round, codec, payload, size, buffer);
    }
    if (status != KV_OK) {
        shard_answer_push(s, rank, slot, round, status);
    }
    if (status != KV_OK && e != NULL) {
        shard_share_refuse(s, e, rank);
    }
}

/* --- Pull ----------------------------------------------------------------- */

static enum kv_status pull(struct shard *s, uint32_t rank, struct entry *e,
                           uint64_t round)
{
    struct policy_view v = shard_view(s, e);
    uint64_t committed = s->policy->committed(&v, rank);
    struct share *share;

    if (s->policy->readable(&v, rank, round)) {
        shard_answer_pull(s, rank, e, round);
        return KV_OK;
    }
    if (round > committed + 1) {
        return refuse(s, KV_EINVAL,
                      "rank %u pulls round %" PRIu64
                      " of key %u slice %u, of which %" PRIu64 " are committed",
                      rank, round, e->key_id, e->slice, committed);
    }
    share = shard_share(s, e, rank);
    if (share == NULL) {
        return out_of_memory(s);
    }
    if (share->refused) {
        return KV_OK; /* Nobody waits for it. */
    }
    if (share->pulls) {
        return refuse(s, KV_EEXIST,
                      "rank %u pulls round %" PRIu64
                      " of key %u slice %u, and waits for %" PRIu64 " already",
                      rank, round, e->key_id, e->slice, share->pull_round);
    }
    share->pulls = true;
    share->pull_round = round;
    e->waiting++;
    shard_share_open(s, share);
    return KV_OK;
}

void shard_pull(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round)
{
    struct entry *e = shard_entry(s, slot);
    enum kv_status status;

    KV_CHECK(rank < s->workers);
    status =
        e == NULL ? no_slot(s, rank, slot, "pulls") : pull(s, rank, e, round);
    if (status != KV_OK) {
        shard_refuse_pull(s, rank, slot, round, status);
    }
}
