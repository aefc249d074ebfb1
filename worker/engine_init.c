#include <inttypes.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "worker/engine_purge.h"
#include "worker/moves.h"

/* Keys that are asked for at a time; the root bounds what waits. */
#define KEYS_ASKED_MAX 4096

struct registration;

/* One key on its way: first to the root (Key), then each slice to its shard
 * (Open). A key of its name that is being deleted goes first; and when a shard
 * says that it may have been deleted since, it begins anew. */
struct newcomer {
    struct registration *all;
    struct op_item *item;
    struct key *key; /* Owned until it is added. */
    struct request place;
    struct request *opens; /* Owned; by slice. */
    uint64_t deletions;    /* That the root knew of. */
    size_t opening;        /* Slices not answered. */
    bool again;            /* Ask the root again after those. */
    struct purge purge;
};

/* One kvw_init(). */
struct registration {
    struct engine *engine;
    struct kvw_op *op;
    struct newcomer *newcomers; /* Owned; item_count of them. */
    size_t next;                /* The first that the root was not asked for. */
    size_t left;                /* Requests not answered. */
};

/* --- The end -------------------------------------------------------------- */

static enum kv_status add_slices(struct engine *e, struct key *key)
{
    for (uint32_t i = 0; i < key->slice_count; i++) {
        enum kv_status status = courier_add_slice(
            e->routes[key->slices[i].home].courier, &key->slices[i]);

        if (status != KV_OK) {
            return status;
        }
    }
    return KV_OK;
}

/* What was registered here by that name was deleted from the job. */
static void replace_older(struct engine *e, const struct newcomer *n)
{
    struct key *older = keys_find(&e->keys, &n->item->spec);

    if (older != NULL && older->id != n->key->id) {
        (void)keys_remove(&e->keys, &n->item->spec);
        engine_lose(e, older);
    }
}

/* Under async a push is a round by itself: each slice goes on from where it is,
 * and misses none. */
static void level(const struct engine *e, struct key *key)
{
    char name[KEYS_TEXT_MAX];
    uint64_t apart;

    if (e->policy != KV_POLICY_SYNC) {
        return;
    }
    apart = courier_level(key->slices, key->slice_count);
    key->reached = message_rounds(key->slices[0].pushed) + apart;
    if (apart > 0) {
        log_warn("%s on rank %" PRIu32 ": an earlier life has taken some "
                 "slices to round %" PRIu64 ", others only to %" PRIu64
                 "; those that have them ignore the rounds between",
                 keys_text(&key->spec, name), e->job.rank, key->reached,
                 key->reached - apart);
    }
}

static bool add_key(struct engine *e, struct newcomer *n)
{
    char name[KEYS_TEXT_MAX];
    enum kv_status status;

    replace_older(e, n);
    level(e, n->key);
    status = add_slices(e, n->key);
    if (status == KV_OK) {
        status = keys_add(&e->keys, n->key);
    }
    if (status != KV_OK) {
        op_fail(n->all->op, status, "%s on rank %" PRIu32 ": %s",
                keys_text(&n->item->spec, name), e->job.rank,
                kv_strstatus(status));
        engine_lose(e, n->key);
    }
    n->key = NULL;
    return status == KV_OK;
}

/* All or none: after the first failure no key of the call is registered. That
 * which failed may be there, of another call. */
static void add_keys(struct registration *r)
{
    struct engine *e = r->engine;
    size_t count = r->op->item_count, added = 0;

    while (added < count && add_key(e, &r->newcomers[added])) {
        added++;
    }
    while (r->op->status != KV_OK && added-- > 0) {
        engine_lose(e, keys_remove(&e->keys, &r->newcomers[added].item->spec));
    }
}

static void free_registration(struct registration *r)
{
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; r->newcomers != NULL && i < r->op->item_count; i++) {
        keys_free(r->newcomers[i].key);
        mem_free(r->newcomers[i].opens);
    }
    mem_free(r->newcomers);
    mem_free(r);
}

static void ask_more(struct registration *r);

static void answered(struct registration *r)
{
    if (--r->left > 0) {
        return;
    }
    if (r->op->status == KV_OK && r->next < r->op->item_count) {
        ask_more(r);
        return;
    }
    if (r->op->status == KV_OK) {
        add_keys(r);
    }
    engine_done(r->engine, r->op);
    free_registration(r);
}

static void refused(struct newcomer *n, enum kv_status status, const char *text)
{
    char name[KEYS_TEXT_MAX];

    op_fail(n->all->op, status, "%s on rank %" PRIu32 ": %s",
            keys_text(&n->item->spec, name), n->all->engine->job.rank,
            text[0] == '\0' ? kv_strstatus(status) : text);
}

/* --- Slices --------------------------------------------------------------- */

static void ask_root(struct newcomer *n);

static void opened_one(struct newcomer *n)
{
    if (--n->opening == 0 && n->again && n->all->op->status == KV_OK) {
        mem_free(n->opens);
        n->opens = NULL;
        ask_root(n);
    }
    answered(n->all);
}

static void note_round(struct key *key, uint64_t round, bool reset)
{
    uint64_t otherwise = reset && round > 0 ? round - 1 : round;

    if (otherwise > key->reached_otherwise) {
        key->reached_otherwise = otherwise;
    }
}

static void on_opened(struct request *q, enum kv_status status,
                      const char *text, const struct message *reply,
                      const void *payload, size_t payload_size)
{
    struct newcomer *n = q->owner;
    struct slice *s = &n->key->slices[q - n->opens];

    n->all->engine->key_note[0] = '\0'; /* If others wait, they say so. */
    (void)payload;
    (void)payload_size;
    if (status == KV_OK && reply->kind != MESSAGE_OPENED) {
        status = KV_EPROTO;
    }
    if (status == KV_OK) {
        s->slot = reply->opened.slot;
        s->pushed = reply->opened.round;
        note_round(n->key, message_rounds(s->pushed), reply->opened.reset);
    } else if (status == KV_EAGAIN) {
        n->again = true;
    } else {
        refused(n, status, text);
    }
    opened_one(n);
}

/* The length of a dense key's rows, unless slices cut them. */
static size_t whole_rows(const struct key *key)
{
    size_t length = moves_row_length(&key->spec);
    bool whole = key->slice_count == 1 || key->slice_step % length == 0;

    return key->spec.storage == KV_DENSE && whole ? length : 0;
}

/* At the root for rank 0 to register the key, or at a shard for its value. */
static void on_waiting(struct request *q, const struct message *m)
{
    struct newcomer *n = q->owner;
    struct engine *e = n->all->engine;
    char name[KEYS_TEXT_MAX];

    engine_note(e, e->key_note, keys_text(&n->item->spec, name), m);
}

static void open_slice(struct newcomer *n, uint32_t index)
{
    struct engine *e = n->all->engine;
    struct request *q = &n->opens[index];
    struct slice *s = &n->key->slices[index];
    size_t element = kv_dtype_size(s->dtype);

    q->message.kind = MESSAGE_OPEN;
    q->message.open.key_id = n->key->id;
    q->message.open.slice = index;
    q->message.open.dtype = s->dtype;
    q->message.open.count = s->count;
    q->message.open.row_length = n->key->spec.storage == KV_ROW_SPARSE
                                     ? moves_row_length(&n->key->spec)
                                     : 0;
    q->message.open.width = whole_rows(n->key);
    q->message.open.slices = n->key->slice_count;
    q->message.open.plain = keys_plain(&n->key->spec);
    q->message.open.deletions = n->deletions;
    if (e->job.rank == 0) {
        q->payload = (const char *)n->item->data[0] +
                     (size_t)(index * n->key->slice_step) * element;
        q->payload_size = s->count * element;
    }
    q->done = on_opened;
    q->waiting = on_waiting;
    q->owner = n;
    n->all->left++;
    n->opening++;
    route_request(&e->routes[n->key->slices[index].home], q);
}

/* --- Placement ------------------------------------------------------------ */

/* The payload is off the wire: check each shard. */
static enum kv_status take_homes(const struct engine *e, struct key *key,
                                 const void *payload)
{
    const unsigned char *at = payload;

    for (uint32_t i = 0; i < key->slice_count; i++) {
        uint32_t home = bytes_get_u32(at + (size_t)i * ENGINE_HOME_SIZE);

        if (home >= e->route_count) {
            return KV_EPROTO;
        }
        key->slices[i].home = home & 0xffffff;
    }
    return KV_OK;
}

static enum kv_status place(struct newcomer *n, const struct message *m,
                            const void *payload, size_t payload_size)
{
    enum kv_status status;

    if (m->kind != MESSAGE_PLACED || payload_size % ENGINE_HOME_SIZE != 0) {
        return KV_EPROTO;
    }
    status = keys_cut(n->key, m->placed.slice_count,
                      payload_size / ENGINE_HOME_SIZE);
    if (status != KV_OK) {
        return status;
    }
    status = take_homes(n->all->engine, n->key, payload);
    if (status != KV_OK) {
        return status;
    }
    n->opens = mem_zalloc(n->key->slice_count, sizeof *n->opens);
    return n->opens == NULL ? KV_ENOMEM : KV_OK;
}

static void open_slices(struct newcomer *n)
{
    n->again = false;
    n->key->reached_otherwise = 0;
    n->opening = 1; /* So that it cannot begin anew in the middle of this. */
    n->all->left++;
    for (uint32_t i = 0; i < n->key->slice_count; i++) {
        open_slice(n, i);
    }
    opened_one(n);
}

static void on_purged(struct purge *p, enum kv_status status, const char *text)
{
    struct newcomer *n = p->owner;

    if (status != KV_OK) {
        refused(n, status, text);
    } else {
        ask_root(n);
    }
    answered(n->all);
}

static bool registered_here(const struct newcomer *n, uint32_t key_id)
{
    const struct key *key = keys_find(&n->all->engine->keys, &n->item->spec);

    return key != NULL && key->id == key_id;
}

static void on_placed(struct request *q, enum kv_status status,
                      const char *text, const struct message *reply,
                      const void *payload, size_t payload_size)
{
    struct newcomer *n = q->owner;

    n->all->engine->key_note[0] = '\0';
    if (status == KV_OK && reply->kind == MESSAGE_PLACED &&
        reply->placed.doomed) {
        n->purge.done = on_purged;
        n->purge.owner = n;
        engine_purge(&n->purge, n->all->engine, &n->item->spec, reply, payload,
                     payload_size);
        return;
    }
    if (status == KV_OK) {
        status = place(n, reply, payload, payload_size);
    }
    if (status == KV_OK && registered_here(n, reply->placed.key_id)) {
        status = KV_EEXIST;
        text = "it was registered before";
    }
    if (status != KV_OK) {
        refused(n, status, text);
        answered(n->all);
        return;
    }
    n->key->id = reply->placed.key_id;
    n->deletions = reply->placed.deletions;
    open_slices(n);
    answered(n->all);
}

static void ask_root(struct newcomer *n)
{
    const struct key_spec *spec = &n->item->spec;
    struct message *m = &n->place.message;

    n->place =
        (struct request){.done = on_placed, .waiting = on_waiting, .owner = n};
    m->kind = MESSAGE_KEY;
    m->key.name = spec->name;
    m->key.number = spec->number;
    m->key.dtype = spec->dtype;
    m->key.dims = spec->dims;
    m->key.storage = spec->storage;
    memcpy(m->key.shape, spec->shape, sizeof m->key.shape);
    n->all->left++;
    route_request(&n->all->engine->control, &n->place);
}

static void ask_more(struct registration *r)
{
    size_t end = r->op->item_count;

    if (end - r->next > KEYS_ASKED_MAX) {
        end = r->next + KEYS_ASKED_MAX;
    }
    r->left++; /* So that it cannot end in the middle of this. */
    while (r->next < end) {
        ask_root(&r->newcomers[r->next++]);
    }
    answered(r);
}

/* --- Start ---------------------------------------------------------------- */

static bool make_newcomers(struct registration *r)
{
    struct kvw_op *op = r->op;

    r->newcomers = mem_zalloc(op->item_count, sizeof *r->newcomers);
    for (size_t i = 0; r->newcomers != NULL && i < op->item_count; i++) {
        struct newcomer *n = &r->newcomers[i];

        n->all = r;
        n->item = &op->pushes[i];
        n->key = keys_new(&r->engine->keys, &n->item->spec);
        if (n->key == NULL) {
            return false;
        }
    }
    return r->newcomers != NULL;
}

/* Into a table of their own, to see whether one stands there twice. */
static enum kv_status check_twice(struct registration *r)
{
    enum kv_status status = KV_OK;
    struct keys seen;
    char name[KEYS_TEXT_MAX];
    size_t count = 0;

    keys_init(&seen);
    while (status == KV_OK && count < r->op->item_count) {
        status = keys_add(&seen, r->newcomers[count++].key);
    }
    if (status == KV_EEXIST) {
        op_fail(r->op, KV_EINVAL,
                "%s stands twice in one call of rank %" PRIu32,
                keys_text(&r->newcomers[--count].item->spec, name),
                r->engine->job.rank);
    }
    while (count-- > 0) {
        (void)keys_remove(&seen, &r->newcomers[count].item->spec);
    }
    keys_fini(&seen);
    return status;
}

static bool make_registration(struct engine *e, struct kvw_op *op,
                              struct registration **out)
{
    struct registration *r = mem_zalloc(1, sizeof *r);

    *out = r;
    if (r == NULL) {
        return false;
    }
    r->engine = e;
    r->op = op;
    return make_newcomers(r) && check_twice(r) == KV_OK;
}

void engine_init(struct engine *e, struct kvw_op *op)
{
    struct registration *r;

    if (e->left && engine_stops(e, op)) {
        return;
    }
    engine_reap(e);
    if (!make_registration(e, op, &r)) {
        op_fail(op, KV_ENOMEM, "out of memory for %zu keys", op->item_count);
        engine_done(e, op);
        free_registration(r);
        return;
    }
    ask_more(r);
}
