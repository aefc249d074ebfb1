#include "worker/route.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"

#define DIAL_MS KV_HANDSHAKE_MS
#define WELCOME_MS KV_HANDSHAKE_MS

#define JOIN_ID UINT64_MAX /* The courier counts from 1. */

#define LOST                                                                   \
    (FSM_TO(ROUTE_PAUSING) | FSM_TO(ROUTE_FAILED) | FSM_TO(ROUTE_CLOSING))

static const struct fsm_state route_states[] = {
    [ROUTE_IDLE] = {"idle", FSM_TO(ROUTE_PAUSING)},
    [ROUTE_PAUSING] = {"pausing",
                       FSM_TO(ROUTE_DIALING) | FSM_TO(ROUTE_CLOSING)},
    [ROUTE_DIALING] = {"dialing", FSM_TO(ROUTE_GREETING) | LOST},
    [ROUTE_GREETING] = {"greeting",
                        FSM_TO(ROUTE_JOINING) | FSM_TO(ROUTE_UP) | LOST},
    [ROUTE_JOINING] = {"joining", FSM_TO(ROUTE_UP) | LOST},
    [ROUTE_UP] = {"up", LOST},
    [ROUTE_FAILED] = {"failed", FSM_TO(ROUTE_CLOSING)},
    [ROUTE_CLOSING] = {"closing", FSM_TO(ROUTE_CLOSED)},
    [ROUTE_CLOSED] = {"closed", 0},
};

static uint64_t now_ms(const struct route *r)
{
    return uv_now(r->hub->loop);
}

static bool has_link(const struct route *r)
{
    return r->fsm.state == ROUTE_GREETING || r->fsm.state == ROUTE_JOINING ||
           r->fsm.state == ROUTE_UP;
}

/* --- The way out ---------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct route *r = handle->data;

    courier_free(r->courier);
    r->courier = NULL;
    fsm_move(&r->fsm, ROUTE_CLOSED);
    r->events->closed(r);
}

/* Neither dialing nor linked any more. */
static void wind_up(struct route *r)
{
    courier_fail(r->courier, KV_ECANCELED, "the store is being closed");
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

void route_close(struct route *r)
{
    int left = r->fsm.state;
    bool linked = has_link(r);

    if (left >= ROUTE_CLOSING) {
        return;
    }
    fsm_move(&r->fsm, ROUTE_CLOSING);
    if (left == ROUTE_DIALING) {
        dial_cancel(&r->dial);
    } else if (linked) {
        link_close(&r->link, KV_ECANCELED, "the store is being closed");
    } else {
        wind_up(r);
    }
}

/* --- Trouble -------------------------------------------------------------- */

/* Will trying again not change it? Once a server has let us in, who refuses us
 * at its door is another one that has its port; `told` by itself it counts. */
static bool is_final(const struct route *r, bool told)
{
    switch (r->status) {
    case KV_EDATALOSS:
    case KV_ENOTSUP:
        return true;
    case KV_ESTALE:
    case KV_EMISMATCH:
        return r->connections == 0 || told;
    case KV_EAUTH:
    case KV_EINVAL:
    case KV_EBUSY:
        return r->connections == 0; /* No such rank, or none is free. */
    default:
        return false;
    }
}

static void fail(struct route *r)
{
    char text[ROUTE_TEXT_MAX];

    fsm_move(&r->fsm, ROUTE_FAILED);
    route_trouble(r, text);
    if (r->connections > 0 && !r->peer->lost) { /* Else kvw_open() tells. */
        r->peer->lost = true;
        log_error("%s", text);
    }
    courier_fail(r->courier, r->status, text);
    r->events->failed(r);
}

static void on_pause_over(uv_timer_t *timer);

static void pause_then_dial(struct route *r)
{
    fsm_move(&r->fsm, ROUTE_PAUSING);
    KV_CHECK(uv_timer_start(&r->timer, on_pause_over, retry_next_ms(&r->retry),
                            0) == 0);
}

/* Not connected any more, or still not. */
static void lost(struct route *r, enum kv_status status, const char *text)
{
    char name[ROUTE_NAME_MAX];
    bool told = r->refused;

    if (!told) {
        r->status = status;
        snprintf(r->text, sizeof r->text, "%s", text);
    }
    r->refused = false;
    r->quiet_ms = 0;
    log_debug("%s shard %u: %s", route_name(r, name), (unsigned)r->hello.target,
              r->text);
    if (is_final(r, told)) {
        fail(r);
    } else {
        pause_then_dial(r);
    }
    r->events->ready(r); /* The owner has one more to look after. */
}

/* What the server says when it sends us away. */
static enum kv_status refuse(struct route *r, enum kv_status status,
                             const char *text)
{
    r->refused = true;
    r->status = status;
    snprintf(r->text, sizeof r->text, "%s", text);
    link_close(&r->link, status, text);
    return status;
}

/* --- Up ------------------------------------------------------------------- */

static enum kv_status go_up(struct route *r)
{
    fsm_move(&r->fsm, ROUTE_UP);
    route_tell_back(r);
    r->connections++;
    r->text[0] = '\0';
    courier_up(r->courier);
    r->events->up(r);
    r->events->ready(r);
    return KV_OK;
}

static enum kv_status say_join(struct route *r)
{
    struct message m = {.kind = MESSAGE_JOIN};

    m.join.policy = r->hello.policy;
    r->text[0] = '\0';
    fsm_move(&r->fsm, ROUTE_JOINING);
    return link_send(&r->link, &m, JOIN_ID, NULL, 0, NULL, NULL, NULL);
}

static enum kv_status on_welcome(struct route *r, const struct message *m)
{
    if (m->kind != MESSAGE_WELCOME) {
        return refuse(r, KV_EPROTO, "it did not begin with Welcome");
    }
    if (r->arena_id != 0 && r->arena_id != m->welcome.arena_id) {
        return refuse(r, KV_EDATALOSS, "it came back without its state");
    }
    r->arena_id = m->welcome.arena_id;
    KV_CHECK(uv_timer_stop(&r->timer) == 0);
    return r->hello.target == HANDSHAKE_CONTROL ? say_join(r) : go_up(r);
}

static enum kv_status on_joined(struct route *r, uint64_t id,
                                const struct message *m)
{
    if (id == JOIN_ID && m->kind == MESSAGE_WAITING) {
        snprintf(r->text, sizeof r->text, "%s", m->waiting.what);
        return KV_OK;
    }
    if (id != JOIN_ID || (m->kind != MESSAGE_JOINED && //
                          m->kind != MESSAGE_ERROR)) {
        return refuse(r, KV_EPROTO, "it did not answer Join");
    }
    if (m->kind == MESSAGE_ERROR) {
        return refuse(r, m->error.status, m->error.text);
    }
    r->events->joined(r, m);
    return go_up(r);
}

/* --- Frames --------------------------------------------------------------- */

static enum kv_status on_head(struct link *l, const struct frame_head *head,
                              const struct message *m, void **sink)
{
    struct route *r = l->data;

    if (r->fsm.state == ROUTE_UP) {
        return courier_head(r->courier, m, head->payload_size, sink);
    }
    return KV_OK;
}

static enum kv_status on_frame(struct link *l, const struct frame_head *head,
                               const struct message *m, const void *payload)
{
    struct route *r = l->data;
    enum kv_status status;

    if (m->kind == MESSAGE_ERROR && head->request_id == 0 &&
        !m->error.about_slot) {
        return refuse(r, m->error.status, m->error.text);
    }
    if (r->fsm.state == ROUTE_GREETING) {
        return on_welcome(r, m);
    }
    if (r->fsm.state == ROUTE_JOINING) {
        return on_joined(r, head->request_id, m);
    }
    retry_worked(&r->retry);
    status = courier_frame(r->courier, head->request_id, m, payload,
                           head->payload_size);
    if (status != KV_OK) {
        return refuse(r, status, "it broke the protocol");
    }
    r->events->ready(r);
    return KV_OK;
}

static void on_drained(struct link *l)
{
    struct route *r = l->data;

    r->events->ready(r);
}

static void on_link_closed(struct link *l, enum kv_status status,
                           const char *text)
{
    struct route *r = l->data;

    r->bytes_in += l->bytes_in;
    r->bytes_out += l->bytes_out;
    courier_down(r->courier);
    if (r->fsm.state == ROUTE_CLOSING) {
        wind_up(r);
        return;
    }
    KV_CHECK(uv_timer_stop(&r->timer) == 0);
    if (r->fsm.state == ROUTE_UP) {
        r->down_ms = now_ms(r);
    }
    lost(r, status == KV_OK ? KV_ECONN : status, text);
}

static const struct link_events link_events = {
    .head = on_head,
    .frame = on_frame,
    .drained = on_drained,
    .closed = on_link_closed,
};

/* --- Dialing -------------------------------------------------------------- */

static void on_no_welcome(uv_timer_t *timer)
{
    struct route *r = timer->data;

    link_close(&r->link, KV_ETIMEOUT, "no Welcome");
}

static void on_dialed(struct dial *d, enum kv_status status, int fd)
{
    struct route *r = d->data;
    bool checksum;

    if (r->fsm.state == ROUTE_CLOSING) {
        if (fd >= 0) {
            close(fd);
        }
        wind_up(r);
        return;
    }
    if (status != KV_OK) {
        lost(r, status, d->error);
        return;
    }
    checksum = !link_on_loopback(fd);
    status = link_open(&r->link, r->hub, fd, &link_events);
    if (status != KV_OK) {
        lost(r, status, kv_strstatus(status));
        return;
    }
    r->link.data = r;
    r->link.low_water = ROUTE_WINDOW / 2;
    r->link.checksum = checksum;
    fsm_move(&r->fsm, ROUTE_GREETING);
    KV_CHECK(uv_timer_start(&r->timer, on_no_welcome, WELCOME_MS, 0) == 0);
}

static void on_pause_over(uv_timer_t *timer)
{
    struct route *r = timer->data;
    struct dial_config config = {.address = r->peer->address,
                                 .key = r->key,
                                 .hello = r->hello,
                                 .timeout_ms = DIAL_MS};
    enum kv_status status;

    fsm_move(&r->fsm, ROUTE_DIALING);
    r->dial.data = r;
    status = dial_start(&r->dial, timer->loop, &config, on_dialed);
    if (status != KV_OK) {
        lost(r, KV_ECONN, r->dial.error);
    }
}

/* --- For the courier ------------------------------------------------------ */

static void on_sent(struct out_frame *f)
{
    struct route *r = f->owner[0];

    bufpool_put(&r->hub->buffers, f->owner[1]);
}

static bool send_frame(void *ctx, const struct message *m, uint64_t request_id,
                       const void *payload, size_t size, struct buffer *buffer)
{
    struct route *r = ctx;
    enum kv_status status =
        link_send(&r->link, m, request_id, payload, size,
                  buffer == NULL ? NULL : on_sent, r, buffer);

    if (status != KV_OK) {
        bufpool_put(&r->hub->buffers, buffer);
        link_close(&r->link, status, "cannot send");
        return false;
    }
    return true;
}

static void part_done(void *ctx, struct part *p, enum kv_status status,
                      const char *text, uint64_t round)
{
    struct route *r = ctx;

    r->events->part_done(r, p, status, text, round);
}

static void stalled(void *ctx, const struct slice *slice,
                    const struct message *m)
{
    struct route *r = ctx;

    r->events->stalled(r, slice, m);
}

static void skipped(void *ctx, struct part *p, const struct slice *slice,
                    const struct message *m)
{
    struct route *r = ctx;

    r->events->skipped(r, p, slice, m);
}

static void slice_refused(void *ctx, struct part *p, const struct slice *slice,
                          enum kv_status status, const char *text)
{
    struct route *r = ctx;

    r->events->slice_refused(r, p, slice, status, text);
}

static void norms(void *ctx, const struct slice *slice, const struct message *m)
{
    ((struct route *)ctx)->events->norms(ctx, slice, m);
}

/* --- Use ------------------------------------------------------------------ */

enum kv_status route_open(struct route *r, const struct route_config *config,
                          void *data)
{
    struct courier_io io = {
        send_frame, part_done, slice_refused, skipped, stalled, norms, r};
    enum kv_status status;
    uint64_t seed;

    memset(r, 0, sizeof *r);
    status = courier_init(&r->courier, &io, &config->hub->buffers);
    if (status != KV_OK) {
        return status;
    }
    handshake_random(&seed, sizeof seed);
    retry_init(&r->retry, seed);
    retry_worked(&r->retry); /* The first time at once. */
    r->data = data;
    r->events = config->events;
    r->hub = config->hub;
    r->peer = config->peer;
    r->key = config->key;
    r->hello = config->hello;
    r->down_ms = now_ms(r);
    fsm_init(&r->fsm, route_states);
    KV_CHECK(uv_timer_init(r->hub->loop, &r->timer) == 0);
    r->timer.data = r;
    pause_then_dial(r);
    return KV_OK;
}

void route_set_rank(struct route *r, uint32_t rank)
{
    r->hello.rank = rank;
}

void route_submit(struct route *r, struct part *p)
{
    char text[ROUTE_TEXT_MAX];

    if (r->fsm.state == ROUTE_FAILED) {
        r->events->part_done(r, p, r->status, route_trouble(r, text), 0);
        return;
    }
    courier_submit(r->courier, p);
    r->events->ready(r);
}

void route_request(struct route *r, struct request *q)
{
    char text[ROUTE_TEXT_MAX];

    if (r->fsm.state == ROUTE_FAILED) {
        q->done(q, r->status, route_trouble(r, text), NULL, NULL, 0);
        return;
    }
    courier_request(r->courier, q);
    r->events->ready(r);
}

/* Flushed here and now, since what the kernel takes makes room for more. */
void route_restart(struct route *r)
{
    if (r->fsm.state == ROUTE_UP) {
        link_close(&r->link, KV_ENOMEM, "out of memory");
    }
}

void route_pump(struct route *r)
{
    size_t queued;

    if (r->fsm.state == ROUTE_UP) {
        queued = link_queued(&r->link);
        if (queued < ROUTE_WINDOW) {
            (void)courier_pump(r->courier, ROUTE_WINDOW - queued, now_ms(r));
        }
    }
    if (has_link(r)) {
        link_flush(&r->link);
    }
}

void route_bytes(const struct route *r, uint64_t *in, uint64_t *out)
{
    *in += r->bytes_in + (has_link(r) ? r->link.bytes_in : 0);
    *out += r->bytes_out + (has_link(r) ? r->link.bytes_out : 0);
}
