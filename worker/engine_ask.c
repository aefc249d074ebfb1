/* Questions about keys: which there are, and how far they have come. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "worker/engine_core.h"

/* --- Which keys? ---------------------------------------------------------- */

struct inquiry {
    struct engine *engine;
    struct kvw_op *op;
    struct key_spec spec; /* Of a version; for messages. */
    size_t left;
    uint64_t least;
    struct request requests[]; /* One a slice; of a list, one. */
};

static struct inquiry *inquire(struct engine *e, struct kvw_op *op,
                               size_t requests)
{
    struct inquiry *q =
        mem_zalloc(1, sizeof *q + requests * sizeof q->requests[0]);

    if (q == NULL) {
        op_fail(op, KV_ENOMEM, "out of memory for a question");
        engine_done(e, op);
        return NULL;
    }
    q->engine = e;
    q->op = op;
    q->left = requests;
    for (size_t i = 0; i < requests; i++) {
        q->requests[i].owner = q;
    }
    return q;
}

static void finish(struct inquiry *q)
{
    engine_done(q->engine, q->op);
    mem_free(q);
}

static void take_listing(const struct message_listing *l,
                         struct op_listing *out)
{
    snprintf(out->name, sizeof out->name, "%s", l->name == NULL ? "" : l->name);
    out->number = l->number;
    out->dtype = (enum kv_dtype)l->dtype;
    out->storage = l->storage;
    out->dims = l->dims;
    out->slices = l->slices;
    memcpy(out->shape, l->shape, sizeof out->shape);
}

static void on_listed(struct request *r, enum kv_status status,
                      const char *text, const struct message *reply,
                      const void *payload, size_t payload_size)
{
    struct inquiry *q = r->owner;
    struct op_page *page = q->op->page;

    (void)payload;
    (void)payload_size;
    if (status == KV_OK && reply->kind != MESSAGE_LISTED) {
        status = KV_EPROTO;
    }
    if (status != KV_OK) {
        op_fail(q->op, status, "rank %" PRIu32 " asks for the keys: %s",
                q->engine->job.rank,
                text[0] == '\0' ? kv_strstatus(status) : text);
        finish(q);
        return;
    }
    page->count = reply->listed.count;
    page->from = reply->listed.next > page->from ? reply->listed.next : 0;
    for (uint32_t i = 0; i < page->count; i++) {
        take_listing(&reply->listed.keys[i], &page->keys[i]);
    }
    finish(q);
}

void engine_list(struct engine *e, struct kvw_op *op)
{
    struct inquiry *q = inquire(e, op, 1);

    if (q != NULL) {
        q->requests[0].message.kind = MESSAGE_LIST;
        q->requests[0].message.list.from = op->page->from;
        q->requests[0].done = on_listed;
        route_request(&e->control, &q->requests[0]);
    }
}

/* --- How many rounds? ----------------------------------------------------- */

static void on_versioned(struct request *r, enum kv_status status,
                         const char *text, const struct message *reply,
                         const void *payload, size_t payload_size)
{
    struct inquiry *q = r->owner;
    char name[KEYS_TEXT_MAX];

    (void)payload;
    (void)payload_size;
    if (status == KV_OK && reply->kind != MESSAGE_VERSIONED) {
        status = KV_EPROTO;
    }
    if (status != KV_OK) {
        op_fail(q->op, status, "%s on rank %" PRIu32 ": %s",
                keys_text(&q->spec, name), q->engine->job.rank,
                text[0] == '\0' ? kv_strstatus(status) : text);
    } else if (reply->versioned.rounds < q->least) {
        q->least = reply->versioned.rounds;
    }
    if (--q->left > 0) {
        return;
    }
    *q->op->version = q->least;
    finish(q);
}

void engine_version(struct engine *e, struct kvw_op *op)
{
    const struct key_spec *spec = &op->pushes[0].spec;
    const struct key *key = keys_find(&e->keys, spec);
    struct inquiry *q;

    if (key == NULL) {
        engine_unknown_key(e, op, spec);
        engine_done(e, op);
        return;
    }
    q = inquire(e, op, key->slice_count);
    if (q == NULL) {
        return;
    }
    q->spec = *spec;
    q->least = UINT64_MAX;
    for (uint32_t i = 0, count = key->slice_count; i < count; i++) {
        struct request *r = &q->requests[i];

        r->message.kind = MESSAGE_VERSION;
        r->message.version.key_id = key->id;
        r->message.version.slice = i;
        r->done = on_versioned;
        route_request(&e->routes[key->slices[i].home], r);
    }
}
