#include <string.h>

#include "common/base/check.h"
#include "worker/courier_core.h"

/* --- Bookkeeping --------------------------------------------------------- */

static void mark_sent(struct courier *c, struct part *p, uint64_t now_ms)
{
    if (p->sent) {
        c->resent += (uint64_t)__builtin_popcountll(p->unsent);
    } else {
        p->sent = true;
        p->sent_ms = now_ms;
    }
    p->unsent = 0;
    p->state = PART_SENT;
    list_push(&c->sent, &p->node);
}

/* A push keeps the round that it got when it was sent first. */
static uint64_t round_of(const struct part *p)
{
    return p->round != 0 ? p->round : p->slice->pushed + 1;
}

static void push_sent(struct courier *c, struct part *p, uint64_t now_ms)
{
    bool first = p->round == 0;

    p->round = round_of(p);
    mark_sent(c, p, now_ms);
    for (uint32_t i = 0; first && i < p->span; i++) {
        struct slice *s = courier_slice_of(p, i);

        s->pushed = p->round;
        if (!list_empty(&s->waiting)) {
            courier_release(c, s); /* The pull behind it. */
        }
    }
    if (p->behind != NULL) {
        courier_ready(c, p->behind);
        p->behind = NULL;
    }
}

static bool send_frame(struct courier *c, const struct message *m,
                       const void *payload, size_t size, struct buffer *buffer)
{
    if (!c->io.send(c->io.ctx, m, 0, payload, size, buffer)) {
        c->up = false; /* What counts as sent goes again on the next link. */
        return false;
    }
    return true;
}

/* --- Norms ---------------------------------------------------------------- */

struct part *courier_sent_push(const struct slice *s)
{
    struct part *p = s->push;

    return p != NULL && (courier_due(p) >> (s->slot - p->slice->slot) & 1) != 0
               ? p
               : NULL;
}

void courier_totals(const struct slice *s, uint32_t pass, const double *totals)
{
    struct courier *c = s->courier;
    struct message m = {.kind = MESSAGE_TOTALS};

    KV_CHECK(courier_sent_push(s) != NULL);
    m.norms.slot = s->slot;
    m.norms.round = s->push->round;
    m.norms.pass = pass;
    memcpy(m.norms.sum, totals, sizeof m.norms.sum);
    if (c->up) {
        (void)send_frame(c, &m, NULL, 0, NULL);
    }
}

/* --- Requests ------------------------------------------------------------ */

static bool send_request(struct courier *c, size_t *out)
{
    struct list_link *link = list_pop(&c->requests_waiting);
    struct request *r, **chain;

    if (link == NULL) {
        return false;
    }
    r = LIST_ENTRY(link, struct request, node);
    list_push(&c->requests_sent, &r->node);
    c->resent += r->sent;
    r->sent = true;
    chain = &c->by_id[r->id % COURIER_CHAINS];
    r->next_in_id = *chain;
    *chain = r;
    *out += r->payload_size;
    if (!c->io.send(c->io.ctx, &r->message, r->id, r->payload, r->payload_size,
                    NULL)) {
        c->up = false;
    }
    return true;
}

/* --- Pulls --------------------------------------------------------------- */

/* The slices of a span have pushed the same, but those that were refused. */
static uint64_t wanted_round(const struct part *p)
{
    return courier_unanswered(p, 0)->pushed;
}

static void pull_sent(struct courier *c, struct part *p, uint64_t now_ms)
{
    (void)courier_queue_take(&c->pulls);
    p->round = wanted_round(p);
    mark_sent(c, p, now_ms);
}

/* The first pull that is ready. */
static struct part *next_pull(struct courier *c)
{
    struct part *p = courier_queue_first(&c->pulls);

    if (p != NULL) {
        courier_renew(p);
    }
    return p;
}

static size_t answer_size(const struct part *p)
{
    return courier_payload_pulled(p) * (size_t)__builtin_popcountll(p->unsent);
}

/* Pulls of some rows, whose numbers are the payload. */
static bool send_row_pulls(struct courier *c, uint64_t now_ms)
{
    struct part *p = next_pull(c);
    size_t size = p->rows->count * sizeof(uint32_t), total = 0, pulled = 0;
    struct message m = {.kind = MESSAGE_PULL};
    struct buffer *b = bufpool_get(
        c->buffers, size > KV_BATCH_PAYLOAD_MAX ? size : KV_BATCH_PAYLOAD_MAX);

    if (b == NULL) {
        return false;
    }
    m.batch.runs = c->runs;
    m.batch.rows = true;
    do {
        if (!message_add(&m.batch, p->slice->slot, p->slice->pushed,
                         (uint32_t)size)) {
            break;
        }
        courier_payload_rows(p, b->data + total);
        total += size;
        pulled += answer_size(p);
        pull_sent(c, p, now_ms);
        p = next_pull(c);
        size = p == NULL || p->rows == NULL ? SIZE_MAX
                                            : p->rows->count * sizeof(uint32_t);
    } while (total < KV_BATCH_PAYLOAD_MAX &&
             size <= KV_BATCH_PAYLOAD_MAX - total &&
             pulled + answer_size(p) <= KV_PULLED_BYTES_MAX);
    (void)send_frame(c, &m, b->data, total, b);
    return true;
}

static bool send_pulls(struct courier *c, uint64_t now_ms)
{
    struct part *p = next_pull(c);
    struct message m = {.kind = MESSAGE_PULL};
    size_t pulled = 0;

    if (p != NULL && p->rows != NULL) {
        return send_row_pulls(c, now_ms);
    }
    m.batch.runs = c->runs;
    while (p != NULL && p->rows == NULL &&
           (pulled == 0 || pulled + answer_size(p) <= KV_PULLED_BYTES_MAX) &&
           courier_add_unsent(&m.batch, p, wanted_round(p), 0)) {
        pulled += answer_size(p);
        pull_sent(c, p, now_ms);
        p = next_pull(c);
    }
    if (m.batch.run_count == 0) {
        return false;
    }
    (void)send_frame(c, &m, NULL, 0, NULL);
    return true;
}

/* --- Pushes -------------------------------------------------------------- */

/* Alone in its frame, from the tensor itself where that is possible. */
static bool send_large(struct courier *c, struct part *p, uint64_t now_ms,
                       size_t *out)
{
    struct message m = {.kind = MESSAGE_PUSH};
    size_t size = courier_payload_size(c, p) * p->span;
    const void *payload = courier_payload_plain(c, p);

    if (payload == NULL && p->encoded == NULL) {
        p->encoded = bufpool_get(c->buffers, size);
        if (p->encoded == NULL) {
            return false;
        }
        if (!courier_payload_fill(c, p, p->encoded->data)) {
            bufpool_put(c->buffers, p->encoded);
            p->encoded = NULL;
            return false;
        }
    }
    if (payload == NULL) {
        payload = p->encoded->data;
    }
    m.batch.runs = c->runs;
    m.batch.codec = p->codec->id;
    m.batch.rows = p->rows != NULL;
    m.batch.reset = p->reset;
    KV_CHECK(courier_add_unsent(&m.batch, p, round_of(p),
                                (uint32_t)(size / p->span)));
    KV_CHECK(courier_queue_take(&c->pushes) == p);
    push_sent(c, p, now_ms);
    *out += size;
    (void)send_frame(c, &m, payload, size, NULL);
    return true;
}

/* Large, or a span whose tensors are one piece of memory. */
static bool goes_alone(const struct courier *c, const struct part *p)
{
    return courier_payload_size(c, p) >= KV_DIRECT_MIN ||
           (p->span * p->slice->size >= KV_DIRECT_MIN &&
            courier_payload_plain(c, p) != NULL);
}

/* Take as many small pushes as fit into one frame; returns their bytes. */
static size_t gather(struct courier *c, struct message_batch *batch,
                     struct list *gathered)
{
    const struct part *first = courier_queue_first(&c->pushes);
    const struct kv_codec *codec = first->codec;
    bool rows = first->rows != NULL, reset = first->reset;
    size_t total = 0;
    struct part *p;

    batch->codec = codec->id;
    batch->rows = rows;
    batch->reset = reset;
    while ((p = courier_queue_first(&c->pushes)) != NULL) {
        size_t each = courier_payload_size(c, p), size;

        courier_renew(p);
        size = each * (size_t)__builtin_popcountll(p->unsent);
        if (p->codec != codec || (p->rows != NULL) != rows ||
            p->reset != reset || goes_alone(c, p) ||
            size > KV_BATCH_PAYLOAD_MAX - total ||
            !courier_add_unsent(batch, p, round_of(p), (uint32_t)each)) {
            break;
        }
        list_push(gathered, &courier_queue_take(&c->pushes)->node);
        total += size;
    }
    return total;
}

static void put_back(struct courier *c, struct list *gathered)
{
    while (!list_empty(gathered)) {
        struct list_link *last = gathered->head.prev;

        list_unlink(last);
        courier_queue_return(&c->pushes, LIST_ENTRY(last, struct part, node));
    }
}

static struct buffer *fill(struct courier *c, const struct list *gathered,
                           size_t total)
{
    struct buffer *buffer = bufpool_get(c->buffers, total);
    unsigned char *at;

    if (buffer == NULL) {
        return NULL;
    }
    at = buffer->data;
    LIST_EACH(gathered, link, after)
    {
        struct part *p = LIST_ENTRY(link, struct part, node);

        if (!courier_payload_fill(c, p, at)) {
            bufpool_put(c->buffers, buffer);
            return NULL;
        }
        at += courier_payload_size(c, p) *
              (size_t)__builtin_popcountll(p->unsent);
    }
    return buffer;
}

/* Copied once, together, into one frame. */
static bool send_small(struct courier *c, uint64_t now_ms, size_t *out)
{
    struct message m = {.kind = MESSAGE_PUSH};
    struct list gathered;
    struct list_link *link;
    struct buffer *buffer;
    size_t total;

    m.batch.runs = c->runs;
    list_init(&gathered);
    total = gather(c, &m.batch, &gathered);
    buffer = fill(c, &gathered, total);
    if (buffer == NULL) {
        put_back(c, &gathered);
        return false;
    }
    while ((link = list_pop(&gathered)) != NULL) {
        push_sent(c, LIST_ENTRY(link, struct part, node), now_ms);
    }
    *out += total;
    (void)send_frame(c, &m, buffer->data, total, buffer);
    return true;
}

static bool send_push(struct courier *c, uint64_t now_ms, size_t *out)
{
    struct part *p = courier_queue_first(&c->pushes);

    if (p == NULL) {
        return false;
    }
    courier_renew(p);
    if (goes_alone(c, p)) {
        return send_large(c, p, now_ms, out);
    }
    return send_small(c, now_ms, out);
}

size_t courier_pump(struct courier *c, size_t room, uint64_t now_ms)
{
    size_t out = 0;

    while (c->up && out < room) {
        if (!send_request(c, &out) && !send_pulls(c, now_ms) &&
            !send_push(c, now_ms, &out)) {
            break;
        }
    }
    return out;
}
