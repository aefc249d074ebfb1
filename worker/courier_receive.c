#include <string.h>

#include "worker/courier_core.h"

/* --- Members of a part ---------------------------------------------------- */

/* Some of the slices of a run that belong to one part, side by side in both. */
struct stretch {
    struct part *part; /* NULL: none that is due. */
    uint32_t first;    /* In the part. */
    uint32_t count;
};

static uint64_t bits_of(const struct stretch *x)
{
    return courier_bits(x->count) << x->first;
}

/* What of slot .. slot+count-1 the part is due an answer for, from `slot` on.
 */
static struct stretch stretch_of(struct part *p, uint32_t slot, uint32_t count)
{
    struct stretch x = {p, slot - p->slice->slot, 1};
    uint64_t ahead = ~(courier_due(p) >> x.first);
    uint32_t due = ahead == 0 ? SPAN_MAX : (uint32_t)__builtin_ctzll(ahead);

    if (due == 0) {
        x.part = NULL;
        return x;
    }
    x.count = due < count ? due : count;
    return x;
}

/* These slices are answered; with the last of a part, it is done. */
static void answered(struct courier *c, const struct stretch *x, uint64_t round)
{
    x->part->unanswered &= ~bits_of(x);
    if (x->part->unanswered == 0) {
        courier_finish(c, x->part, KV_OK, "", round);
    }
}

/* --- Values -------------------------------------------------------------- */

/* A payload of fewer bytes is read together with what comes behind it. */
#define SINK_MIN ((size_t)32 << 10)

/* The pull that asked for the values from `slot` on, with as many of the next
 * `count` as it asked for, too. */
static struct stretch pull_of(const struct courier *c, uint32_t slot,
                              uint32_t count, const struct run *r)
{
    struct slice *s = courier_slice(c, slot);
    struct part *p = s == NULL ? NULL : s->pull;

    if (p == NULL || r->round < p->round ||
        r->size != courier_payload_pulled(p)) {
        return (struct stretch){NULL, 0, 1};
    }
    return stretch_of(p, slot, count);
}

static unsigned char *place_of(const struct part *p, uint32_t i)
{
    return (unsigned char *)p->outs[i] + p->offset;
}

/* Where the values of a frame belong. */
struct target {
    unsigned char *begin, *end; /* Of the first ones; NULL: of none so far. */
    bool whole;                 /* All of them lie between. */
};

/* KV_EPROTO: some were not asked for. */
static enum kv_status aim(const struct courier *c, const struct run *r,
                          struct target *t)
{
    for (uint32_t n = 0; r->size > 0 && n < r->count;) {
        struct stretch x = pull_of(c, r->slot + n, r->count - n, r);
        unsigned char *at;

        if (x.part == NULL) {
            return KV_EPROTO;
        }
        at = place_of(x.part, x.first);
        if (t->begin == NULL) {
            t->begin = at;
            t->end = at;
        }
        t->whole =
            t->whole && at == t->end && (x.count == 1 || x.part->adjacent);
        t->end += (size_t)x.count * r->size;
        n += x.count;
    }
    return KV_OK;
}

/* A payload that is one piece of memory here goes there without a copy. */
enum kv_status courier_head(struct courier *c, const struct message *m,
                            size_t payload_size, void **sink)
{
    struct target t = {NULL, NULL, payload_size >= SINK_MIN};

    *sink = NULL;
    if (m->kind != MESSAGE_ANSWER || payload_size == 0) {
        return KV_OK;
    }
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        enum kv_status status = aim(c, &m->batch.runs[i], &t);

        if (status != KV_OK) {
            return status;
        }
    }
    *sink = t.whole ? t.begin : NULL;
    return KV_OK;
}

/* --- Answers ------------------------------------------------------------- */

static enum kv_status values_came(struct courier *c, const struct run *r,
                                  const unsigned char *at)
{
    for (uint32_t n = 0; n < r->count;) {
        struct stretch x = pull_of(c, r->slot + n, r->count - n, r);

        /* Asked for when the head came, but maybe twice in one frame. */
        if (x.part == NULL) {
            return KV_EPROTO;
        }
        for (uint32_t i = 0; i < x.count; i++, at += r->size) {
            if (at != place_of(x.part, x.first + i)) {
                memcpy(place_of(x.part, x.first + i), at, r->size);
            }
        }
        n += x.count;
        answered(c, &x, r->round);
    }
    return KV_OK;
}

/* A push that is answered already is no error: it may have been sent twice. */
static enum kv_status pushes_committed(struct courier *c, const struct run *r)
{
    for (uint32_t n = 0; n < r->count;) {
        struct slice *s = courier_slice(c, r->slot + n);
        struct stretch x = {NULL, 0, 1};

        if (s == NULL) {
            return KV_EPROTO;
        }
        if (s->push != NULL && s->push->round <= r->round) {
            x = stretch_of(s->push, r->slot + n, r->count - n);
        }
        n += x.count;
        if (x.part != NULL) {
            answered(c, &x, r->round);
        }
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
        size_t size = (size_t)r->size * r->count;
        enum kv_status status = KV_EPROTO;

        if (r->size == 0) {
            status = pushes_committed(c, r);
        } else if (size <= left) {
            status = values_came(c, r, at);
            at += size;
            left -= size;
        }
        if (status != KV_OK) {
            return status;
        }
    }
    return KV_OK;
}

/* --- Refusals ------------------------------------------------------------ */

/* The slice that this is about: it has the slot, or had it before it was
 * deleted, and its push or pull of that round is due an answer. NULL: none. */
static struct slice *slice_due(const struct courier *c, uint32_t slot,
                               bool pull, uint64_t round)
{
    struct slice *s = courier_slice(c, slot);

    for (; s != NULL; s = s->older) {
        const struct part *p = pull ? s->pull : s->push;

        if (p != NULL && p->round == round &&
            (courier_due(p) >> (slot - p->slice->slot) & 1) != 0) {
            return s;
        }
    }
    return NULL;
}

static void put_back(struct courier *c, struct part *p, uint32_t slot)
{
    p->unsent |= UINT64_C(1) << (slot - p->slice->slot);
    if (p->state == PART_SENT) {
        list_unlink(&p->node);
        p->state = PART_READY;
        courier_queue_defer(&c->pushes, p);
    }
}

static enum kv_status on_again(struct courier *c, const struct message *m)
{
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *r = &m->batch.runs[i];

        for (uint32_t n = 0; n < r->count; n++) {
            struct slice *s;

            if (courier_slice(c, r->slot + n) == NULL) {
                return KV_EPROTO;
            }
            s = slice_due(c, r->slot + n, false, r->round);
            if (s != NULL) {
                put_back(c, s->push, r->slot + n);
            }
        }
    }
    return KV_OK;
}

static void refused(struct courier *c, struct part *p, struct slice *s,
                    enum kv_status status, const char *text, uint64_t round)
{
    if (p->span > 1) {
        courier_refuse(c, p, s, status, text);
    } else {
        courier_finish(c, p, status, text, round);
    }
}

/* A push that was refused has had no round. A pull behind it waits for a round
 * that will not come, so it shares its fate. */
static void push_refused(struct courier *c, struct slice *s,
                         enum kv_status status, const char *text)
{
    uint64_t round = s->push->round;

    s->pushed = round - 1;
    refused(c, s->push, s, status, text, round - 1);
    if (s->pull != NULL && (s->pull->span > 1 || (s->pull->state == PART_SENT &&
                                                  s->pull->round == round))) {
        refused(c, s->pull, s, status, text, round - 1);
    }
}

static enum kv_status on_error(struct courier *c, const struct message *m)
{
    struct slice *s;

    if (!m->error.about_slot) {
        return m->error.status == KV_OK ? KV_EPROTO : m->error.status;
    }
    if (courier_slice(c, m->error.slot) == NULL || m->error.status == KV_OK) {
        return KV_EPROTO;
    }
    s = slice_due(c, m->error.slot, m->error.pull, m->error.round);
    if (s == NULL) {
        return KV_OK; /* Refused twice, since it was sent twice. */
    }
    if (m->error.pull) {
        refused(c, s->pull, s, m->error.status, m->error.text, s->pull->round);
    } else {
        push_refused(c, s, m->error.status, m->error.text);
    }
    return KV_OK;
}

/* Not of what is answered already: it may have been sent twice. */
static enum kv_status on_skipped(struct courier *c, const struct message *m)
{
    struct slice *s = courier_slice(c, m->skipped.slot);

    if (s == NULL) {
        return KV_EPROTO;
    }
    s = slice_due(c, m->skipped.slot, false, m->skipped.round);
    if (s != NULL) {
        c->io.skipped(c->io.ctx, s->push, s, m);
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
        c->io.norms(c->io.ctx, s, m);
    }
    return KV_OK;
}

/* --- Rounds --------------------------------------------------------------- */

/* Others have gone on while this rank was not a member. Nothing of a slice is
 * under way then, and slices not registered yet learn it from Opened. */
static enum kv_status on_rounds(struct courier *c, const struct message *m)
{
    for (uint32_t i = 0; i < m->batch.run_count; i++) {
        const struct run *r = &m->batch.runs[i];

        for (uint32_t n = 0; n < r->count; n++) {
            struct slice *s = courier_slice(c, r->slot + n);

            if (s != NULL && s->push == NULL && s->pull == NULL &&
                s->pushed >> KV_ROUND_BITS == r->round >> KV_ROUND_BITS) {
                s->pushed = r->round;
            }
        }
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

static enum kv_status on_waiting(struct courier *c, uint64_t request_id,
                                 const struct message *m)
{
    struct request *r = courier_request_of(c, request_id);

    if (r == NULL) {
        return KV_EPROTO;
    }
    if (r->waiting != NULL) {
        r->waiting(r, m);
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
    if (m->kind == MESSAGE_WAITING) {
        return on_waiting(c, request_id, m);
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
    case MESSAGE_SKIPPED:
        return on_skipped(c, m);
    case MESSAGE_NORMS:
        return on_norms(c, m);
    case MESSAGE_ROUNDS:
        return on_rounds(c, m);
    case MESSAGE_PING:
        c->up = c->io.send(c->io.ctx, m, 0, NULL, 0, NULL);
        return KV_OK;
    case MESSAGE_STALLED:
        if (courier_slice(c, m->stalled.slot) == NULL) {
            return KV_EPROTO;
        }
        if (courier_slice(c, m->stalled.slot) != &c->gone) {
            c->io.stalled(c->io.ctx, courier_slice(c, m->stalled.slot), m);
        }
        return KV_OK;
    default:
        return KV_EPROTO;
    }
}
