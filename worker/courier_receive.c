#include <string.h>

#include "worker/courier_core.h"

/* --- Values -------------------------------------------------------------- */

/* The pull that asked for this value, or NULL. */
static struct part *pull_of(const struct courier *c, uint32_t slot,
                            const struct run *r)
{
    struct slice *s = courier_slice(c, slot);

    if (s == NULL || s->pull == NULL || s->pull->state != PART_SENT ||
        r->round < s->pull->round ||
        r->size != courier_payload_pulled(s->pull)) {
        return NULL;
    }
    return s->pull;
}

static unsigned char *place_of(const struct part *p)
{
    return (unsigned char *)p->out + p->offset;
}

enum kv_status courier_head(struct courier *c, const struct message *m,
                            size_t payload_size, void **sink)
{
    const struct run *direct;

    *sink = NULL;
    if (m->kind != MESSAGE_ANSWER || payload_size == 0) {
        return KV_OK;
    }
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *r = &m->batch.runs[i];

        for (uint32_t n = 0; r->size > 0 && n < r->count; n++) {
            if (pull_of(c, r->slot + n, r) == NULL) {
                return KV_EPROTO;
            }
        }
    }
    direct = message_direct(m);
    if (direct != NULL) {
        *sink = place_of(pull_of(c, direct->slot, direct));
    }
    return KV_OK;
}

/* --- Answers ------------------------------------------------------------- */

static enum kv_status value_came(struct courier *c, uint32_t slot,
                                 const struct run *r, const void *value)
{
    struct part *p = pull_of(c, slot, r);

    /* Asked for when the head came, but maybe twice in one frame. */
    if (p == NULL) {
        return KV_EPROTO;
    }
    if (value != place_of(p)) {
        memcpy(place_of(p), value, r->size);
    }
    courier_finish(c, p, KV_OK, "", r->round);
    return KV_OK;
}

/* A push that is answered already is no error: it may have been sent twice. */
static enum kv_status push_committed(struct courier *c, uint32_t slot,
                                     uint64_t round)
{
    struct slice *s = courier_slice(c, slot);

    if (s == NULL) {
        return KV_EPROTO;
    }
    if (s->push != NULL && s->push->state == PART_SENT &&
        s->push->round <= round) {
        courier_finish(c, s->push, KV_OK, "", round);
    }
    return KV_OK;
}

static enum kv_status on_answer(struct courier *c, const struct message *m,
                                const void *payload, size_t payload_size)
{
    const unsigned char *at = payload;
    size_t left = payload_size;

    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *r = &m->batch.runs[i];

        for (uint32_t n = 0; n < r->count; n++) {
            enum kv_status status;

            if (r->size == 0) {
                status = push_committed(c, r->slot + n, r->round);
            } else if (r->size > left) {
                status = KV_EPROTO;
            } else {
                status = value_came(c, r->slot + n, r, at);
                at += r->size;
                left -= r->size;
            }
            if (status != KV_OK) {
                return status;
            }
        }
    }
    return KV_OK;
}

/* --- Refusals ------------------------------------------------------------ */

static enum kv_status on_again(struct courier *c, const struct message *m)
{
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *r = &m->batch.runs[i];

        for (uint32_t n = 0; n < r->count; n++) {
            struct slice *s = courier_slice(c, r->slot + n);

            if (s == NULL) {
                return KV_EPROTO;
            }
            if (s->push != NULL && s->push->state == PART_SENT &&
                s->push->round == r->round) {
                list_unlink(&s->push->node);
                s->push->state = PART_READY;
                courier_queue_defer(&c->pushes, s->push);
            }
        }
    }
    return KV_OK;
}

/* A push that was refused has had no round. A pull behind it waits for a round
 * that will not come, so it shares its fate. */
static void push_refused(struct courier *c, struct part *p,
                         enum kv_status status, const char *text)
{
    struct slice *s = p->slice;
    uint64_t round = p->round;

    s->pushed = round - 1;
    courier_finish(c, p, status, text, round - 1);
    if (s->pull != NULL && s->pull->state == PART_SENT &&
        s->pull->round == round) {
        courier_finish(c, s->pull, status, text, round - 1);
    }
}

static enum kv_status on_error(struct courier *c, const struct message *m)
{
    struct slice *s;
    struct part *p;

    if (!m->error.about_slot) {
        return m->error.status == KV_OK ? KV_EPROTO : m->error.status;
    }
    s = courier_slice(c, m->error.slot);
    if (s == NULL || m->error.status == KV_OK) {
        return KV_EPROTO;
    }
    p = m->error.pull ? s->pull : s->push;
    if (p == NULL || p->state != PART_SENT || p->round != m->error.round) {
        return KV_OK; /* Refused twice, since it was sent twice. */
    }
    if (p->pull) {
        courier_finish(c, p, m->error.status, m->error.text, p->round);
    } else {
        push_refused(c, p, m->error.status, m->error.text);
    }
    return KV_OK;
}

/* --- Norms ---------------------------------------------------------------- */

/* Of a push that is answered already: it may have been sent twice. */
static enum kv_status on_norms(struct courier *c, const struct message *m)
{
    struct slice *s = courier_slice(c, m->norms.slot);
    struct part *push;

    if (s == NULL) {
        return KV_EPROTO;
    }
    push = courier_sent_push(s);
    if (push != NULL && push->round == m->norms.round) {
        c->io.norms(c->io.ctx, push, m);
    }
    return KV_OK;
}

/* --- Requests ------------------------------------------------------------ */

static enum kv_status on_reply(struct courier *c, uint64_t request_id,
                               const struct message *m, const void *payload,
                               size_t payload_size)
{
    struct request *r = courier_take_request(c, request_id);

    if (r == NULL) {
        return KV_EPROTO;
    }
    c->pending--;
    if (m->kind != MESSAGE_ERROR) {
        r->done(r, KV_OK, "", m, payload, payload_size);
    } else if (m->error.status != KV_OK) {
        r->done(r, m->error.status, m->error.text, NULL, NULL, 0);
    } else {
        r->done(r, KV_EPROTO, "the server refused without a reason", NULL, NULL,
                0);
    }
    return KV_OK;
}

enum kv_status courier_frame(struct courier *c, uint64_t request_id,
                             const struct message *m, const void *payload,
                             size_t payload_size)
{
    if (!c->up) {
        return KV_ECONN;
    }
    if (request_id != 0) {
        return on_reply(c, request_id, m, payload, payload_size);
    }
    switch (m->kind) {
    case MESSAGE_ANSWER:
        return on_answer(c, m, payload, payload_size);
    case MESSAGE_AGAIN:
        return on_again(c, m);
    case MESSAGE_ERROR:
        return on_error(c, m);
    case MESSAGE_NORMS:
        return on_norms(c, m);
    case MESSAGE_STALLED:
        if (courier_slice(c, m->stalled.slot) == NULL) {
            return KV_EPROTO;
        }
        c->io.stalled(c->io.ctx, courier_slice(c, m->stalled.slot), m);
        return KV_OK;
    default:
        return KV_EPROTO;
    }
}
