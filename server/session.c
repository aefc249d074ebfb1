#include "server/session.h"

#include <string.h>

#include "common/base/check.h"

#define PULL_STEP 64 /* Slices, between looks at what they come to. */

void session_init(struct session *s, struct shard *shard, struct arena *arena,
                  struct bufpool *buffers, uint32_t rank,
                  const struct session_io *io)
{
    memset(s, 0, sizeof *s);
    s->shard = shard;
    s->arena = arena;
    s->buffers = buffers;
    s->rank = rank;
    s->io = io;
    s->acks.runs = s->ack_runs;
    s->values.runs = s->value_runs;
    s->again.runs = s->again_runs;
}

void session_fini(struct session *s)
{
    shard_forget(s->shard, s->rank);
    bufpool_put(s->buffers, s->incoming);
    bufpool_put(s->buffers, s->value_bytes);
    s->incoming = NULL;
    s->value_bytes = NULL;
    s->acks.run_count = 0;
    s->values.run_count = 0;
    s->again.run_count = 0;
}

/* --- In ------------------------------------------------------------------- */

static enum kv_status broken(struct session *s, const char *text)
{
    s->text = text;
    return KV_EPROTO;
}

static enum kv_status find_place(struct session *s, size_t size, void **sink)
{
    KV_CHECK(s->incoming == NULL);
    s->incoming = bufpool_get(s->buffers, size);
    if (s->incoming == NULL) {
        s->text = "out of memory for a payload";
        return KV_ENOMEM;
    }
    *sink = s->incoming->data;
    return KV_OK;
}

/* A rank that holds nothing is never stopped, or it might never go on. */
static enum kv_status head_of_push(struct session *s, const struct message *m,
                                   size_t size, void **sink)
{
    size_t held = shard_held(s->shard, s->rank);

    if (message_direct(m) == NULL && size > KV_BATCH_PAYLOAD_MAX) {
        return broken(s, "a batch of pushes is too large");
    }
    s->blocked = held > 0 && held + size > KV_HELD_BYTES_MAX;
    if (s->blocked) {
        return KV_EAGAIN;
    }
    return message_direct(m) != NULL ? find_place(s, size, sink) : KV_OK;
}

enum kv_status session_head(struct session *s, const struct message *m,
                            size_t payload_size, void **sink)
{
    if (m->kind == MESSAGE_PUSH) {
        return head_of_push(s, m, payload_size, sink);
    }
    if (m->kind == MESSAGE_OPEN && payload_size > 0 && s->rank != 0) {
        return broken(s, "a rank other than 0 brings a first value");
    }
    if (m->kind == MESSAGE_PULL && payload_size > KV_BATCH_PAYLOAD_MAX &&
        message_direct(m) == NULL) {
        return broken(s, "a batch of pulls is too large");
    }
    if (m->kind != MESSAGE_OPEN && m->kind != MESSAGE_PULL &&
        payload_size > 0) {
        return broken(s, "a payload where none belongs");
    }
    return payload_size > KV_BATCH_PAYLOAD_MAX
               ? find_place(s, payload_size, sink)
               : KV_OK;
}

static void push_slot(struct session *s, const struct message *m,
                      const struct run *run, uint32_t slot, const void *payload,
                      struct buffer *buffer)
{
    if (m->batch.reset) {
        shard_push_reset(s->shard, s->rank, slot, run->round, payload,
                         run->size, buffer);
    } else if (m->batch.rows) {
        shard_push_rows(s->shard, s->rank, slot, run->round, m->batch.codec,
                        payload, run->size, buffer);
    } else {
        shard_push(s->shard, s->rank, slot, run->round, m->batch.codec, payload,
                   run->size, buffer);
    }
}

static void push_direct(struct session *s, const struct message *m,
                        const struct run *run)
{
    struct buffer *b = s->incoming;

    s->incoming = NULL;
    push_slot(s, m, run, run->slot, b->data, b);
}

static void push_each(struct session *s, const struct message *m,
                      const struct run *run, const unsigned char *at)
{
    for (uint32_t n = 0; n < run->count; n++) {
        push_slot(s, m, run, run->slot + n, at, NULL);
        at += run->size;
    }
}

static enum kv_status on_push(struct session *s, const struct message *m,
                              const void *payload)
{
    const struct run *direct = message_direct(m);
    const unsigned char *at = payload;

    if (direct != NULL && s->incoming != NULL) {
        push_direct(s, m, direct);
        return KV_OK;
    }
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *run = &m->batch.runs[i];

        if (m->batch.rows || m->batch.reset) {
            push_each(s, m, run, at);
        } else {
            shard_push_run(s->shard, s->rank, run, m->batch.codec, at);
        }
        at += (size_t)run->count * run->size;
    }
    return KV_OK;
}

static bool asks_too_much(const struct session *s)
{
    return s->answered > KV_PULLED_BYTES_MAX;
}

/* False: there is more of it, which is too much. */
static bool pull_dense(struct session *s, const struct run *run)
{
    struct run part = *run;

    for (uint32_t n = 0; n < run->count; n += part.count) {
        if (asks_too_much(s)) {
            return false;
        }
        part.slot = run->slot + n;
        part.count = run->count - n < PULL_STEP ? run->count - n : PULL_STEP;
        shard_pull_run(s->shard, s->rank, &part);
    }
    return true;
}

static bool pull_rows(struct session *s, const struct run *run,
                      const unsigned char *rows)
{
    for (uint32_t n = 0; n < run->count; n++, rows += run->size) {
        if (asks_too_much(s)) {
            return false;
        }
        shard_pull_rows(s->shard, s->rank, run->slot + n, run->round, rows,
                        run->size / (uint32_t)sizeof(uint32_t));
    }
    return true;
}

static enum kv_status on_pull(struct session *s, const struct message *m,
                              const unsigned char *rows)
{
    s->answered = 0;
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *run = &m->batch.runs[i];

        if (m->batch.rows && run->size % sizeof(uint32_t) != 0) {
            return broken(s, "a pull of rows that are not u32 each");
        }
        if (!(m->batch.rows ? pull_rows(s, run, rows) : pull_dense(s, run))) {
            return broken(s, "a pull of more than one frame may ask for");
        }
        rows += (size_t)run->size * run->count;
    }
    bufpool_put(s->buffers, s->incoming);
    s->incoming = NULL;
    return KV_OK;
}

static enum kv_status on_open(struct session *s, uint64_t request_id,
                              const struct message *m, const void *payload,
                              size_t size)
{
    struct slice_desc desc = {.key_id = m->open.key_id,
                              .slice = m->open.slice,
                              .dtype = m->open.dtype,
                              .count = m->open.count,
                              .row_length = m->open.row_length,
                              .slices = m->open.slices,
                              .plain = m->open.plain,
                              .width = m->open.width,
                              .deletions = m->open.deletions};

    shard_open(s->shard, s->rank, request_id, &desc, size > 0 ? payload : NULL,
               size);
    bufpool_put(s->buffers, s->incoming);
    s->incoming = NULL;
    return KV_OK;
}

static void on_optimizer(struct session *s, uint64_t request_id,
                         const struct message *m)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec;
    enum kv_status status = kv_optim_parse(
        m->optimizer.name, m->optimizer.params, &spec, error, sizeof error);

    if (status == KV_OK) {
        status =
            m->optimizer.check
                ? shard_check_optimizer(s->shard, &spec, error, sizeof error)
                : shard_optimizer(s->shard, &spec, error, sizeof error);
    }
    session_reply(s, request_id, status, error);
}

/* Back, its next pushes belong to the rounds that are open now. */
static void send_rounds(struct session *s)
{
    struct run runs[KV_BATCH_RUNS_MAX];
    struct message m = {.kind = MESSAGE_ROUNDS, .batch = {.runs = runs}};
    uint64_t round;

    for (uint32_t slot = 0; shard_pushed(s->shard, s->rank, &slot, &round);
         slot++) {
        if (!message_add(&m.batch, slot, round, 0)) {
            s->io->send(s->io->ctx, &m, 0, NULL, 0, NULL, NULL);
            m.batch.run_count = 0;
            KV_CHECK(message_add(&m.batch, slot, round, 0));
        }
    }
    if (m.batch.run_count > 0) {
        s->io->send(s->io->ctx, &m, 0, NULL, 0, NULL, NULL);
    }
}

static void on_member(struct session *s, uint64_t request_id,
                      const struct message *m)
{
    char error[KV_TEXT_MAX + 1] = "";
    enum kv_status status =
        shard_member(s->shard, s->rank, m->member.in, error, sizeof error);

    if (status == KV_OK && m->member.in) {
        send_rounds(s);
    }
    session_reply(s, request_id, status, error);
}

static void on_hyper(struct session *s, uint64_t request_id,
                     const struct message *m)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct hyper_change change = {m->hyper.param,  m->hyper.value,
                                  m->hyper.round,  m->hyper.one,
                                  m->hyper.key_id, m->hyper.slice};
    enum kv_status status = shard_hyper(s->shard, &change, error, sizeof error);

    session_reply(s, request_id, status, error);
}

/* Whatever was answered before goes out before, so that nothing about the slice
 * comes after. */
static void on_drop(struct session *s, uint64_t request_id,
                    const struct message *m)
{
    shard_drop(s->shard, m->drop.key_id, m->drop.slice, m->drop.deletion);
    session_flush(s);
    session_reply(s, request_id, KV_OK, NULL);
}

static void on_request(struct session *s, uint64_t request_id,
                       const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_OPTIMIZER:
        on_optimizer(s, request_id, m);
        break;
    case MESSAGE_HYPER:
        on_hyper(s, request_id, m);
        break;
    case MESSAGE_MEMBER:
        on_member(s, request_id, m);
        break;
    case MESSAGE_DROP:
        on_drop(s, request_id, m);
        break;
    default:
        session_version(s, request_id, m->version.key_id, m->version.slice);
        break;
    }
}

enum kv_status session_frame(struct session *s, uint64_t request_id,
                             const struct message *m, const void *payload,
                             size_t payload_size, uint64_t now_ms)
{
    shard_clock(s->shard, now_ms);
    switch (m->kind) {
    case MESSAGE_PUSH:
        return on_push(s, m, payload);
    case MESSAGE_PULL:
        return on_pull(s, m, payload);
    case MESSAGE_TOTALS:
        shard_totals(s->shard, s->rank, m->norms.slot, m->norms.round,
                     m->norms.pass, m->norms.sum);
        return KV_OK;
    case MESSAGE_OPEN:
    case MESSAGE_OPTIMIZER:
    case MESSAGE_HYPER:
    case MESSAGE_MEMBER:
    case MESSAGE_DROP:
    case MESSAGE_VERSION:
        break;
    default:
        return broken(s, "a message that a worker does not send to a shard");
    }
    if (request_id == 0) {
        return broken(s, "a request without an id");
    }
    if (m->kind == MESSAGE_OPEN) {
        return on_open(s, request_id, m, payload, payload_size);
    }
    on_request(s, request_id, m);
    return KV_OK;
}
