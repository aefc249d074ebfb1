#include "worker/engine_purge.h"

#include <stdio.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"

void engine_ask_delete(struct engine *e, struct request *q,
                       const struct key_spec *spec, enum kv_delete_step step,
                       uint32_t key_id)
{
    q->message.kind = MESSAGE_DELETE;
    q->message.delete.step = step;
    q->message.delete.key_id = key_id;
    q->message.delete.name = spec->name;
    q->message.delete.number = spec->number;
    route_request(&e->control, q);
}

static void finish(struct purge *p)
{
    mem_free(p->drops);
    p->drops = NULL;
    p->done(p, p->status, p->text);
}

static void fail(struct purge *p, enum kv_status status, const char *text)
{
    if (p->status == KV_OK) {
        p->status = status;
        snprintf(p->text, sizeof p->text, "%s",
                 text[0] == '\0' ? kv_strstatus(status) : text);
    }
}

static void on_ended(struct request *q, enum kv_status status, const char *text,
                     const struct message *reply, const void *payload,
                     size_t payload_size)
{
    struct purge *p = q->owner;

    (void)reply;
    (void)payload;
    (void)payload_size;
    if (status != KV_OK) {
        fail(p, status, text);
    }
    finish(p);
}

static void dropped_one(struct purge *p)
{
    if (--p->left > 0) {
        return;
    }
    if (p->status != KV_OK) {
        finish(p);
        return;
    }
    p->end.done = on_ended;
    p->end.owner = p;
    engine_ask_delete(p->engine, &p->end, p->spec, KV_DELETE_END, p->key_id);
}

static void on_dropped(struct request *q, enum kv_status status,
                       const char *text, const struct message *reply,
                       const void *payload, size_t payload_size)
{
    struct purge *p = q->owner;

    (void)reply;
    (void)payload;
    (void)payload_size;
    if (status != KV_OK) {
        fail(p, status, text);
    }
    dropped_one(p);
}

static void drop(struct purge *p, uint32_t slice, uint32_t home,
                 uint64_t deletion)
{
    struct request *q = &p->drops[slice];

    q->message.kind = MESSAGE_DROP;
    q->message.drop.key_id = p->key_id;
    q->message.drop.slice = slice;
    q->message.drop.deletion = deletion;
    q->done = on_dropped;
    q->owner = p;
    p->left++;
    route_request(&p->engine->routes[home], q);
}

void engine_purge(struct purge *p, struct engine *e,
                  const struct key_spec *spec, const struct message *placed,
                  const void *payload, size_t payload_size)
{
    size_t slices = payload_size / ENGINE_HOME_SIZE;
    uint64_t deletion = placed->placed.deletions;
    const unsigned char *homes = payload;

    p->engine = e;
    p->spec = spec;
    p->key_id = placed->placed.key_id;
    p->left = 1; /* So that it cannot end in the middle of this. */
    p->status = KV_OK;
    p->text[0] = '\0';
    p->end = (struct request){.owner = NULL};
    p->drops = mem_zalloc(slices, sizeof *p->drops);
    if (p->drops == NULL) {
        fail(p, KV_ENOMEM, "");
    }
    for (size_t i = 0; i < slices && p->status == KV_OK; i++) {
        uint32_t home = bytes_get_u32(homes + i * ENGINE_HOME_SIZE);

        if (home >= e->route_count) { /* Off the wire. */
            fail(p, KV_EPROTO, "");
        } else {
            drop(p, (uint32_t)i, home, deletion);
        }
    }
    dropped_one(p);
}
