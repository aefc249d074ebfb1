#include <inttypes.h>
#include <string.h>

#include "common/base/mem.h"
#include "worker/engine_core.h"

/* A change for all keys goes to every shard, one for a key to each of its
 * slices; all are on their way at once. */
struct hyper_request {
    struct request request;
    struct hypers *all;
    const struct route *route;
    const struct kvw_hyper *change; /* Its key may go meanwhile. */
};

/* One kvw_set_hypers(). */
struct hypers {
    struct engine *engine;
    struct kvw_op *op;
    size_t left, made;
    struct hyper_request requests[];
};

static struct key_spec spec_of(const struct kvw_hyper *c)
{
    return (struct key_spec){.name = c->key->name, .number = c->key->number};
}

/* --- Answers -------------------------------------------------------------- */

static void answered(struct hypers *all)
{
    if (--all->left == 0) {
        engine_done(all->engine, all->op);
        mem_free(all);
    }
}

static void on_changed(struct request *q, enum kv_status status,
                       const char *text, const struct message *reply,
                       const void *payload, size_t payload_size)
{
    struct hyper_request *h = q->owner;
    char server[ROUTE_NAME_MAX], name[KEYS_TEXT_MAX] = "all keys";

    (void)reply;
    (void)payload;
    (void)payload_size;
    if (status != KV_OK) {
        if (h->change->key != NULL) {
            struct key_spec spec = spec_of(h->change);

            keys_text(&spec, name);
        }
        op_fail(h->all->op, status, "%s on rank %" PRIu32 ": %s says: %s", name,
                h->all->engine->job.rank, route_name(h->route, server), text);
    }
    answered(h->all);
}

/* --- Checks --------------------------------------------------------------- */

static struct key *key_of(const struct engine *e, const struct kvw_hyper *c)
{
    struct key_spec spec = spec_of(c);

    return keys_find(&e->keys, &spec);
}

/* What this rank has pushed, and all its pushes are committed, is past for
 * everyone: found out here, before anything is sent. */
static bool is_ahead(const struct engine *e, struct kvw_op *op,
                     const struct key *key, const struct kvw_hyper *c)
{
    char name[KEYS_TEXT_MAX];

    for (uint32_t i = 0; i < key->slice_count; i++) {
        uint64_t pushed = message_rounds(key->slices[i].pushed);

        pushed = pushed > key->reached ? pushed : key->reached;
        if (c->round != 0 && pushed >= c->round) {
            op_fail(op, KV_EINVAL,
                    "%s of %s cannot change from round %" PRIu64
                    " on: rank %" PRIu32 " has pushed round %" PRIu64
                    "; state a later one, or 0 for the next",
                    c->name, keys_text(&key->spec, name), c->round, e->job.rank,
                    pushed);
            return false;
        }
    }
    return true;
}

static bool all_are_ahead(const struct engine *e, struct kvw_op *op,
                          const struct kvw_hyper *c)
{
    struct keys_walk at = {0, 0};
    const struct key *key;

    while (c->round != 0 && (key = keys_each(&e->keys, &at)) != NULL) {
        if (!is_ahead(e, op, key, c)) {
            return false;
        }
    }
    return true;
}

/* How many requests it takes; 0: none, the op has failed. */
static size_t check(const struct engine *e, struct kvw_op *op,
                    const struct kvw_hyper *c)
{
    const struct key *key;

    if (c->key == NULL) {
        return all_are_ahead(e, op, c) ? e->route_count : 0;
    }
    key = key_of(e, c);
    if (key == NULL) {
        struct key_spec spec = spec_of(c);

        engine_unknown_key(e, op, &spec);
        return 0;
    }
    return is_ahead(e, op, key, c) ? key->slice_count : 0;
}

static size_t check_all(const struct engine *e, struct kvw_op *op)
{
    size_t count = 0;

    for (size_t i = 0; i < op->change_count; i++) {
        size_t more = check(e, op, &op->changes[i]);

        if (more == 0) {
            return 0;
        }
        count += more;
    }
    return count;
}

/* --- Start ---------------------------------------------------------------- */

static struct message *add(struct hypers *all, uint32_t route,
                           const struct kvw_hyper *c)
{
    struct hyper_request *h = &all->requests[all->made++];
    struct message *m = &h->request.message;

    h->all = all;
    h->route = &all->engine->routes[route];
    h->change = c;
    h->request.done = on_changed;
    h->request.owner = h;
    m->kind = MESSAGE_HYPER;
    m->hyper.param = c->name;
    m->hyper.value = c->value;
    m->hyper.round = c->round;
    return m;
}

static void fill(struct hypers *all, const struct kvw_hyper *c)
{
    const struct engine *e = all->engine;
    const struct key *key = c->key == NULL ? NULL : key_of(e, c);

    if (key == NULL) {
        for (uint32_t i = 0; i < e->route_count; i++) {
            add(all, i, c);
        }
        return;
    }
    for (uint32_t i = 0; i < key->slice_count; i++) {
        struct message *m = add(all, key->slices[i].home, c);

        m->hyper.one = true;
        m->hyper.key_id = key->id;
        m->hyper.slice = i;
    }
}

static void start(struct hypers *all)
{
    size_t count = all->made;

    /* So that it cannot end in the middle of this. */
    all->left = count + 1;
    for (size_t i = 0; i < count; i++) {
        struct hyper_request *h = &all->requests[i];

        route_request(&all->engine->routes[h->route - all->engine->routes],
                      &h->request);
    }
    answered(all);
}

void engine_hyper(struct engine *e, struct kvw_op *op)
{
    size_t count = check_all(e, op);
    struct hypers *all;

    if (count == 0) {
        engine_done(e, op);
        return;
    }
    all = mem_zalloc(1, sizeof *all + count * sizeof all->requests[0]);
    if (all == NULL) {
        op_fail(op, KV_ENOMEM, "out of memory for %zu requests", count);
        engine_done(e, op);
        return;
    }
    all->engine = e;
    all->op = op;
    for (size_t i = 0; i < op->change_count; i++) {
        fill(all, &op->changes[i]);
    }
    start(all);
}
