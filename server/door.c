#include "server/door.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "proto/limits.h"
#include "proto/link.h"
#include "server/address.h"

#define BACKLOG 4096
#define SILENT_MS 50
#define GATE_MS 1000
#define SPARE_DESCRIPTORS 16
#define REFUSALS_LOGGED 10 /* In REFUSALS_MS. */
#define REFUSALS_MS 10000
#define REASON_MAX 128

enum { HELLO, PROOF };

/* A connection that has not proved itself. */
struct visitor {
    struct list_link among_visitors;
    struct door *door;
    uv_tcp_t tcp;
    struct sockaddr_storage peer;
    uint64_t since_ms;
    int state;
    size_t size; /* Of `in`, so far. */
    unsigned char in[HANDSHAKE_HELLO_SIZE + HANDSHAKE_PROOF_SIZE];
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    struct hello hello;
};

static void on_wake(uv_timer_t *timer);
static void let_in_more(struct door *d);

/* --- The way out --------------------------------------------------------- */

static void handle_closed(struct door *d)
{
    if (--d->handles == 0 && d->closing) {
        d->closed(d);
    }
}

static void on_visitor_closed(uv_handle_t *handle)
{
    struct visitor *v = handle->data;
    struct door *d = v->door;

    mem_free(v);
    handle_closed(d);
}

static void on_door_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

/* Wake when the oldest visitor has had its time, or may be pushed out. */
static void set_alarm(struct door *d)
{
    const struct list_link *first = list_first(&d->visitors);
    const struct visitor *v;
    uint64_t now = uv_now(d->wake.loop), due;

    if (d->waiting) {
        due = now + d->config.silent_ms; /* Of whichever visitor. */
    } else if (first != NULL) {
        v = LIST_ENTRY(first, const struct visitor, among_visitors);
        due = v->since_ms + d->config.deadline_ms;
    } else {
        uv_timer_stop(&d->wake);
        return;
    }
    KV_CHECK(uv_timer_start(&d->wake, on_wake, due > now ? due - now : 1, 0) ==
             0);
}

/* The only way out, whatever the end. */
static void leave(struct visitor *v)
{
    struct door *d = v->door;

    list_unlink(&v->among_visitors);
    d->visitor_count--;
    uv_close((uv_handle_t *)&v->tcp, on_visitor_closed);
}

/* For no reason: nothing that a log need tell. */
static void refuse(struct visitor *v, const char *reason)
{
    struct door *d = v->door;
    char peer[ADDRESS_TEXT_MAX];

    d->counts.refused++;
    if (reason[0] != '\0' && log_allow(&d->refusals, uv_now(d->wake.loop))) {
        address_format(&v->peer, peer, sizeof peer);
        log_warn("connection from %s refused: %s", peer, reason);
    }
    leave(v);
}

/* --- Room ---------------------------------------------------------------- */

/* The oldest that has had its chance to speak; of one host, if given. */
static struct visitor *find_ripe(const struct door *d,
                                 const struct sockaddr_storage *host)
{
    uint64_t now = uv_now(d->wake.loop);

    LIST_EACH(&d->visitors, node, after)
    {
        struct visitor *v = LIST_ENTRY(node, struct visitor, among_visitors);
        uint64_t age = now - v->since_ms;
        uint64_t ripe =
            v->state == HELLO ? d->config.silent_ms : d->config.deadline_ms / 5;

        if (host != NULL && !address_same_host(host, &v->peer)) {
            continue;
        }
        if (age >= ripe) {
            return v;
        }
    }
    return NULL;
}

static void evict(struct visitor *v)
{
    v->door->counts.evicted++;
    refuse(v, "it is slow, and others are waiting");
}

static bool make_room(struct door *d)
{
    struct visitor *v;

    if (d->visitor_count < d->config.unproven_max) {
        return true;
    }
    v = find_ripe(d, NULL);
    if (v == NULL) {
        return false;
    }
    evict(v);
    return true;
}

static void keep_host_small(struct door *d, const struct sockaddr_storage *host)
{
    unsigned count = 0;
    struct visitor *v;

    LIST_EACH(&d->visitors, node, after)
    {
        v = LIST_ENTRY(node, struct visitor, among_visitors);
        count += address_same_host(host, &v->peer);
    }
    if (count >= d->config.unproven_per_host_max) {
        v = find_ripe(d, host);
        if (v != NULL) {
            evict(v);
        }
    }
}

/* --- Hello --------------------------------------------------------------- */

/* A refusal that the client is told: a status for its Challenge. */
static enum kv_status judge(const struct door *d, const struct hello *h,
                            char *reason, size_t size)
{
    const struct door_config *c = &d->config;

    if (h->version_min > KV_VERSION_MAX || h->version_max < KV_VERSION_MIN) {
        snprintf(reason, size,
                 "it speaks protocol versions %u to %u, this server %u to %u",
                 h->version_min, h->version_max, KV_VERSION_MIN,
                 KV_VERSION_MAX);
        return KV_EPROTO;
    }
    if (memcmp(h->job, c->job, sizeof h->job) != 0) {
        snprintf(reason, size, "it belongs to another job");
        return KV_ESTALE;
    }
    if (h->server != c->server) {
        snprintf(reason, size,
                 "it looks for server %" PRIu32 ", this is server %" PRIu32,
                 h->server, c->server);
        return KV_EINVAL;
    }
    if (h->target == HANDSHAKE_CONTROL) {
        snprintf(reason, size, "it looks for the root, which is server 0");
        return c->server == 0 ? KV_OK : KV_EINVAL;
    }
    if (h->target >= c->shards || h->role != HANDSHAKE_WORKER) {
        snprintf(reason, size, "it asks for shard %u of %" PRIu32, h->target,
                 c->shards);
        return KV_EINVAL;
    }
    if (h->rank >= c->workers) {
        snprintf(reason, size,
                 "rank %" PRIu32 " of a job of %" PRIu32 " workers", h->rank,
                 c->workers);
        return KV_EMISMATCH;
    }
    if (d->gate != KV_OK && d->gate != KV_EAGAIN) {
        snprintf(reason, size, "the root has not taken this server in: %s",
                 kv_strstatus(d->gate));
    }
    return d->gate;
}

/* 88 bytes into an empty socket buffer: all of it, or a dead peer. */
static bool challenge(struct visitor *v, enum kv_status status)
{
    struct challenge c = {.version = v->hello.version_max < KV_VERSION_MAX
                                         ? v->hello.version_max
                                         : KV_VERSION_MAX,
                          .status = (int16_t)status,
                          .server = v->door->config.server,
                          .epoch = v->door->config.epoch};
    uv_buf_t buf = uv_buf_init((char *)v->challenge, sizeof v->challenge);

    handshake_random(c.nonce, sizeof c.nonce);
    handshake_pack_challenge(&c, v->door->config.key, v->in, v->challenge);
    return uv_try_write((uv_stream_t *)&v->tcp, &buf, 1) ==
           (int)sizeof v->challenge;
}

static void on_hello(struct visitor *v)
{
    char reason[REASON_MAX] = "";
    enum kv_status status = handshake_unpack_hello(v->in, &v->hello);

    if (status != KV_OK) {
        refuse(v, "it does not speak this protocol");
        return;
    }
    status = judge(v->door, &v->hello, reason, sizeof reason);
    if (!challenge(v, status)) {
        refuse(v, "it does not read");
    } else if (status != KV_OK) {
        refuse(v, reason);
    } else {
        v->state = PROOF;
    }
}

/* --- Proof --------------------------------------------------------------- */

static void on_proof(struct visitor *v)
{
    struct door *d = v->door;
    uv_os_fd_t fd;
    int copy;

    if (handshake_check_proof(v->in + HANDSHAKE_HELLO_SIZE, d->config.key,
                              v->in, v->challenge) != KV_OK) {
        refuse(v, "it has another key");
        return;
    }
    KV_CHECK(uv_fileno((uv_handle_t *)&v->tcp, &fd) == 0);
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        refuse(v, strerror(errno));
        return;
    }
    d->counts.admitted++;
    d->admit(d, copy, &v->hello);
    leave(v);
}

/* --- Reading ------------------------------------------------------------- */

static size_t wanted(const struct visitor *v)
{
    return v->state == HELLO ? HANDSHAKE_HELLO_SIZE
                             : HANDSHAKE_HELLO_SIZE + HANDSHAKE_PROOF_SIZE;
}

/* Exactly what is missing: what follows belongs to whom it is let in to. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct visitor *v = handle->data;

    (void)suggested;
    *buf =
        uv_buf_init((char *)v->in + v->size, (unsigned)(wanted(v) - v->size));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct visitor *v = stream->data;
    struct door *d = v->door;

    (void)buf;
    if (n < 0) {
        refuse(v, v->state == HELLO
                      ? "it closed before it had said who it is"
                      : "it closed on our challenge; has it another key?");
    } else {
        v->size += (size_t)n;
        if (n > 0 && v->size == wanted(v)) {
            (v->state == HELLO ? on_hello : on_proof)(v);
        }
    }
    let_in_more(d);
}

/* --- Coming in ----------------------------------------------------------- */

/* Descriptors are given out from the lowest: a high one means that the end is
 * near. What comes after the end libuv closes without a word. */
static bool scarce(int fd)
{
    struct rlimit files;

    return getrlimit(RLIMIT_NOFILE, &files) == 0 &&
           (rlim_t)fd + SPARE_DESCRIPTORS >= files.rlim_cur;
}

static void receive(struct door *d)
{
    struct visitor *v = mem_zalloc(1, sizeof *v);
    uv_os_fd_t fd;

    if (v == NULL) {
        return; /* Whoever stands outside stays there until the next wake. */
    }
    d->waiting = false;
    v->door = d;
    v->since_ms = uv_now(d->wake.loop);
    v->tcp.data = v;
    KV_CHECK(uv_tcp_init(d->wake.loop, &v->tcp) == 0);
    d->handles++;
    if (uv_accept((uv_stream_t *)&d->listener, (uv_stream_t *)&v->tcp) != 0) {
        uv_close((uv_handle_t *)&v->tcp, on_visitor_closed);
        return;
    }
    KV_CHECK(uv_fileno((uv_handle_t *)&v->tcp, &fd) == 0);
    link_tune_socket(fd, NULL);
    address_of_peer(fd, &v->peer);
    keep_host_small(d, &v->peer);
    list_push(&d->visitors, &v->among_visitors);
    d->visitor_count++;
    if (scarce(fd)) {
        refuse(v, "too many open files");
        return;
    }
    KV_CHECK(uv_read_start((uv_stream_t *)&v->tcp, on_alloc, on_read) == 0);
}

static bool waits_for_gate(const struct door *d)
{
    return d->gate == KV_EAGAIN && uv_now(d->wake.loop) < d->gate_until_ms;
}

/* One stands outside, or somebody has left. */
static void let_in_more(struct door *d)
{
    if (d->waiting && !d->closing && !waits_for_gate(d) && make_room(d)) {
        receive(d);
    }
    if (!d->closing) {
        set_alarm(d);
    }
}

static void on_connection(uv_stream_t *stream, int uv_error)
{
    struct door *d = stream->data;

    if (uv_error != 0) {
        d->counts.refused++;
        if (log_allow(&d->refusals, uv_now(stream->loop))) {
            log_warn("a connection is lost: %s", uv_strerror(uv_error));
        }
        return;
    }
    d->waiting = true;
    let_in_more(d);
}

static void on_wake(uv_timer_t *timer)
{
    struct door *d = timer->data;
    uint64_t now = uv_now(timer->loop);

    LIST_EACH(&d->visitors, node, after)
    {
        struct visitor *v = LIST_ENTRY(node, struct visitor, among_visitors);

        if (now - v->since_ms < d->config.deadline_ms) {
            break;
        }
        d->counts.late++;
        refuse(v, "it took too long to prove itself");
    }
    let_in_more(d);
}

/* --- The door ------------------------------------------------------------ */

void door_limits(struct door_config *config)
{
    config->unproven_max = KV_UNPROVEN_MAX;
    config->unproven_per_host_max = KV_UNPROVEN_PER_HOST_MAX;
    config->deadline_ms = KV_HANDSHAKE_MS;
    config->silent_ms = SILENT_MS;
    config->gate_ms = GATE_MS;
}

enum kv_status door_open(struct door *d, uv_loop_t *loop,
                         const struct door_config *config, int bound_fd,
                         door_admit_fn admit, char *error, size_t error_size)
{
    void *data = d->data;
    int rc;

    memset(d, 0, sizeof *d);
    d->data = data;
    d->config = *config;
    d->admit = admit;
    d->refusals = (struct log_limit){.about = "refused connections",
                                     .count_max = REFUSALS_LOGGED,
                                     .interval_ms = REFUSALS_MS};
    list_init(&d->visitors);
    KV_CHECK(uv_tcp_init(loop, &d->listener) == 0);
    KV_CHECK(uv_timer_init(loop, &d->wake) == 0);
    d->listener.data = d;
    d->wake.data = d;
    d->handles = 2;
    rc = uv_tcp_open(&d->listener, bound_fd);
    if (rc != 0) {
        close(bound_fd);
    } else {
        rc = uv_listen((uv_stream_t *)&d->listener, BACKLOG, on_connection);
    }
    if (rc == 0) {
        return KV_OK;
    }
    snprintf(error, error_size, "cannot listen: %s", uv_strerror(rc));
    return rc == UV_EADDRINUSE ? KV_EBUSY : KV_EINVAL;
}

void door_gate(struct door *d, enum kv_status gate)
{
    d->gate = gate;
    d->gate_until_ms = uv_now(d->wake.loop) + d->config.gate_ms;
    let_in_more(d);
}

void door_close(struct door *d, door_closed_fn closed)
{
    struct list_link *node;

    if (d->closing) {
        return;
    }
    d->closing = true;
    d->closed = closed;
    while ((node = list_first(&d->visitors)) != NULL) {
        leave(LIST_ENTRY(node, struct visitor, among_visitors));
    }
    uv_close((uv_handle_t *)&d->listener, on_door_closed);
    uv_close((uv_handle_t *)&d->wake, on_door_closed);
}
