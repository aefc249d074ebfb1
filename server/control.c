#include "server/control_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define REFUSALS_LOGGED 20 /* In REFUSALS_MS. */
#define REFUSALS_MS 10000

static struct guest *guest_of(struct link *l)
{
    return l->data;
}

void guest_name(const struct guest *g, char *out, size_t size)
{
    bool server = g->hello.role == HANDSHAKE_SERVER;

    if (g->rank == HANDSHAKE_RANK_NONE) {
        snprintf(out, size, "a worker at %s", g->peer);
    } else {
        snprintf(out, size, "%s %" PRIu32 " at %s", server ? "server" : "rank",
                 g->rank, g->peer);
    }
}

/* --- Guests come and go -------------------------------------------------- */

static struct guest **seat_of(struct guest *g)
{
    struct control *c = g->control;

    return g->hello.role == HANDSHAKE_SERVER ? &c->by_server[g->rank]
                                             : &c->by_rank[g->rank];
}

static void note_heard(const struct guest *g)
{
    struct control *c = g->control;

    if (g->hello.role == HANDSHAKE_SERVER) {
        c->server_heard[g->rank] = g->link.heard_ms;
    } else {
        c->rank_heard[g->rank] = g->link.heard_ms;
    }
}

void guest_dismiss(struct guest *g)
{
    struct control *c = g->control;

    parking_forget(&c->parking, &g->parked);
    if (g->state == GUEST_KNOWN && *seat_of(g) == g) {
        *seat_of(g) = NULL;
        note_heard(g);
        if (g->hello.role == HANDSHAKE_WORKER) {
            roster_connect(&c->roster, g->rank, false);
        }
    }
    g->state = GUEST_GONE;
}

void guest_seat(struct guest *g, uint32_t rank)
{
    struct guest *before;

    g->state = GUEST_KNOWN;
    g->rank = rank;
    before = *seat_of(g);
    if (before == g) {
        return;
    }
    if (before != NULL) {
        guest_dismiss(before);
        link_close(&before->link, KV_ESTALE, "it has a newer connection");
    }
    *seat_of(g) = g;
    if (g->hello.role == HANDSHAKE_WORKER) {
        roster_connect(&g->control->roster, rank, true);
    }
}

/* --- Closing ------------------------------------------------------------- */

static void maybe_closed(struct control *c)
{
    if (c->closing && !c->ticking && list_empty(&c->guests)) {
        c->closed(c);
    }
}

static void on_tick_closed(uv_handle_t *handle)
{
    struct control *c = handle->data;

    c->ticking = false;
    maybe_closed(c);
}

static void on_closed(struct link *l, enum kv_status status, const char *text)
{
    struct guest *g = guest_of(l);
    struct control *c = g->control;
    bool worker = g->state == GUEST_KNOWN && g->hello.role == HANDSHAKE_WORKER;
    char name[GUEST_NAME_MAX];

    guest_name(g, name, sizeof name);
    if (worker && !c->roster.rank[g->rank].left) {
        log_warn("%s is gone without leaving: %s", name, text);
    } else if ((status == KV_EPROTO || status == KV_ETOOBIG) &&
               log_allow(&c->refusals, uv_now(c->hub->loop))) {
        log_warn("%s: connection closed: %s", name, text);
    } else {
        log_debug("%s: connection closed: %s", name, text);
    }
    guest_dismiss(g);
    list_unlink(&g->among_guests);
    mem_free(g);
    maybe_closed(c);
}

/* --- Links --------------------------------------------------------------- */

static enum kv_status on_head(struct link *l, const struct frame_head *head,
                              const struct message *m, void **sink)
{
    (void)m;
    (void)sink;
    if (head->payload_size > 0) {
        return guest_broke(guest_of(l), "a request to the root with a payload");
    }
    return KV_OK;
}

static enum kv_status on_frame(struct link *l, const struct frame_head *head,
                               const struct message *m, const void *payload)
{
    struct guest *g = guest_of(l);
    uint64_t id = head->request_id;

    (void)payload;
    if (g->state == GUEST_GONE) {
        return KV_OK; /* Turned away, and the link not yet closed. */
    }
    if (m->kind == MESSAGE_PING) {
        return KV_OK; /* It has been heard of. */
    }
    if (m->kind == MESSAGE_JOIN) {
        return control_on_join(g, id, m);
    }
    if (m->kind == MESSAGE_ENLIST) {
        return control_on_enlist(g, id, m);
    }
    if (g->state != GUEST_KNOWN || g->hello.role != HANDSHAKE_WORKER ||
        !g->control->placing) {
        return guest_broke(g, "a request before its time");
    }
    switch (m->kind) {
    case MESSAGE_KEY:
        return control_on_key(g, id, m);
    case MESSAGE_LIST:
        return control_on_list(g, id, m);
    case MESSAGE_DELETE:
        return control_on_delete(g, id, m);
    case MESSAGE_BARRIER:
        return control_on_barrier(g, id, m);
    case MESSAGE_LEAVE:
        return control_on_leave(g, id);
    case MESSAGE_DEAD:
        return control_on_dead(g, id, m);
    default:
        return guest_broke(g,
                           "a message that does not belong on a control link");
    }
}

static const struct link_events guest_events = {
    .head = on_head,
    .frame = on_frame,
    .closed = on_closed,
};

void control_admit(struct control *c, int fd, const struct hello *hello)
{
    struct message m = {.kind = MESSAGE_WELCOME};
    struct guest *g = c->closing ? NULL : mem_zalloc(1, sizeof *g);
    struct sockaddr_storage peer, reached;

    if (g == NULL) {
        close(fd);
        return;
    }
    address_of_peer(fd, &peer);
    address_format(&peer, g->peer, sizeof g->peer);
    address_of_socket(fd, &reached);
    address_format(&reached, g->reached, sizeof g->reached);
    g->control = c;
    g->hello = *hello;
    g->rank = hello->rank;
    g->link.data = g;
    g->link.checksum = !address_is_loopback(&peer);
    parking_guest_init(&g->parked);
    if (link_open(&g->link, c->hub, fd, &guest_events) != KV_OK) {
        log_warn("%s: cannot be served, out of memory or descriptors", g->peer);
        mem_free(g);
        return;
    }
    list_push(&c->guests, &g->among_guests);
    m.welcome.arena_id = arena_id(c->arena);
    m.welcome.rank =
        hello->rank == HANDSHAKE_RANK_NONE ? 0 : hello->rank; /* By Join. */
    guest_answer(g, &m, 0);
}

/* --- The service --------------------------------------------------------- */

static void free_parts(struct control *c)
{
    if (c->placing) {
        directory_fini(&c->directory);
    }
    ledger_close(&c->ledger);
    parking_fini(&c->parking);
    mem_free(c->by_rank);
    mem_free(c->by_server);
    mem_free(c->rank_heard);
    mem_free(c->server_heard);
    roster_fini(&c->roster);
}

/* What the arena remembers, and this server itself. */
static enum kv_status recover(struct control *c,
                              const struct control_config *config, char *error,
                              size_t error_size)
{
    struct roster_offer offer = {.shards = config->shards,
                                 .address = config->address,
                                 .state = config->state,
                                 .used = config->used};
    bool changed = false;
    enum kv_status status;

    status = ledger_open(&c->ledger, config->arena, config->slice_bytes,
                         &c->roster, error, error_size);
    if (status != KV_OK) {
        return status;
    }
    status = ledger_ready(&c->ledger);
    if (status != KV_OK) {
        snprintf(error, error_size, "%s", CONTROL_NO_ROOM);
        return status;
    }
    status = roster_enlist(&c->roster, &offer, ledger_has_keys(&c->ledger),
                           &changed, error, error_size);
    if (status != KV_OK) {
        return status;
    }
    if (changed) {
        ledger_server(&c->ledger, 0, &c->roster.server[0]);
    }
    return control_begin(c, error, error_size);
}

/* Who has not come since the start, counts from then. */
static uint64_t *never_heard(const struct control *c, uint32_t count)
{
    uint64_t *heard = mem_zalloc(count, sizeof *heard);

    for (uint32_t i = 0; heard != NULL && i < count; i++) {
        heard[i] = uv_now(c->hub->loop);
    }
    return heard;
}

enum kv_status control_open(struct control *c,
                            const struct control_config *config, char *error,
                            size_t error_size)
{
    enum kv_status status;

    memset(c, 0, sizeof *c);
    snprintf(error, error_size, "out of memory");
    status = roster_init(&c->roster, config->workers, config->servers);
    if (status != KV_OK) {
        return status;
    }
    c->hub = config->hub;
    c->arena = config->arena;
    c->slice_bytes = config->slice_bytes;
    c->anywhere = config->anywhere;
    c->refusals = (struct log_limit){.about = "guests turned away",
                                     .count_max = REFUSALS_LOGGED,
                                     .interval_ms = REFUSALS_MS};
    list_init(&c->guests);
    parking_init(&c->parking);
    c->by_rank = mem_zalloc(config->workers, sizeof(struct guest *));
    c->by_server = mem_zalloc(config->servers, sizeof(struct guest *));
    c->rank_heard = never_heard(c, config->workers);
    c->server_heard = never_heard(c, config->servers);
    status = c->by_rank == NULL || c->by_server == NULL ||
                     c->rank_heard == NULL || c->server_heard == NULL
                 ? KV_ENOMEM
                 : recover(c, config, error, error_size);
    if (status != KV_OK) {
        free_parts(c);
        return status;
    }
    KV_CHECK(uv_timer_init(c->hub->loop, &c->tick) == 0);
    c->tick.data = c;
    c->ticking = true;
    return KV_OK;
}

uint32_t control_keys(const struct control *c)
{
    return c->placing ? c->directory.count : 0;
}

void control_close(struct control *c, control_fn closed)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    c->closed = closed;
    LIST_EACH(&c->guests, node, after)
    {
        struct guest *g = LIST_ENTRY(node, struct guest, among_guests);

        guest_dismiss(g);
        link_finish(&g->link);
    }
    uv_close((uv_handle_t *)&c->tick, on_tick_closed);
}

void control_fini(struct control *c)
{
    free_parts(c);
}
