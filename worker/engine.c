#include "worker/engine.h"

#include <pthread.h>
#include <signal.h>

#include "common/base/mem.h"
#include "proto/handshake.h"
#include "worker/engine_core.h"

#define WATCH_MS 1000

static _Thread_local const struct engine *lane;

bool engine_here(const struct engine *e)
{
    return lane == e;
}

const struct engine_job *engine_job(const struct engine *e)
{
    return &e->job;
}

/* --- Ops ------------------------------------------------------------------ */

void engine_done(struct engine *e, struct kvw_op *op)
{
    list_unlink(&op->on_lane);
    list_push(&e->finished, &op->on_lane);
}

static void dispatch(struct engine *e, struct kvw_op *op)
{
    list_push(&e->running, &op->on_lane);
    if (e->stopping) {
        op_fail(op, KV_ECANCELED, "the store is being closed");
        engine_done(e, op);
        return;
    }
    switch (op->kind) {
    case OP_OPEN:
        engine_join(e, op);
        break;
    case OP_INIT:
        engine_init(e, op);
        break;
    case OP_TRANSFER:
        engine_transfer(e, op);
        break;
    case OP_BARRIER:
        engine_barrier(e, op);
        break;
    case OP_OPTIMIZER:
    case OP_HYPER:
        engine_command(e, op);
        break;
    case OP_CODEC:
        engine_codec(e, op);
        break;
    case OP_STATS:
        engine_stats(e, op);
        break;
    case OP_DESCRIBE:
        engine_describe(e, op);
        break;
    case OP_LEAVE:
        engine_leave(e, op);
        break;
    }
}

void engine_submit(struct engine *e, struct kvw_op *op)
{
    if (engine_here(e)) {
        dispatch(e, op);
    } else {
        KV_CHECK(mailbox_send(&e->mailbox, &op->mail));
    }
}

/* --- A turn of the loop --------------------------------------------------- */

static void on_watch(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    bool needed = route_watch(&e->control);

    for (uint32_t i = 0; i < e->route_count; i++) {
        needed |= route_watch(&e->routes[i]);
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
    if (!uv_is_active((uv_handle_t *)&e->watch) && !e->stopping) {
        KV_CHECK(uv_timer_start(&e->watch, on_watch, WATCH_MS, WATCH_MS) == 0);
    }
}

static void settle(struct engine *e)
{
    struct list_link *link;

    while ((link = list_pop(&e->finished)) != NULL) {
        struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);
        bool pushed = op->pushes != NULL;

        op_finish(e->pool, op);
        if (pushed && !list_empty(&e->fenced)) {
            engine_check_fences(e);
        }
    }
}

void engine_pump(struct engine *e)
{
    struct list_link *link;

    while ((link = list_pop(&e->ready)) != NULL) {
        route_pump(LIST_ENTRY(link, struct route, among_ready));
    }
}

/* Callbacks start operations, and what the kernel takes makes room for more:
 * go on until there is nothing left that sleeping would delay. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct engine *e = prepare->data;

    do {
        settle(e);
        engine_pump(e);
    } while (!list_empty(&e->finished) || !list_empty(&e->ready));
}

/* --- Shutdown ------------------------------------------------------------- */

static void cancel_all(struct engine *e, struct list *ops)
{
    LIST_EACH(ops, link, after)
    {
        struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);

        op_fail(op, KV_ECANCELED, "the store is being closed");
        engine_done(e, op);
    }
}

static void on_mailbox_closed(struct mailbox *mb)
{
    (void)mb;
}

/* No route is left, and so no part or request either. */
void engine_routes_closed(struct engine *e)
{
    cancel_all(e, &e->fenced);
    cancel_all(e, &e->barriers);
    cancel_all(e, &e->running);
    settle(e);
    uv_close((uv_handle_t *)&e->watch, NULL);
    uv_close((uv_handle_t *)&e->prepare, NULL);
    link_hub_close(&e->hub, NULL);
    mailbox_close(&e->mailbox, on_mailbox_closed);
}

static void on_mail(struct mailbox *mb, struct mail *mail)
{
    struct engine *e = mb->data;

    if (mail != &e->stop_mail) {
        dispatch(e, LIST_ENTRY(mail, struct kvw_op, mail));
        return;
    }
    e->stopping = true;
    engine_routes_close(e);
}

static void run(void *arg)
{
    struct engine *e = arg;

    lane = e;
    uv_run(&e->loop, UV_RUN_DEFAULT);
    lane = NULL;
}

static void free_engine(struct engine *e)
{
    mailbox_fini(&e->mailbox);
    KV_CHECK(uv_loop_close(&e->loop) == 0);
    engine_routes_free(e);
    keys_fini(&e->keys);
    while (e->lost != NULL) {
        struct key *key = e->lost;

        e->lost = key->next_lost;
        keys_free(key);
    }
    mem_free(e);
}

void engine_close(struct engine *e)
{
    KV_CHECK(!engine_here(e));
    KV_CHECK(mailbox_send(&e->mailbox, &e->stop_mail));
    KV_CHECK(uv_thread_join(&e->thread) == 0);
    free_engine(e);
}

/* --- Start ---------------------------------------------------------------- */

/* Signals are the process's own business; and a write to a closed socket must
 * not end it. */
static int start_thread(struct engine *e)
{
    sigset_t all, before;
    int uv_error;

    sigfillset(&all);
    KV_CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    uv_error = uv_thread_create(&e->thread, run, e);
    KV_CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return uv_error;
}

static void init_fields(struct engine *e, const struct options *options,
                        const struct type *type, struct op_pool *pool)
{
    e->options = options;
    e->type = type;
    e->pool = pool;
    e->mailbox.data = e;
    e->stall_lines = (struct log_limit){"waiting rounds", 3, 5000, 0, 0, 0};
    handshake_random(&e->token, sizeof e->token);
    keys_init(&e->keys);
    list_init(&e->ready);
    list_init(&e->running);
    list_init(&e->fenced);
    list_init(&e->barriers);
    list_init(&e->finished);
}

static void init_handles(struct engine *e)
{
    KV_CHECK(uv_prepare_init(&e->loop, &e->prepare) == 0);
    e->prepare.data = e;
    KV_CHECK(uv_prepare_start(&e->prepare, on_prepare) == 0);
    KV_CHECK(uv_timer_init(&e->loop, &e->watch) == 0);
    e->watch.data = e;
}

enum kv_status engine_open(struct engine **out, const struct options *options,
                           const struct type *type, struct op_pool *pool)
{
    struct engine *e = mem_zalloc(1, sizeof *e);
    enum kv_status status;

    if (e == NULL) {
        return KV_ENOMEM;
    }
    init_fields(e, options, type, pool);
    status = kv_status_from_uv(uv_loop_init(&e->loop));
    if (status != KV_OK) {
        goto err_engine;
    }
    status = mailbox_open(&e->mailbox, &e->loop, on_mail);
    if (status != KV_OK) {
        goto err_loop;
    }
    status = link_hub_open(&e->hub, &e->loop);
    if (status != KV_OK) {
        goto err_mailbox;
    }
    init_handles(e);
    status = kv_status_from_uv(start_thread(e));
    if (status != KV_OK) {
        goto err_handles;
    }
    *out = e;
    return KV_OK;

err_handles:
    uv_close((uv_handle_t *)&e->watch, NULL);
    uv_close((uv_handle_t *)&e->prepare, NULL);
    link_hub_close(&e->hub, NULL);
err_mailbox:
    mailbox_close(&e->mailbox, on_mailbox_closed);
    uv_run(&e->loop, UV_RUN_DEFAULT);
    free_engine(e);
    return status;
err_loop:
    KV_CHECK(uv_loop_close(&e->loop) == 0);
err_engine:
    keys_fini(&e->keys);
    mem_free(e);
    return status;
}
