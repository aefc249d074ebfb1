#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/courier_core.h"

/* --- Order on one slice -------------------------------------------------- */

/* A push waits for the pulls before it: they ask for the round before its own.
 * A pull waits until the push before it is on its way: it asks for its round.
 */
static bool may_go(const struct slice *s, const struct part *p)
{
    if (p->pull) {
        return s->pull == NULL &&
               (s->push == NULL || s->push->state == PART_SENT);
    }
    return s->push == NULL && s->pull == NULL;
}

void courier_ready(struct courier *c, struct part *p)
{
    p->state = PART_READY;
    courier_queue_add(p->pull ? &c->pulls : &c->pushes, p);
}

static void make_ready(struct courier *c, struct slice *s, struct part *p)
{
    if (p->pull) {
        s->pull = p;
    } else {
        s->push = p;
    }
    courier_ready(c, p);
}

void courier_release(struct courier *c, struct slice *s)
{
    struct list_link *link;

    while ((link = list_first(&s->waiting)) != NULL) {
        struct part *p = LIST_ENTRY(link, struct part, node);

        if (!may_go(s, p)) {
            return;
        }
        list_unlink(link);
        make_ready(c, s, p);
    }
}

/* --- In and out ---------------------------------------------------------- */

enum kv_status courier_add_slice(struct courier *c, struct slice *s)
{
    struct slice ***page, *before;

    if (s->slot >= KV_SLOTS_MAX) {
        return KV_EPROTO;
    }
    page = &c->pages[s->slot / COURIER_PAGE];
    if (*page == NULL) {
        *page = mem_zalloc(COURIER_PAGE, sizeof **page);
        if (*page == NULL) {
            return KV_ENOMEM;
        }
    }
    before = (*page)[s->slot % COURIER_PAGE];
    if (before != NULL && before != &c->gone &&
        s->pushed >> KV_ROUND_BITS <= before->pushed >> KV_ROUND_BITS) {
        return KV_EEXIST;
    }
    (*page)[s->slot % COURIER_PAGE] = s;
    s->older = before == &c->gone ? NULL : before;
    s->courier = c;
    s->size = s->count * (uint32_t)kv_dtype_size(s->dtype);
    s->push = NULL;
    s->pull = NULL;
    list_init(&s->waiting);
    return KV_OK;
}

uint64_t courier_level(struct slice *slices, uint32_t count)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t rounds = message_rounds(slices[i].pushed);

        least = rounds < least ? rounds : least;
        most = rounds > most ? rounds : most;
    }
    for (uint32_t i = 0; i < count; i++) {
        slices[i].pushed -= message_rounds(slices[i].pushed) - least;
    }
    return most - least;
}

bool courier_idle(const struct slice *s)
{
    return s->courier == NULL ||
           (s->push == NULL && s->pull == NULL && list_empty(&s->waiting));
}

void courier_remove_slice(struct slice *s)
{
    struct courier *c = s->courier;
    struct slice **at;

    KV_CHECK(courier_idle(s));
    if (c == NULL) {
        return;
    }
    at = &c->pages[s->slot / COURIER_PAGE][s->slot % COURIER_PAGE];
    if (*at == s && s->older == NULL) {
        *at = &c->gone;
    } else {
        while (*at != s) {
            at = &(*at)->older;
        }
        *at = s->older;
    }
    s->courier = NULL;
}

void courier_submit(struct courier *c, struct part *p)
{
    struct slice *s = p->slice;

    KV_CHECK(s->courier == c);
    p->span = p->span == 0 ? 1 : p->span;
    p->unsent = courier_bits(p->span);
    p->unanswered = p->unsent;
    p->link = c->link;
    p->behind = NULL;
    p->round = 0;
    p->sent = false;
    p->sent_ms = 0;
    p->encoded = NULL;
    p->codec = p->pull    ? NULL
               : p->reset ? c->none
                          : courier_payload_codec(c, s);
    p->state = PART_WAITING;
    list_link_init(&p->node);
    c->pending++;
    if (p->span > 1) {
        courier_occupy(c, p);
    } else if (list_empty(&s->waiting) && may_go(s, p)) {
        make_ready(c, s, p);
    } else {
        list_push(&s->waiting, &p->node);
    }
}

void courier_finish(struct courier *c, struct part *p, enum kv_status status,
                    const char *text, uint64_t round)
{
    list_unlink(&p->node);
    for (uint32_t i = 0; i < p->span; i++) {
        struct slice *s = courier_slice_of(p, i);

        if (p->pull) {
            s->pull = NULL;
        } else {
            s->push = NULL;
        }
        if (!list_empty(&s->waiting)) {
            courier_release(c, s);
        }
    }
    bufpool_put(c->buffers, p->encoded);
    p->encoded = NULL;
    c->pending--;
    c->io.part_done(c->io.ctx, p, status, text, round);
}
