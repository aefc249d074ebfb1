#include "worker/engine.h"

#include "common/base/mem.h"
#include "proto/handshake.h"
#include "worker/engine_core.h"

#define WATCH_MS 1000

static struct engine *engine_of(struct lane *lane)
{
    return LIST_ENTRY(lane, struct engine, lane);
}

/* --- Ops ------------------------------------------------------------------ */

static void refuse_updater(struct engine *e, struct kvw_op *op)
{
    op_fail(op, KV_ENOTSUP,
            "an updater is for local stores: this one's values are on "
            "servers, which take kvw_set_optimizer()");
    engine_done(e, op);
}

static void begin(struct lane *lane, struct kvw_op *op)
{
    static void (*const duties[])(struct engine * e, struct kvw_op * op) = {
        [OP_OPEN] = engine_join,         [OP_INIT] = engine_init,
        [OP_TRANSFER] = engine_transfer, [OP_MOVES] = engine_moves,
        [OP_BARRIER] = engine_barrier,   [OP_OPTIMIZER] = engine_command,
        [OP_HYPER] = engine_command,     [OP_UPDATER] = refuse_updater,
        [OP_MEMBER] = engine_member,     [OP_LIST] = engine_list,
        [OP_VERSION] = engine_version,   [OP_DELETE] = engine_delete,
        [OP_RESET] = engine_reset,       [OP_CODEC] = engine_codec,
        [OP_STATS] = engine_stats,       [OP_DESCRIBE] = engine_describe,
        [OP_DEAD] = engine_dead,         [OP_LEAVE] = engine_leave,
    };

    duties[op->kind](engine_of(lane), op);
}

/* --- A turn of the loop --------------------------------------------------- */

static void on_watch(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    bool needed = route_watch(&e->control), all_up = true;

    for (uint32_t i = 0; i < e->route_count; i++) {
        needed |= route_watch(&e->routes[i]);
        all_up = all_up && route_is_up(&e->routes[i]);
    }
    if (needed && !all_up) {
        engine_find_servers(e);
    }
    if (!needed) {
        uv_timer_stop(timer); /* An idle store uses no CPU. */
    }
}

void engine_ready(struct engine *e, struct route *r)
{
    if (!list_linked(&r->among_ready)) {
        list_push(&e->ready, &r->among_ready);
    }
    if (!uv_is_active((uv_handle_t *)&e->watch) && !e->lane.stopping) {
        KV_CHECK(uv_timer_start(&e->watch, on_watch, WATCH_MS, WATCH_MS) == 0);
    }
}

void engine_pump(struct engine *e)
{
    struct list_link *link;

    while ((link = list_pop(&e->ready)) != NULL) {
        route_pump(LIST_ENTRY(link, struct route, among_ready));
    }
}

/* What the kernel takes makes room for more: go on until there is nothing left
 * to send. */
static bool work(struct lane *lane)
{
    struct engine *e = engine_of(lane);

    if (!list_empty(&e->fenced) && !lane->stopping) {
        engine_check_fences(e);
    }
    engine_pump(e);
    return false;
}

/* --- Shutdown ------------------------------------------------------------- */

static void stop(struct lane *lane)
{
    engine_routes_close(engine_of(lane));
}

/* No route is left, and so no part or request either. */
void engine_routes_closed(struct engine *e)
{
    lane_cancel(&e->lane, &e->fenced);
    lane_cancel(&e->lane, &e->held);
    lane_cancel(&e->lane, &e->barriers);
    uv_close((uv_handle_t *)&e->watch, NULL);
    link_hub_close(&e->hub, NULL);
    lane_end(&e->lane);
}

static void free_engine(struct lane *lane)
{
    struct engine *e = engine_of(lane);

    engine_routes_free(e);
    keys_fini(&e->keys);
    while (e->lost != NULL) {
        struct key *key = e->lost;

        e->lost = key->next_lost;
        keys_free(key);
    }
    mem_free(e);
}

static const struct lane_duties duties = {begin, work, stop, free_engine,
                                          .scattered = true};

/* --- Start ---------------------------------------------------------------- */

static void init_fields(struct engine *e, const struct kind *kind)
{
    e->policy = kind->policy;
    e->stall_lines = (struct log_limit){"waiting rounds", 3, 5000, 0, 0, 0};
    e->skip_lines =
        (struct log_limit){"rounds that changed nothing", 3, 5000, 0, 0, 0};
    handshake_random(&e->token, sizeof e->token);
    keys_init(&e->keys);
    list_init(&e->ready);
    list_init(&e->fenced);
    list_init(&e->held);
    list_init(&e->barriers);
}

enum kv_status engine_open(struct lane **out, const struct kind *kind,
                           const struct options *options, struct op_pool *pool)
{
    struct engine *e = mem_zalloc(1, sizeof *e);
    enum kv_status status;

    if (e == NULL) {
        return KV_ENOMEM;
    }
    init_fields(e, kind);
    status = lane_init(&e->lane, &duties, options, &e->job, pool);
    if (status != KV_OK) {
        goto err_engine;
    }
    status = link_hub_open(&e->hub, &e->lane.loop);
    if (status != KV_OK) {
        goto err_lane;
    }
    KV_CHECK(uv_timer_init(&e->lane.loop, &e->watch) == 0);
    e->watch.data = e;
    status = lane_start(&e->lane);
    if (status != KV_OK) {
        goto err_handles;
    }
    *out = &e->lane;
    return KV_OK;

err_handles:
    uv_close((uv_handle_t *)&e->watch, NULL);
    link_hub_close(&e->hub, NULL);
err_lane:
    lane_drop(&e->lane);
err_engine:
    free_engine(&e->lane);
    return status;
}
