#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "worker/engine_core.h"

static struct engine *engine_of(const struct route *r)
{
    return r->data;
}

/* --- Closing -------------------------------------------------------------- */

static void on_closed(struct route *r)
{
    struct engine *e = engine_of(r);

    if (list_linked(&r->among_ready)) {
        list_unlink(&r->among_ready);
    }
    if (++e->closed_count == e->route_count + 1) {
        engine_routes_closed(e);
    }
}

void engine_routes_close(struct engine *e)
{
    if (!e->control_open) {
        engine_routes_closed(e);
        return;
    }
    route_close(&e->control);
    for (uint32_t i = 0; i < e->route_count; i++) {
        route_close(&e->routes[i]);
    }
}

void engine_routes_free(struct engine *e)
{
    mem_free(e->routes);
    mem_free(e->peers);
}

/* --- Events --------------------------------------------------------------- */

static void opened(struct engine *e)
{
    struct kvw_op *op = e->opening;

    e->opening = NULL;
    engine_done(e, op);
}

static void on_up(struct route *r)
{
    struct engine *e = engine_of(r);

    if (e->opening == NULL || e->route_count == 0) {
        return;
    }
    for (uint32_t i = 0; i < e->route_count; i++) {
        if (!route_is_up(&e->routes[i])) {
            return;
        }
    }
    opened(e);
}

static void on_failed(struct route *r)
{
    struct engine *e = engine_of(r);
    char text[ROUTE_TEXT_MAX];

    if (e->opening != NULL) {
        op_fail(e->opening, r->status, "%s", route_trouble(r, text));
        opened(e);
    }
}

static void on_ready(struct route *r)
{
    engine_ready(engine_of(r), r);
}

static void on_joined(struct route *r, const struct message *m);

static const struct route_events events = {
    .joined = on_joined,
    .up = on_up,
    .part_done = engine_part_done,
    .slice_refused = engine_slice_refused,
    .skipped = engine_skipped,
    .stalled = engine_stalled,
    .norms = engine_norms,
    .ready = on_ready,
    .failed = on_failed,
    .closed = on_closed,
};

/* --- Routes --------------------------------------------------------------- */

static struct route_config config_of(struct engine *e, struct peer *peer,
                                     uint16_t target, uint32_t rank)
{
    struct route_config c = {.events = &events,
                             .hub = &e->hub,
                             .peer = peer,
                             .key = e->lane.options->key};

    c.hello.version_min = KV_VERSION_MIN;
    c.hello.version_max = KV_VERSION_MAX;
    c.hello.role = HANDSHAKE_WORKER;
    c.hello.target = target;
    c.hello.server = peer->index;
    c.hello.rank = rank;
    c.hello.policy = e->policy;
    c.hello.incarnation = e->lane.options->incarnation;
    c.hello.token = e->token;
    memcpy(c.hello.job, e->lane.options->job, sizeof c.hello.job);
    return c;
}

/* Of server 0 we know where it answers: there. */
static struct peer *peer_of(struct engine *e, uint32_t server)
{
    return server == 0 ? &e->root : &e->peers[server];
}

static void note_addresses(struct engine *e, const struct message *m)
{
    for (uint32_t i = 1; i < m->joined.server_count; i++) {
        e->peers[i].index = i;
        snprintf(e->peers[i].address, sizeof e->peers[i].address, "%s",
                 m->joined.address[i]);
    }
}

static enum kv_status open_routes(struct engine *e, const struct message *m)
{
    uint32_t total = 0;

    for (uint32_t i = 0; i < m->joined.server_count; i++) {
        total += m->joined.shards[i];
    }
    e->peers = mem_zalloc(m->joined.server_count, sizeof *e->peers);
    e->routes = mem_zalloc(total, sizeof *e->routes);
    if (e->peers == NULL || e->routes == NULL) {
        return KV_ENOMEM;
    }
    note_addresses(e, m);
    for (uint32_t i = 0; i < m->joined.server_count; i++) {
        for (uint32_t shard = 0; shard < m->joined.shards[i]; shard++) {
            struct route_config c =
                config_of(e, peer_of(e, i), (uint16_t)shard, e->job.rank);
            enum kv_status status =
                route_open(&e->routes[e->route_count], &c, e);

            if (status != KV_OK) {
                return status;
            }
            e->route_count++;
        }
    }
    return KV_OK;
}

static bool check_workers(struct engine *e, const struct message *m)
{
    uint64_t expected = e->lane.options->workers;

    if (expected == OPTIONS_NONE || expected == m->joined.workers) {
        return true;
    }
    op_fail(e->opening, KV_EMISMATCH,
            "rank %" PRIu32 " was told of %" PRIu64
            " workers, but the job has %" PRIu32,
            m->joined.rank, expected, m->joined.workers);
    return false;
}

/* Servers may have moved. */
static void rejoined(struct engine *e, const struct message *m)
{
    if (e->peers != NULL && m->joined.server_count == e->job.servers) {
        note_addresses(e, m);
    }
}

static void on_joined(struct route *r, const struct message *m)
{
    struct engine *e = engine_of(r);

    if (e->opening == NULL || e->route_count > 0) {
        rejoined(e, m);
        return;
    }
    e->job.rank = m->joined.rank;
    e->job.workers = m->joined.workers;
    e->job.servers = m->joined.server_count;
    e->barrier = m->joined.barrier;
    route_set_rank(r, m->joined.rank);
    if (!check_workers(e, m)) {
        opened(e);
        return;
    }
    if (open_routes(e, m) != KV_OK) {
        op_fail(e->opening, KV_ENOMEM, "out of memory for the links");
        opened(e);
    }
}

static void on_where(struct request *r, enum kv_status status, const char *text,
                     const struct message *reply, const void *payload,
                     size_t payload_size)
{
    struct engine *e = r->owner;

    (void)text;
    (void)payload;
    (void)payload_size;
    e->asking = false;
    if (status == KV_OK && reply->kind == MESSAGE_JOINED) {
        rejoined(e, reply);
    }
}

void engine_find_servers(struct engine *e)
{
    if (e->asking || e->leaving != NULL || !route_is_up(&e->control)) {
        return; /* It asks by itself when it comes up; and a Join behind our
                   Leave would take that back. */
    }
    e->asking = true;
    e->where_request = (struct request){.done = on_where, .owner = e};
    e->where_request.message.kind = MESSAGE_JOIN;
    e->where_request.message.join.policy = e->policy;
    route_request(&e->control, &e->where_request);
}

void engine_join(struct engine *e, struct kvw_op *op)
{
    uint64_t rank = e->lane.options->rank;
    struct route_config c =
        config_of(e, &e->root, HANDSHAKE_CONTROL,
                  rank == OPTIONS_NONE ? HANDSHAKE_RANK_NONE : (uint32_t)rank);

    snprintf(e->root.address, sizeof e->root.address, "%s",
             e->lane.options->root);
    e->opening = op;
    if (route_open(&e->control, &c, e) != KV_OK) {
        op_fail(op, KV_ENOMEM, "out of memory for the link to the root");
        opened(e);
        return;
    }
    e->control_open = true;
    engine_ready(e, &e->control);
}
