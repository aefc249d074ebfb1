#include "worker/courier.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/courier_core.h"

/* --- Requests ------------------------------------------------------------ */

void courier_request(struct courier *c, struct request *r)
{
    r->id = c->next_id++;
    r->sent = false;
    list_link_init(&r->node);
    c->pending++;
    list_push(&c->requests_waiting, &r->node);
}

static struct request **find_request(struct courier *c, uint64_t id)
{
    struct request **at = &c->by_id[id % COURIER_CHAINS];

    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next_in_id;
    }
    return at;
}

struct request *courier_request_of(struct courier *c, uint64_t id)
{
    return *find_request(c, id);
}

struct request *courier_take_request(struct courier *c, uint64_t id)
{
    struct request **at = find_request(c, id);

    if (*at != NULL) {
        struct request *r = *at;

        *at = r->next_in_id;
        list_unlink(&r->node);
        return r;
    }
    return NULL;
}

/* --- Connections --------------------------------------------------------- */

static struct list_link *take_last(struct list *l)
{
    struct list_link *link = l->head.prev;

    if (list_empty(l)) {
        return NULL;
    }
    list_unlink(link);
    return link;
}

/* From the last one on, each to the front: the old order. */
static void requests_unsent(struct courier *c)
{
    struct list_link *link;

    while ((link = take_last(&c->requests_sent)) != NULL) {
        list_push_front(&c->requests_waiting, link);
    }
    memset(c->by_id, 0, sizeof c->by_id);
}

/* A pull may so come before its push; the server lets it wait for the round,
 * as it does when the push is put back (Again). */
static void parts_unsent(struct courier *c)
{
    struct list_link *link;

    while ((link = take_last(&c->sent)) != NULL) {
        struct part *p = LIST_ENTRY(link, struct part, node);

        p->state = PART_READY;
        courier_queue_return(p->pull ? &c->pulls : &c->pushes, p);
    }
}

void courier_up(struct courier *c)
{
    KV_CHECK(!c->up);
    c->up = true;
    c->link++;
    requests_unsent(c);
    parts_unsent(c);
}

void courier_down(struct courier *c)
{
    c->up = false;
}

/* --- The way out --------------------------------------------------------- */

static void take_all(struct courier_queue *q, struct list *all)
{
    struct part *p;

    while ((p = courier_queue_take(q)) != NULL) {
        list_push(all, &p->node);
    }
}

/* And of those that had the slot before. */
static void take_slices(struct slice *s, struct list *all)
{
    for (; s != NULL; s = s->older) {
        list_append(all, &s->waiting);
        s->push = NULL;
        s->pull = NULL;
    }
}

/* Every part, what was sent first; no slice knows of any after this. */
static void take_parts(struct courier *c, struct list *all)
{
    list_append(all, &c->sent);
    take_all(&c->pushes, all);
    take_all(&c->pulls, all);
    for (size_t i = 0; i < KV_SLOTS_MAX / COURIER_PAGE; i++) {
        for (size_t n = 0; c->pages[i] != NULL && n < COURIER_PAGE; n++) {
            take_slices(c->pages[i][n], all);
        }
    }
}

void courier_fail(struct courier *c, enum kv_status status, const char *text)
{
    struct list requests, parts;
    struct list_link *link;

    KV_CHECK(!c->up);
    requests_unsent(c);
    list_init(&requests);
    list_init(&parts);
    list_append(&requests, &c->requests_waiting);
    take_parts(c, &parts);
    while ((link = list_pop(&requests)) != NULL) {
        struct request *r = LIST_ENTRY(link, struct request, node);

        c->pending--;
        r->done(r, status, text, NULL, NULL, 0);
    }
    while ((link = list_pop(&parts)) != NULL) {
        struct part *p = LIST_ENTRY(link, struct part, node);

        if (p->behind != NULL) {
            list_push_front(&parts, &p->behind->node);
            p->behind = NULL;
        }
        bufpool_put(c->buffers, p->encoded);
        p->encoded = NULL;
        c->pending--;
        c->io.part_done(c->io.ctx, p, status, text, p->round);
    }
}

enum kv_status courier_init(struct courier **out, const struct courier_io *io,
                            struct bufpool *buffers)
{
    struct courier *c = mem_zalloc(1, sizeof *c);

    if (c == NULL) {
        return KV_ENOMEM;
    }
    if (courier_queue_init(&c->pushes) != KV_OK) {
        goto err_courier;
    }
    if (courier_queue_init(&c->pulls) != KV_OK) {
        goto err_pushes;
    }
    c->io = *io;
    c->buffers = buffers;
    c->next_id = 1;
    c->none = kv_codec_find("none");
    KV_CHECK(c->none != NULL);
    list_init(&c->sent);
    list_init(&c->gone.waiting);
    list_init(&c->requests_waiting);
    list_init(&c->requests_sent);
    *out = c;
    return KV_OK;

err_pushes:
    courier_queue_fini(&c->pushes);
err_courier:
    mem_free(c);
    return KV_ENOMEM;
}

void courier_free(struct courier *c)
{
    KV_CHECK(c->pending == 0);
    courier_queue_fini(&c->pushes);
    courier_queue_fini(&c->pulls);
    for (size_t i = 0; i < KV_SLOTS_MAX / COURIER_PAGE; i++) {
        mem_free(c->pages[i]);
    }
    mem_free(c->places);
    mem_free(c);
}

void courier_codec(struct courier *c, const struct kv_codec *codec)
{
    c->codec = codec;
}

/* --- For messages -------------------------------------------------------- */

size_t courier_pending(const struct courier *c)
{
    return c->pending;
}

const struct part *courier_oldest(const struct courier *c)
{
    struct list_link *first = list_first(&c->sent);

    return first == NULL ? NULL : LIST_ENTRY(first, struct part, node);
}

uint64_t courier_resent(const struct courier *c)
{
    return c->resent;
}
