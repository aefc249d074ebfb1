#include "worker/lane.h"

#include <pthread.h>
#include <signal.h>

#include "common/compute/denormals.h"

#define PASSES_MAX 64 /* Of callbacks and work, between looks at the mail. */

static _Thread_local const struct lane *here;

bool lane_here(const struct lane *lane)
{
    return here == lane;
}

/* --- Ops ------------------------------------------------------------------ */

void lane_done(struct lane *lane, struct kvw_op *op)
{
    list_unlink(&op->on_lane);
    list_push(&lane->finished, &op->on_lane);
}

static void cancel(struct lane *lane, struct kvw_op *op)
{
    op_fail(op, KV_ECANCELED, "the store is being closed");
    lane_done(lane, op);
}

void lane_cancel(struct lane *lane, struct list *ops)
{
    LIST_EACH(ops, link, after)
    {
        cancel(lane, LIST_ENTRY(link, struct kvw_op, on_lane));
    }
}

static void begin(struct lane *lane, struct kvw_op *op)
{
    op->turn = ++lane->turns;
    list_push(&lane->running, &op->on_lane);
    if (lane->stopping) {
        cancel(lane, op);
        return;
    }
    lane->duties->begin(lane, op);
}

void lane_submit(struct lane *lane, struct kvw_op *op)
{
    if (lane_here(lane)) {
        begin(lane, op);
    } else {
        KV_CHECK(mailbox_send(&lane->mailbox, &op->mail));
    }
}

/* --- A turn of the loop --------------------------------------------------- */

/* What callbacks start, and what is finished at once, is for the next time. */
static void settle(struct lane *lane)
{
    struct list_link *link;
    struct list now;

    list_init(&now);
    list_append(&now, &lane->finished);
    while ((link = list_pop(&now)) != NULL) {
        op_finish(lane->pool, LIST_ENTRY(link, struct kvw_op, on_lane));
    }
}

static void on_awake(uv_idle_t *idle)
{
    (void)idle; /* That it is there keeps the loop from sleeping. */
}

/* Callbacks start operations, and work finishes them: go on until there is
 * nothing left that sleeping would delay, or others have waited long enough for
 * their mail to be read. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct lane *lane = prepare->data;
    unsigned passes = 0;
    bool more;

    do {
        settle(lane);
        more = lane->duties->work(lane);
    } while (!list_empty(&lane->finished) && !more && ++passes < PASSES_MAX);
    if (more || !list_empty(&lane->finished)) {
        uv_idle_start(&lane->awake, on_awake);
    } else {
        uv_idle_stop(&lane->awake);
    }
}

/* --- Shutdown ------------------------------------------------------------- */

static void on_mailbox_closed(struct mailbox *mb)
{
    (void)mb;
}

static void close_handles(struct lane *lane)
{
    uv_close((uv_handle_t *)&lane->prepare, NULL);
    uv_close((uv_handle_t *)&lane->awake, NULL);
    mailbox_close(&lane->mailbox, on_mailbox_closed);
}

void lane_end(struct lane *lane)
{
    lane_cancel(lane, &lane->running);
    while (!list_empty(&lane->finished)) {
        settle(lane);
    }
    close_handles(lane);
}

static void fini(struct lane *lane)
{
    mailbox_fini(&lane->mailbox);
    KV_CHECK(uv_loop_close(&lane->loop) == 0);
}

void lane_drop(struct lane *lane)
{
    close_handles(lane);
    uv_run(&lane->loop, UV_RUN_DEFAULT);
    fini(lane);
}

void lane_close(struct lane *lane)
{
    KV_CHECK(!lane_here(lane));
    KV_CHECK(mailbox_send(&lane->mailbox, &lane->stop_mail));
    KV_CHECK(uv_thread_join(&lane->thread) == 0);
    fini(lane);
    lane->duties->free(lane);
}

/* --- Start ---------------------------------------------------------------- */

static void on_mail(struct mailbox *mb, struct mail *mail)
{
    struct lane *lane = mb->data;

    if (mail != &lane->stop_mail) {
        begin(lane, LIST_ENTRY(mail, struct kvw_op, mail));
        return;
    }
    lane->stopping = true;
    lane->duties->stop(lane);
}

static void run(void *arg)
{
    struct lane *lane = arg;

    kv_flush_denormals();
    here = lane;
    uv_run(&lane->loop, UV_RUN_DEFAULT);
    here = NULL;
}

enum kv_status lane_init(struct lane *lane, const struct lane_duties *duties,
                         const struct options *options,
                         const struct lane_job *job, struct op_pool *pool)
{
    enum kv_status status = kv_status_from_uv(uv_loop_init(&lane->loop));

    if (status != KV_OK) {
        return status;
    }
    status = mailbox_open(&lane->mailbox, &lane->loop, on_mail);
    if (status != KV_OK) {
        KV_CHECK(uv_loop_close(&lane->loop) == 0);
        return status;
    }
    lane->duties = duties;
    lane->options = options;
    lane->job = job;
    lane->pool = pool;
    lane->stopping = false;
    lane->turns = 0;
    list_init(&lane->running);
    list_init(&lane->finished);
    lane->mailbox.data = lane;
    KV_CHECK(uv_prepare_init(&lane->loop, &lane->prepare) == 0);
    lane->prepare.data = lane;
    KV_CHECK(uv_prepare_start(&lane->prepare, on_prepare) == 0);
    KV_CHECK(uv_idle_init(&lane->loop, &lane->awake) == 0);
    return KV_OK;
}

/* Signals are the process's own business; and a write to a closed socket must
 * not end it. */
enum kv_status lane_start(struct lane *lane)
{
    sigset_t all, before;
    int uv_error;

    sigfillset(&all);
    KV_CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    uv_error = uv_thread_create(&lane->thread, run, lane);
    KV_CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return kv_status_from_uv(uv_error);
}
