#include "server/enlist.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/log.h"

#define DIAL_MS 5000
#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 2000
#define LINE_MS 5000
#define PATIENCE_MS 1000
#define ENLIST_REQUEST 1

enum { RESTING, DIALING, LINKED, CLOSING, CLOSED };

static const struct fsm_state enlist_states[] = {
    [RESTING] = {"resting", FSM_TO(DIALING) | FSM_TO(CLOSING)},
    [DIALING] = {"dialing", FSM_TO(RESTING) | FSM_TO(LINKED) | FSM_TO(CLOSING)},
    [LINKED] = {"linked", FSM_TO(RESTING) | FSM_TO(CLOSING)},
    [CLOSING] = {"closing", FSM_TO(CLOSED)},
    [CLOSED] = {"closed", 0},
};

/* --- The way out --------------------------------------------------------- */

static void part_closed(struct enlist *e)
{
    if (--e->handles > 0) {
        return;
    }
    fsm_move(&e->fsm, CLOSED);
    e->closed(e);
}

static void on_rest_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void enlist_close(struct enlist *e, enlist_closed_fn closed)
{
    int state = e->fsm.state;

    if (state >= CLOSING) {
        return;
    }
    fsm_move(&e->fsm, CLOSING);
    e->closed = closed;
    e->handles = 1;
    uv_close((uv_handle_t *)&e->rest, on_rest_closed);
    if (state == DIALING) {
        e->handles++;
        dial_cancel(&e->dial);
    } else if (state == LINKED) {
        e->handles++;
        link_close(&e->link, KV_OK, "this server ends");
    }
}

/* --- Trying again -------------------------------------------------------- */

static void on_rested(uv_timer_t *timer);

static void rest(struct enlist *e, const char *why)
{
    uint64_t now = uv_now(e->config.hub->loop);

    if (e->enlisted) {
        e->line_ms = now + PATIENCE_MS; /* It may only be restarting. */
    }
    e->enlisted = false;
    fsm_move(&e->fsm, RESTING);
    if (now >= e->line_ms) {
        e->line_ms = now + LINE_MS;
        log_warn("the root at %s has not taken this server in: %s; trying "
                 "again",
                 e->config.root, why);
    }
    KV_CHECK(uv_timer_start(&e->rest, on_rested, e->pause_ms, 0) == 0);
    e->pause_ms =
        e->pause_ms * 2 < PAUSE_MAX_MS ? e->pause_ms * 2 : PAUSE_MAX_MS;
}

/* --- Linked -------------------------------------------------------------- */

static void say_where(struct enlist *e)
{
    struct message m = {.kind = MESSAGE_ENLIST};
    enum kv_status status;

    m.enlist.index = e->config.index;
    m.enlist.shards = e->config.shards;
    m.enlist.address = e->config.address;
    m.enlist.state = e->config.state;
    m.enlist.used = e->config.used;
    status = link_send(&e->link, &m, ENLIST_REQUEST, NULL, 0, NULL, NULL, NULL);
    if (status != KV_OK) {
        link_close(&e->link, status, "no memory for a message");
    }
}

static enum kv_status on_head(struct link *l, const struct frame_head *head,
                              const struct message *m, void **sink)
{
    (void)l;
    (void)m;
    (void)sink;
    return head->payload_size == 0 ? KV_OK : KV_EPROTO;
}

static enum kv_status on_frame(struct link *l, const struct frame_head *head,
                               const struct message *m, const void *payload)
{
    struct enlist *e = l->data;

    (void)head;
    (void)payload;
    switch (m->kind) {
    case MESSAGE_WELCOME:
        say_where(e);
        return KV_OK;
    case MESSAGE_OK:
        e->enlisted = true;
        e->pause_ms = PAUSE_MIN_MS;
        e->line_ms = 0;
        log_info("the root at %s knows this server", e->config.root);
        e->config.used = true;
        e->config.heard(e, KV_OK);
        return KV_OK;
    case MESSAGE_PING:
        return link_send(l, m, 0, NULL, 0, NULL, NULL, NULL);
    case MESSAGE_ERROR:
        e->config.heard(e, m->error.status);
        link_close(l, KV_ECANCELED, m->error.text);
        return KV_ECANCELED;
    default:
        return KV_EPROTO;
    }
}

static void on_link_closed(struct link *l, enum kv_status status,
                           const char *text)
{
    struct enlist *e = l->data;

    (void)status;
    if (e->fsm.state == CLOSING) {
        part_closed(e);
    } else {
        rest(e, text);
    }
}

static const struct link_events root_events = {
    .head = on_head,
    .frame = on_frame,
    .closed = on_link_closed,
};

/* --- Dialing ------------------------------------------------------------- */

static void on_dialed(struct dial *d, enum kv_status status, int fd)
{
    struct enlist *e = d->data;

    if (e->fsm.state == CLOSING) {
        if (fd >= 0) {
            close(fd);
        }
        part_closed(e);
        return;
    }
    if (status != KV_OK) {
        rest(e, d->error);
        return;
    }
    memset(&e->link, 0, sizeof e->link);
    e->link.data = e;
    status = link_open(&e->link, e->config.hub, fd, &root_events);
    if (status != KV_OK) {
        rest(e, kv_strstatus(status));
        return;
    }
    fsm_move(&e->fsm, LINKED);
}

static void on_rested(uv_timer_t *timer)
{
    struct enlist *e = timer->data;
    struct dial_config config = {.address = e->config.root,
                                 .key = e->config.key,
                                 .hello = e->hello,
                                 .timeout_ms = DIAL_MS};
    enum kv_status status;

    fsm_move(&e->fsm, DIALING);
    memset(&e->dial, 0, sizeof e->dial);
    e->dial.data = e;
    status = dial_start(&e->dial, timer->loop, &config, on_dialed);
    if (status != KV_OK) {
        rest(e, e->dial.error);
    }
}

/* The wall clock makes a later process the newer one; nothing else here
 * depends on it. */
static uint64_t incarnation(void)
{
    uv_timeval64_t now;

    KV_CHECK(uv_gettimeofday(&now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

void enlist_open(struct enlist *e, const struct enlist_config *config)
{
    void *data = e->data;

    memset(e, 0, sizeof *e);
    e->data = data;
    e->config = *config;
    e->pause_ms = PAUSE_MIN_MS;
    e->hello = (struct hello){.version_min = KV_VERSION_MIN,
                              .version_max = KV_VERSION_MAX,
                              .role = HANDSHAKE_SERVER,
                              .target = HANDSHAKE_CONTROL,
                              .rank = config->index,
                              .incarnation = incarnation()};
    memcpy(e->hello.job, config->job, sizeof e->hello.job);
    handshake_random(&e->hello.token, sizeof e->hello.token);
    fsm_init(&e->fsm, enlist_states);
    KV_CHECK(uv_timer_init(config->hub->loop, &e->rest) == 0);
    e->rest.data = e;
    KV_CHECK(uv_timer_start(&e->rest, on_rested, 0, 0) == 0);
}
