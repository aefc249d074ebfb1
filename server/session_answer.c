#include "server/session.h"

#include <string.h>

#include "common/base/check.h"

static void send(struct session *s, const struct message *m,
                 uint64_t request_id)
{
    s->io->send(s->io->ctx, m, request_id, NULL, 0, NULL, NULL);
}

void session_reply(struct session *s, uint64_t request_id,
                   enum kv_status status, const char *text)
{
    struct message m = {.kind = MESSAGE_OK};

    if (status != KV_OK) {
        m.kind = MESSAGE_ERROR;
        m.error.status = status;
        m.error.text = text;
    }
    send(s, &m, request_id);
}

static void flush_slots(struct session *s, enum message_kind kind,
                        struct message_batch *batch)
{
    struct message m = {.kind = kind, .batch = *batch};

    if (batch->run_count > 0) {
        batch->run_count = 0;
        send(s, &m, 0);
    }
}

static void flush_values(struct session *s)
{
    struct message m = {.kind = MESSAGE_ANSWER, .batch = s->values};
    struct buffer *bytes = s->value_bytes;

    if (s->values.run_count > 0) {
        s->values.run_count = 0;
        s->value_bytes = NULL;
        s->io->send(s->io->ctx, &m, 0, bytes->data, s->value_size, NULL, bytes);
    }
}

static void batch_slot(struct session *s, enum message_kind kind,
                       struct message_batch *batch,
                       const struct shard_answer *a)
{
    uint32_t count = 1 + a->more;

    if (!message_add_run(batch, a->slot, count, a->round, 0)) {
        flush_slots(s, kind, batch);
        KV_CHECK(message_add_run(batch, a->slot, count, a->round, 0));
    }
}

static void refuse_slot(struct session *s, const struct shard_answer *a,
                        enum kv_status status, const char *text)
{
    struct message m = {.kind = MESSAGE_ERROR};

    m.error.status = status;
    m.error.text = text;
    m.error.about_slot = true;
    m.error.pull = a->pull;
    m.error.slot = a->slot;
    m.error.round = a->round;
    send(s, &m, 0);
}

/* Straight from its block, which nobody writes; rows from a buffer. */
static void send_value(struct session *s, const struct shard_answer *a)
{
    struct run run = {a->slot, 1, a->round, (uint32_t)a->size};
    struct message m = {.kind = MESSAGE_ANSWER};
    struct buffer *bytes = NULL;
    const void *value = a->value;

    m.batch.runs = &run;
    m.batch.run_count = 1;
    if (value != NULL) {
        arena_hold(s->arena, a->block);
    } else {
        bytes = bufpool_get(s->buffers, a->size);
        if (bytes == NULL) {
            refuse_slot(s, a, KV_ENOMEM, "the server is out of memory");
            return;
        }
        shard_collect(s->shard, a, bytes->data);
        value = bytes->data;
    }
    s->io->send(s->io->ctx, &m, 0, value, a->size, a->block, bytes);
}

static void batch_value(struct session *s, const struct shard_answer *a)
{
    uint32_t size = (uint32_t)a->size;

    if (s->value_bytes != NULL &&
        (size > KV_BATCH_PAYLOAD_MAX - s->value_size ||
         !message_add(&s->values, a->slot, a->round, size))) {
        flush_values(s);
    }
    if (s->value_bytes == NULL) {
        s->value_bytes = bufpool_get(s->buffers, KV_BATCH_PAYLOAD_MAX);
        s->value_size = 0;
        if (s->value_bytes == NULL) {
            send_value(s, a);
            return;
        }
        KV_CHECK(message_add(&s->values, a->slot, a->round, size));
    }
    if (a->value != NULL) {
        memcpy(s->value_bytes->data + s->value_size, a->value, size);
    } else {
        shard_collect(s->shard, a, s->value_bytes->data + s->value_size);
    }
    s->value_size += size;
}

void session_answer(struct session *s, const struct shard_answer *a)
{
    s->answered += a->pull && a->status == KV_OK ? a->size : 0;
    if (a->status == KV_OK && !a->pull) {
        batch_slot(s, MESSAGE_ANSWER, &s->acks, a);
    } else if (a->status == KV_OK && a->size < KV_DIRECT_MIN) {
        batch_value(s, a);
    } else if (a->status == KV_OK) {
        send_value(s, a);
    } else if (a->status == KV_EAGAIN) {
        batch_slot(s, MESSAGE_AGAIN, &s->again, a);
    } else {
        refuse_slot(s, a, a->status, a->text);
    }
}

void session_opened(struct session *s, uint64_t request_id,
                    enum kv_status status, const char *text, uint32_t slot,
                    uint64_t round, bool reset)
{
    struct message m = {.kind = MESSAGE_OPENED};

    if (status != KV_OK) {
        session_reply(s, request_id, status, text);
        return;
    }
    m.opened.slot = slot;
    m.opened.round = round;
    m.opened.reset = reset;
    send(s, &m, request_id);
}

void session_version(struct session *s, uint64_t request_id, uint32_t key_id,
                     uint32_t slice)
{
    struct message m = {.kind = MESSAGE_VERSIONED};
    enum kv_status status =
        shard_version(s->shard, key_id, slice, &m.versioned.rounds);

    if (status != KV_OK) {
        session_reply(s, request_id, status, SHARD_DELETED);
        return;
    }
    send(s, &m, request_id);
}

void session_stalled(struct session *s, uint32_t slot, uint64_t round,
                     uint32_t seconds, const uint32_t *missing,
                     const bool *connected, uint32_t missing_count)
{
    struct message m = {.kind = MESSAGE_STALLED};

    m.stalled.slot = slot;
    m.stalled.round = round;
    m.stalled.seconds = seconds;
    m.stalled.missing_count = missing_count;
    m.stalled.left = shard_left(s->shard);
    m.stalled.listed =
        missing_count < KV_MISSING_MAX ? missing_count : KV_MISSING_MAX;
    for (uint32_t i = 0; i < m.stalled.listed; i++) {
        m.stalled.missing[i] = missing[i];
        m.stalled.connected[i] = connected[i];
    }
    send(s, &m, 0);
}

void session_waiting(struct session *s, uint64_t request_id, const char *what,
                     uint32_t seconds)
{
    struct message m = {.kind = MESSAGE_WAITING};

    m.waiting.what = what;
    m.waiting.seconds = seconds;
    send(s, &m, request_id);
}

void session_norms(struct session *s, uint32_t slot, uint64_t round,
                   uint32_t pass, const double *sums)
{
    struct message m = {.kind = MESSAGE_NORMS};

    m.norms.slot = slot;
    m.norms.round = round;
    m.norms.pass = pass;
    memcpy(m.norms.sum, sums, sizeof m.norms.sum);
    send(s, &m, 0);
}

/* It goes out before the answer, which waits for session_flush(). */
void session_skipped(struct session *s, uint32_t slot, uint64_t round,
                     const struct shard_skip *skip)
{
    struct message m = {.kind = MESSAGE_SKIPPED};

    m.skipped.slot = slot;
    m.skipped.round = round;
    m.skipped.blames = skip->culprit != SHARD_NOBODY;
    m.skipped.rank = m.skipped.blames ? skip->culprit : 0;
    m.skipped.fails = skip->fails;
    send(s, &m, 0);
}

void session_flush(struct session *s)
{
    flush_slots(s, MESSAGE_ANSWER, &s->acks);
    flush_values(s);
    flush_slots(s, MESSAGE_AGAIN, &s->again);
}

bool session_dirty(const struct session *s)
{
    return s->acks.run_count + s->values.run_count + s->again.run_count > 0;
}
