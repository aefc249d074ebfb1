/* Deleting keys: of the root, of the shards, and of this worker's tables.
 *
 *   ask      which key is it, for those that were not registered here
 *   begin    the root dooms it: nobody finds it any more
 *   purge    its slices go, the root forgets it (engine_purge.c)
 *
 * The key is named by its id from the second step on, so that a step that is
 * sent twice cannot meet another key of the same name. */
#include <inttypes.h>

#include "common/base/mem.h"
#include "worker/engine_purge.h"
#include "worker/lookup.h"

struct deletion;

struct victim {
    struct deletion *all;
    const struct key_spec *spec;
    uint32_t key_id;
    bool known; /* The id is. */
    struct request ask;
    struct purge purge;
};

struct deletion {
    struct engine *engine;
    struct kvw_op *op;
    struct victim *victims; /* Owned; item_count of them. */
    size_t left;            /* Not answered. */
    bool begun;             /* The second step. */
};

/* --- What this worker has of it ------------------------------------------- */

static bool idle(const struct key *key)
{
    for (uint32_t i = 0; i < key->slice_count; i++) {
        if (!courier_idle(&key->slices[i])) {
            return false;
        }
    }
    return true;
}

static void bury(struct engine *e, struct key *key)
{
    for (uint32_t i = 0; i < key->slice_count; i++) {
        courier_remove_slice(&key->slices[i]);
    }
    e->stalls -= key->stall.round > 0 ? 1 : 0;
    keys_free(key);
}

void engine_lose(struct engine *e, struct key *key)
{
    key->next_lost = e->lost;
    e->lost = key;
}

void engine_reap(struct engine *e)
{
    struct key **at = &e->lost;

    while (*at != NULL) {
        struct key *key = *at;

        if (idle(key)) {
            *at = key->next_lost;
            bury(e, key);
        } else {
            at = &key->next_lost;
        }
    }
}

/* --- The end -------------------------------------------------------------- */

static void forget_keys(struct deletion *d)
{
    struct engine *e = d->engine;

    for (size_t i = 0; i < d->op->item_count; i++) {
        const struct victim *v = &d->victims[i];
        struct key *key = keys_find(&e->keys, v->spec);

        if (key != NULL && key->id == v->key_id) {
            (void)keys_remove(&e->keys, v->spec);
            engine_lose(e, key);
        }
    }
    engine_reap(e);
}

static void finish(struct deletion *d)
{
    if (d->op->status == KV_OK) {
        forget_keys(d);
    }
    engine_done(d->engine, d->op);
    mem_free(d->victims);
    mem_free(d);
}

static void begin_all(struct deletion *d);

/* Nothing is doomed before all keys of the call are known to be there. */
static void one_less(struct deletion *d)
{
    if (--d->left > 0) {
        return;
    }
    if (d->begun || d->op->status != KV_OK) {
        finish(d);
    } else {
        begin_all(d);
    }
}

static void refused(struct victim *v, enum kv_status status, const char *text)
{
    char name[KEYS_TEXT_MAX];

    op_fail(v->all->op, status, "%s on rank %" PRIu32 ": %s",
            keys_text(v->spec, name), v->all->engine->job.rank,
            text[0] == '\0' ? kv_strstatus(status) : text);
    one_less(v->all);
}

/* --- Begin ---------------------------------------------------------------- */

static void on_purged(struct purge *p, enum kv_status status, const char *text)
{
    struct victim *v = p->owner;

    if (status != KV_OK) {
        refused(v, status, text);
    } else {
        one_less(v->all);
    }
}

static void on_begun(struct request *q, enum kv_status status, const char *text,
                     const struct message *reply, const void *payload,
                     size_t payload_size)
{
    struct victim *v = q->owner;

    if (status != KV_OK) {
        refused(v, status, text);
    } else if (reply->kind == MESSAGE_OK) {
        one_less(v->all); /* Somebody else has deleted it. */
    } else if (reply->kind != MESSAGE_PLACED || !reply->placed.doomed) {
        refused(v, KV_EPROTO, "");
    } else {
        v->purge.done = on_purged;
        v->purge.owner = v;
        engine_purge(&v->purge, v->all->engine, v->spec, reply, payload,
                     payload_size);
    }
}

static void begin_all(struct deletion *d)
{
    size_t count = d->op->item_count;

    d->begun = true;
    d->left = count;
    for (size_t i = 0; i < count; i++) {
        struct victim *v = &d->victims[i];

        v->ask = (struct request){.done = on_begun, .owner = v};
        engine_ask_delete(d->engine, &v->ask, v->spec, KV_DELETE_BEGIN,
                          v->key_id);
    }
}

/* --- Ask ------------------------------------------------------------------ */

static void on_found(struct request *q, enum kv_status status, const char *text,
                     const struct message *reply, const void *payload,
                     size_t payload_size)
{
    struct victim *v = q->owner;

    (void)payload;
    (void)payload_size;
    if (status == KV_OK && reply->kind != MESSAGE_PLACED) {
        status = KV_EPROTO;
    }
    if (status != KV_OK) {
        refused(v, status, text);
        return;
    }
    v->key_id = reply->placed.key_id;
    one_less(v->all);
}

static void ask_all(struct deletion *d)
{
    d->left = 1; /* So that it cannot end in the middle of this. */
    for (size_t i = 0, count = d->op->item_count; i < count; i++) {
        struct victim *v = &d->victims[i];

        if (!v->known) {
            v->ask.done = on_found;
            v->ask.owner = v;
            d->left++;
            engine_ask_delete(d->engine, &v->ask, v->spec, KV_DELETE_ASK, 0);
        }
    }
    one_less(d);
}

/* --- Start ---------------------------------------------------------------- */

static struct deletion *make(struct engine *e, struct kvw_op *op)
{
    struct deletion *d = mem_zalloc(1, sizeof *d);

    if (d == NULL) {
        return NULL;
    }
    d->engine = e;
    d->op = op;
    d->victims = mem_zalloc(op->item_count, sizeof *d->victims);
    if (d->victims == NULL) {
        mem_free(d);
        return NULL;
    }
    for (size_t i = 0; i < op->item_count; i++) {
        struct victim *v = &d->victims[i];
        const struct key *key;

        v->all = d;
        v->spec = &op->pushes[i].spec;
        key = keys_find(&e->keys, v->spec);
        v->known = key != NULL;
        v->key_id = key != NULL ? key->id : 0;
    }
    return d;
}

void engine_delete(struct engine *e, struct kvw_op *op)
{
    struct deletion *d = NULL;

    engine_reap(e);
    if (lookup_once(e->job.rank, op)) {
        d = make(e, op);
        if (d == NULL) {
            op_fail(op, KV_ENOMEM, "out of memory for %zu keys",
                    op->item_count);
        }
    }
    if (d == NULL) {
        engine_done(e, op);
        return;
    }
    ask_all(d);
}
