/**
 * dial - connect to one kvstored and shake hands.
 *
 *   IDLE -> RESOLVING -> CONNECTING -> GREETING -> CLOSING -> DONE
 *              |             |            |           ^
 *              +-------------+------------+-----------+  error, deadline,
 * cancel
 *
 * A name with several addresses is tried address by address. Success means: the
 * server has proved that it knows the key, and our proof is sent. The socket is
 * then the caller's, for link_open(); the first frame on it is Welcome, or an
 * Error that refuses us.
 *
 * Thread:  the loop's thread only.
 * Memory:  the caller owns struct dial and keeps it until `done` has run.
 * Result:  `done` runs exactly once, never inside dial_start().
 */
#ifndef KV_PROTO_DIAL_H
#define KV_PROTO_DIAL_H

#include <uv.h>

#include "common/base/fsm.h"
#include "common/base/status.h"
#include "proto/handshake.h"
#include "proto/limits.h"

struct dial;

/* On KV_OK `fd` is a connected socket, now the receiver's to close; else -1
 * and dial.error says why in a sentence. */
typedef void (*dial_done_fn)(struct dial *d, enum kv_status status, int fd);

struct dial_config {
    const char *address;      /* "host:port" or "[v6]:port"; borrowed. */
    const unsigned char *key; /* HANDSHAKE_KEY_SIZE bytes; kept. */
    struct hello hello;       /* The nonce is filled in by dial_start(). */
    uint64_t timeout_ms;
    const char *congestion; /* NULL: see link_tune_socket(). */
};

struct dial {
    void *data;                 /* For the owner. */
    struct challenge challenge; /* Of the server, on success. */
    char error[256];
    /* Private. */
    struct dial_config config;
    char host[KV_ADDRESS_MAX + 1], port[8];
    struct fsm fsm;
    enum kv_status status;
    uv_getaddrinfo_t resolve;
    uv_tcp_t tcp;
    uv_timer_t deadline;
    uv_connect_t connect;
    struct addrinfo *addresses; /* Owned; tried in this order. */
    struct addrinfo *next;      /* In addresses. */
    int uv_error;               /* Of the last attempt. */
    unsigned handles;           /* Open handles and requests in flight. */
    int fd;                     /* Duplicate, to be given away. */
    unsigned char sent[HANDSHAKE_HELLO_SIZE + HANDSHAKE_PROOF_SIZE];
    unsigned char got[HANDSHAKE_CHALLENGE_SIZE];
    size_t got_size;
    dial_done_fn done;
};

KV_MUST_CHECK enum kv_status dial_start(struct dial *d, uv_loop_t *loop,
                                        const struct dial_config *config,
                                        dial_done_fn done);

/* `done` comes with KV_ECANCELED. Any state, any number of times. */
void dial_cancel(struct dial *d);

/* Split "host:port" or "[v6]:port"; KV_EINVAL when it is neither. */
KV_MUST_CHECK enum kv_status dial_split(const char *address, char *host,
                                        size_t host_size, char *port,
                                        size_t port_size);

#endif
