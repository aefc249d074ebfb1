#include "proto/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/link.h"

enum { IDLE, RESOLVING, CONNECTING, GREETING, CLOSING, DONE };

static const struct fsm_state dial_states[] = {
    [IDLE] = {"idle", FSM_TO(RESOLVING)},
    [RESOLVING] = {"resolving", FSM_TO(CONNECTING) | FSM_TO(CLOSING)},
    [CONNECTING] = {"connecting", FSM_TO(GREETING) | FSM_TO(CLOSING)},
    [GREETING] = {"greeting", FSM_TO(CLOSING)},
    [CLOSING] = {"closing", FSM_TO(DONE)},
    [DONE] = {"done", 0},
};

/* --- The way out ---------------------------------------------------------- */

/* One handle or request fewer; `done` after the last. */
static void let_go(struct dial *d)
{
    if (--d->handles > 0) {
        return;
    }
    fsm_move(&d->fsm, DONE);
    if (d->addresses != NULL) {
        uv_freeaddrinfo(d->addresses);
        d->addresses = NULL;
    }
    d->done(d, d->status, d->fd);
}

static void on_closed(uv_handle_t *handle)
{
    let_go(handle->data);
}

/* The only way out, for success, failure and cancel alike. */
static void finish(struct dial *d, enum kv_status status)
{
    int left = d->fsm.state;

    if (left >= CLOSING) {
        return; /* The first reason won. */
    }
    fsm_move(&d->fsm, CLOSING);
    d->status = status;
    uv_close((uv_handle_t *)&d->deadline, on_closed);
    if (left == RESOLVING) {
        uv_cancel((uv_req_t *)&d->resolve); /* Else it ends by itself. */
    } else if (!uv_is_closing((uv_handle_t *)&d->tcp)) {
        uv_close((uv_handle_t *)&d->tcp, on_closed);
    }
}

__attribute__((format(printf, 3, 4))) static void
fail(struct dial *d, enum kv_status status, const char *fmt, ...)
{
    va_list args;

    if (d->fsm.state >= CLOSING) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, args);
    va_end(args);
    finish(d, status);
}

/* --- Greeting ------------------------------------------------------------- */

static void refused(struct dial *d, enum kv_status status)
{
    static const unsigned char none[HANDSHAKE_KEY_SIZE];
    const struct hello *h = &d->config.hello;
    unsigned version = d->challenge.version;

    if (status == KV_EAUTH) {
        fail(d, status, "authentication failed: the server %s",
             memcmp(d->config.key, none, sizeof none) == 0
                 ? "has a key, and we have none; KV_KEY_FILE names its file"
                 : "does not have our key");
    } else if (version < h->version_min || version > h->version_max) {
        fail(d, status,
             "refused: the server speaks protocol version %u, we speak %u "
             "to %u",
             version, (unsigned)h->version_min, (unsigned)h->version_max);
    } else if (status == KV_EPROTO) {
        fail(d, status, "what answers there is no kvstored");
    } else if (status == KV_EINVAL && d->challenge.server != h->server) {
        fail(d, h->target == HANDSHAKE_CONTROL ? KV_EINVAL : KV_ECONN,
             "server %u answers there", (unsigned)d->challenge.server);
    } else if (status == KV_EAGAIN) {
        fail(d, status, "the root has not taken it in yet");
    } else if (status == KV_EDATALOSS) {
        fail(d, status,
             "the root does not take it in: it has lost its state, or the "
             "root has");
    } else {
        fail(d, status, "refused: %s", kv_strstatus(status));
    }
}

/* The kernel takes a handful of bytes into an empty socket buffer whole, or
 * the peer is gone. */
static bool write_all(struct dial *d, unsigned char *data, unsigned size)
{
    uv_buf_t buf = uv_buf_init((char *)data, size);
    int n = uv_try_write((uv_stream_t *)&d->tcp, &buf, 1);

    if (n == (int)size) {
        return true;
    }
    fail(d, KV_ECONN, "connection lost while greeting");
    return false;
}

static void prove(struct dial *d)
{
    unsigned char *proof = d->sent + HANDSHAKE_HELLO_SIZE;
    enum kv_status status;
    uv_os_fd_t fd = -1;

    memset(&d->challenge, 0, sizeof d->challenge);
    d->challenge.version = d->config.hello.version_min;
    status = handshake_check_challenge(d->got, d->config.key, d->sent,
                                       &d->challenge);
    if (status != KV_OK) {
        refused(d, status);
        return;
    }
    handshake_pack_proof(d->config.key, d->sent, d->got, proof);
    if (!write_all(d, proof, HANDSHAKE_PROOF_SIZE)) {
        return;
    }
    KV_CHECK(uv_fileno((uv_handle_t *)&d->tcp, &fd) == 0);
    d->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (d->fd < 0) {
        fail(d, KV_ECONN, "no file descriptor: %s", strerror(errno));
        return;
    }
    finish(d, KV_OK);
}

/* Exactly what is missing: what follows the challenge is for the link. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct dial *d = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)d->got + d->got_size,
                       (unsigned)(HANDSHAKE_CHALLENGE_SIZE - d->got_size));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct dial *d = stream->data;

    (void)buf;
    if (n < 0) {
        fail(d, kv_status_from_uv((int)n), "connection lost while greeting: %s",
             n == UV_EOF ? "closed by the server" : uv_strerror((int)n));
        return;
    }
    d->got_size += (size_t)n;
    if (d->got_size == HANDSHAKE_CHALLENGE_SIZE) {
        uv_read_stop(stream);
        prove(d);
    }
}

static void greet(struct dial *d)
{
    uv_os_fd_t fd = -1;

    fsm_move(&d->fsm, GREETING);
    KV_CHECK(uv_fileno((uv_handle_t *)&d->tcp, &fd) == 0);
    link_tune_socket(fd, d->config.congestion);
    if (write_all(d, d->sent, HANDSHAKE_HELLO_SIZE)) {
        KV_CHECK(uv_read_start((uv_stream_t *)&d->tcp, on_alloc, on_read) == 0);
    }
}

/* --- Connecting: one address after the other ------------------------------ */

static void connect_next(struct dial *d);

static void on_attempt_closed(uv_handle_t *handle)
{
    struct dial *d = handle->data;

    if (d->fsm.state == CONNECTING && d->next != NULL) {
        d->handles--;
        connect_next(d);
        return;
    }
    fail(d, kv_status_from_uv(d->uv_error), "%s", uv_strerror(d->uv_error));
    let_go(d);
}

static void attempt_failed(struct dial *d, int uv_error)
{
    d->uv_error = uv_error;
    uv_close((uv_handle_t *)&d->tcp, on_attempt_closed);
}

static void on_connect(uv_connect_t *request, int uv_error)
{
    struct dial *d = request->data;

    if (d->fsm.state >= CLOSING) {
        return;
    }
    if (uv_error != 0) {
        attempt_failed(d, uv_error);
        return;
    }
    greet(d);
}

static void connect_next(struct dial *d)
{
    const struct addrinfo *address = d->next;
    int uv_error;

    d->next = address->ai_next;
    KV_CHECK(uv_tcp_init(d->deadline.loop, &d->tcp) == 0);
    d->handles++;
    d->tcp.data = d;
    d->connect.data = d;
    uv_error =
        uv_tcp_connect(&d->connect, &d->tcp, address->ai_addr, on_connect);
    if (uv_error != 0) {
        attempt_failed(d, uv_error);
    }
}

static void resolved(struct dial *d, struct addrinfo *addresses)
{
    d->addresses = addresses;
    d->next = addresses;
    fsm_move(&d->fsm, CONNECTING);
    connect_next(d);
}

static void on_resolved(uv_getaddrinfo_t *request, int uv_error,
                        struct addrinfo *addresses)
{
    struct dial *d = request->data;

    if (d->fsm.state >= CLOSING) {
        d->addresses = addresses; /* Freed with the rest. */
        let_go(d);
        return;
    }
    if (uv_error != 0 || addresses == NULL) {
        fail(d, KV_ECONN, "cannot resolve '%s': %s", d->host,
             uv_strerror(uv_error));
        let_go(d);
        return;
    }
    d->handles--;
    resolved(d, addresses);
}

/* --- Start ---------------------------------------------------------------- */

static void on_deadline(uv_timer_t *timer)
{
    static const char *const missing[] = {
        [RESOLVING] = "address",
        [CONNECTING] = "connection",
        [GREETING] = "greeting",
    };
    struct dial *d = timer->data;

    fail(d, KV_ETIMEOUT, "no %s within %.1f s", missing[d->fsm.state],
         (double)d->config.timeout_ms / 1000);
}

static const struct addrinfo hints = {
    .ai_socktype = SOCK_STREAM,
    .ai_flags = AI_NUMERICSERV,
};

/* Addresses in numbers need neither a name server nor another thread. */
static enum kv_status look_up(struct dial *d, uv_loop_t *loop)
{
    struct addrinfo numeric = hints;
    struct addrinfo *addresses = NULL;

    numeric.ai_flags |= AI_NUMERICHOST;
    if (getaddrinfo(d->host, d->port, &numeric, &addresses) == 0) {
        resolved(d, addresses);
        return KV_OK;
    }
    d->resolve.data = d;
    d->handles++;
    return kv_status_from_uv(uv_getaddrinfo(loop, &d->resolve, on_resolved,
                                            d->host, d->port, &hints));
}

static void prepare(struct dial *d, const struct dial_config *config,
                    dial_done_fn done)
{
    d->config = *config;
    d->done = done;
    d->status = KV_OK;
    d->addresses = NULL;
    d->next = NULL;
    d->uv_error = 0;
    d->handles = 0;
    d->fd = -1;
    d->got_size = 0;
    d->error[0] = '\0';
    fsm_init(&d->fsm, dial_states);
    handshake_random(d->config.hello.nonce, sizeof d->config.hello.nonce);
    handshake_pack_hello(&d->config.hello, d->sent);
}

enum kv_status dial_start(struct dial *d, uv_loop_t *loop,
                          const struct dial_config *config, dial_done_fn done)
{
    enum kv_status status;

    memset(&d->resolve, 0, sizeof d->resolve); /* finish() may cancel it. */
    prepare(d, config, done);
    status = dial_split(config->address, d->host, sizeof d->host, d->port,
                        sizeof d->port);
    if (status != KV_OK) {
        snprintf(d->error, sizeof d->error,
                 "'%.200s' is no address of the form host:port",
                 config->address);
        return status;
    }
    fsm_move(&d->fsm, RESOLVING);
    KV_CHECK(uv_timer_init(loop, &d->deadline) == 0);
    d->deadline.data = d;
    d->handles++;
    KV_CHECK(uv_timer_start(&d->deadline, on_deadline, config->timeout_ms, 0) ==
             0);
    status = look_up(d, loop);
    if (status != KV_OK) {
        d->handles--;
        fail(d, status, "cannot resolve '%s': %s", d->host,
             kv_strstatus(status));
    }
    return KV_OK;
}

void dial_cancel(struct dial *d)
{
    if (d->fsm.state == IDLE) {
        return;
    }
    fail(d, KV_ECANCELED, "canceled");
}

/* 1 to 65535 in decimal, and nothing after it. */
static bool port_valid(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long number = 0;

    if (digits == 0 || digits > 5 || text[digits] != '\0') {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        number = number * 10 + (unsigned long)(text[i] - '0');
    }
    return number >= 1 && number <= 65535;
}

enum kv_status dial_split(const char *address, char *host, size_t host_size,
                          char *port, size_t port_size)
{
    const char *colon = strrchr(address, ':');
    const char *from = address;
    const char *to = colon;
    size_t size;

    if (colon == NULL || !port_valid(colon + 1) ||
        strlen(colon + 1) >= port_size) {
        return KV_EINVAL;
    }
    if (*address == '[') {
        from++;
        to--;
        if (to < from || *to != ']') {
            return KV_EINVAL;
        }
    } else if (memchr(from, ':', (size_t)(to - from)) != NULL) {
        return KV_EINVAL; /* A bare IPv6 address: where does it end? */
    }
    size = (size_t)(to - from);
    if (size == 0 || size >= host_size) {
        return KV_EINVAL;
    }
    memcpy(host, from, size);
    host[size] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return KV_OK;
}
