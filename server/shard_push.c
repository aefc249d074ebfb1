#include <inttypes.h>

#include "common/base/check.h"
#include "server/shard_commit.h"
#include "server/shard_private.h"

#define CODEC_NONE 0 /* The value as it is. */

/* --- Push ----------------------------------------------------------------- */

struct pushed {
    bool rows, reset;
    uint32_t codec;
    const void *payload;
    size_t size;
    struct buffer *buffer; /* Taken; NULL when the payload is borrowed. */
};

static enum kv_status bad_codec(struct shard *s, const struct entry *e,
                                uint32_t rank, uint32_t id)
{
    char names[128];

    kv_codec_names(names, sizeof names);
    return shard_refuse(
        s, KV_EINVAL,
        "rank %u pushes key id %u slice %u in codec %u; known are %s", rank,
        e->key_id, e->slice, id, names);
}

/* Rows lie in a payload one behind the other: that takes a codec in which a
 * row is as good as a value. */
static enum kv_status check_rows(struct shard *s, const struct entry *e,
                                 uint32_t rank, const struct kv_codec *codec,
                                 const struct pushed *p)
{
    if (p->rows && e->row_length == 0) {
        return shard_refuse(
            s, KV_EMISMATCH,
            "rank %u pushes rows to key id %u slice %u, which is dense", rank,
            e->key_id, e->slice);
    }
    if (e->row_length > 0 && codec->plain(e->dtype) == KV_CODEC_PACKED) {
        return shard_refuse(
            s, KV_ENOTSUP,
            "rank %u pushes key id %u slice %u in codec %s, which does "
            "not carry rows",
            rank, e->key_id, e->slice, codec->name);
    }
    if (p->rows && shard_rows_check(e, codec, p->payload, p->size) != KV_OK) {
        return shard_refuse(
            s, KV_EINVAL,
            "rank %u pushes key id %u slice %u with rows that are not "
            "ascending, not of its %zu, or not all there",
            rank, e->key_id, e->slice, e->count / e->row_length);
    }
    return KV_OK;
}

static enum kv_status check_payload(struct shard *s, const struct entry *e,
                                    uint32_t rank, const struct pushed *p,
                                    const struct kv_codec **out)
{
    const struct kv_codec *codec = kv_codec_by_id(p->codec);
    enum kv_status status;
    size_t right;

    if (codec == NULL) {
        return bad_codec(s, e, rank, p->codec);
    }
    if (!codec->accepts(e->dtype)) {
        return shard_refuse(
            s, KV_EINVAL,
            "rank %u pushes key id %u slice %u in codec %s, which does "
            "not carry %s",
            rank, e->key_id, e->slice, codec->name, kv_dtype_name(e->dtype));
    }
    status = check_rows(s, e, rank, codec, p);
    if (status != KV_OK) {
        return status;
    }
    right = codec->encoded_size(e->dtype, e->count);
    if (!p->rows && p->size != right && !(p->reset && p->size == 0)) {
        return shard_refuse(
            s, KV_EMISMATCH,
            "rank %u pushes %zu bytes to key id %u slice %u: %zu "
            "elements of %s in codec %s have %zu",
            rank, p->size, e->key_id, e->slice, e->count,
            kv_dtype_name(e->dtype), codec->name, right);
    }
    *out = codec;
    return KV_OK;
}

static enum kv_status check_whole_rows(struct shard *s, const struct entry *e,
                                       uint32_t rank)
{
    if (e->shape.width == 0) {
        return shard_refuse(s, KV_ENOTSUP,
                            "rank %u pushes key id %u slice %u, whose rows are "
                            "cut, and %s keeps state by rows: use larger "
                            "slices (--slice-bytes) or a row_sparse value",
                            rank, e->key_id, e->slice, s->spec.optim->name);
    }
    return shard_reserve(s, e->shape.width) ? KV_OK : shard_no_memory(s);
}

/* Norms are of a round and of all elements. */
static enum kv_status check_rule(struct shard *s, const struct entry *e,
                                 uint32_t rank)
{
    if (s->generation == 0) {
        return KV_OK;
    }
    if (!kv_optim_takes(s->spec.optim, e->dtype)) {
        return shard_refuse(
            s, KV_ENOTSUP,
            "rank %u pushes key id %u slice %u, which is %s: %s "
            "trains f32, f64, f16 and bf16",
            rank, e->key_id, e->slice, kv_dtype_name(e->dtype),
            s->spec.optim->name);
    }
    if (s->spec.optim->rows) {
        return check_whole_rows(s, e, rank);
    }
    if (s->spec.optim->passes > 0 && s->policy->per_rank && e->slices > 1) {
        return shard_refuse(
            s, KV_ENOTSUP,
            "rank %u pushes key id %u slice %u: %s needs the norm "
            "of all %u slices of a round, and dist_async has "
            "no rounds; use dist_sync or larger slices "
            "(--slice-bytes)",
            rank, e->key_id, e->slice, s->spec.optim->name, e->slices);
    }
    return KV_OK;
}

/* Off the path of every push. */
static enum kv_status refuse_leaver(struct shard *s, const struct entry *e,
                                    uint32_t rank)
{
    return shard_refuse(s, KV_EINVAL,
                        "rank %u pushes key id %u slice %u, but has left the "
                        "rounds: call kvw_join first",
                        rank, e->key_id, e->slice);
}

/* Is `round` the next push of this rank, and not there yet? */
static enum kv_status check_next(struct shard *s, const struct entry *e,
                                 uint32_t rank, uint64_t round,
                                 uint64_t committed, bool reset)
{
    const struct share *share = e->shares[rank];

    if (s->members < s->workers && shard_has_left(s, rank)) {
        return refuse_leaver(s, e, rank);
    }
    if (round != committed + 1) {
        return shard_refuse(s, KV_EINVAL,
                            "rank %u pushes round %" PRIu64
                            " of key id %u slice %u: its next is %" PRIu64,
                            rank, message_rounds(round), e->key_id, e->slice,
                            message_rounds(committed) + 1);
    }
    if (share != NULL && share->pushed) {
        return shard_refuse(s, KV_EEXIST,
                            "rank %u has pushed round %" PRIu64
                            " of key id %u slice %u before",
                            rank, message_rounds(round), e->key_id, e->slice);
    }
    if (reset) {
        return KV_OK;
    }
    if (s->policy->per_rank && s->generation == 0) {
        return shard_refuse(
            s, KV_EINVAL,
            "rank %u pushes key id %u slice %u: dist_async needs an "
            "optimizer: call kvw_set_optimizer first",
            rank, e->key_id, e->slice);
    }
    return check_rule(s, e, rank);
}

/* Close the round, or keep the contribution until others close it. */
static enum kv_status contribute(struct shard *s, struct entry *e,
                                 struct share *share)
{
    struct policy_view v;

    share->pushed = true;
    e->arrived++;
    v = shard_view(s, e);
    if (s->policy->closes(&v) && !shard_norms_needed(s, e)) {
        shard_close_round(s, e);
        return KV_OK;
    }
    if (shard_share_keep(s, share) != KV_OK) {
        shard_share_unpush(s, share);
        return shard_no_memory(s);
    }
    if (s->policy->closes(&v)) {
        shard_close_round(s, e); /* Once it was measured. */
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
                           uint64_t round, const struct pushed *p)
{
    struct policy_view v = shard_view(s, e);
    uint64_t committed = s->policy->committed(&v, rank);
    const struct kv_codec *codec = NULL;
    struct share *share;
    enum kv_status status;

    if (e->shares[rank] != NULL && e->shares[rank]->ripe) {
        /* The round that it closes is not the one to be pulled. */
        shard_share_answer(s, e->shares[rank]);
    }
    status = check_payload(s, e, rank, p, &codec);
    if (status != KV_OK) {
        return drop(s, p->buffer, status);
    }
    if (round <= committed) {
        shard_norms_again(s, rank, e, round);
        shard_tell_skip(s, rank, e, round);
        shard_answer_push(s, rank, e->slot, round, KV_OK);
        return drop(s, p->buffer, KV_OK);
    }
    status = check_next(s, e, rank, round, committed, p->reset);
    if (status == KV_OK && e->arrived > 0 && e->reset != p->reset) {
        status = shard_reset_mixed(s, e, rank, round);
    }
    if (status != KV_OK) {
        return drop(s, p->buffer, status);
    }
    e->reset = p->reset;
    share = shard_share(s, e, rank);
    if (share == NULL) {
        return drop(s, p->buffer, shard_no_memory(s));
    }
    if (share->refused) {
        share->refused = false;
        list_unlink(&share->among_open);
    }
    share->rows = p->rows;
    share->codec = codec;
    share->payload = p->payload;
    share->size = p->size;
    share->buffer = p->buffer;
    return contribute(s, e, share);
}

static void push_any(struct shard *s, uint32_t rank, uint32_t slot,
                     uint64_t round, const struct pushed *p)
{
    struct entry *e = shard_entry_of(s, slot, round);
    enum kv_status status;

    KV_CHECK(rank < s->workers);
    if (e == NULL) {
        bufpool_put(s->buffers, p->buffer);
        status = shard_no_slot(s, rank, slot, "pushes to");
    } else {
        status = push(s, rank, e, round, p);
    }
    if (status != KV_OK) {
        shard_answer_push(s, rank, slot, round, status);
    }
    if (status != KV_OK && e != NULL) {
        shard_share_refuse(s, e, rank);
    }
}

void shard_push(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round,
                uint32_t codec, const void *payload, size_t size,
                struct buffer *buffer)
{
    struct pushed p = {false, false, codec, payload, size, buffer};

    push_any(s, rank, slot, round, &p);
}

void shard_push_rows(struct shard *s, uint32_t rank, uint32_t slot,
                     uint64_t round, uint32_t codec, const void *payload,
                     size_t size, struct buffer *buffer)
{
    struct pushed p = {true, false, codec, payload, size, buffer};

    push_any(s, rank, slot, round, &p);
}

void shard_push_reset(struct shard *s, uint32_t rank, uint32_t slot,
                      uint64_t round, const void *value, size_t size,
                      struct buffer *buffer)
{
    struct pushed p = {false, true,  CODEC_NONE, size == 0 ? "" : value,
                       size,  buffer};

    push_any(s, rank, slot, round, &p);
}
