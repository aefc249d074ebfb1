/**
 * route - the way to one target, a shard or the root, kept open for ever.
 *
 *            +------------- lost, refused for now ------------+
 *            v                                                |
 *   IDLE -> PAUSING -> DIALING -> GREETING (-> JOINING) -> UP |
 *                         |          |            |         | |
 *                         +----------+------------+---------+-+
 *                         | refused for good
 *                         v
 *                       FAILED          any but IDLE -> CLOSING -> CLOSED
 *
 * Dials, waits for Welcome (and on the root's control link says Join first, on
 * every connection), then lets the courier speak. When the link is lost the
 * courier keeps what was not answered, and the next link carries it again.
 *
 * Thread:  the lane's.
 * Memory:  the owner keeps struct route until `closed` has run; the courier is
 *          the route's.
 * Result:  a route fails for good when the server has lost its state, or a
 *          newer process has our rank; and, as long as it has never been up,
 *          when the server does not know our key, or refuses this job, rank or
 *          policy: later, that is somebody else who has its port. From then on
 *          everything comes back with that status and sentence.
 */
#ifndef KV_WORKER_ROUTE_H
#define KV_WORKER_ROUTE_H

#include <uv.h>

#include "proto/dial.h"
#include "proto/link.h"
#include "worker/courier.h"
#include "worker/retry.h"

/* Bytes that a link may have queued here, beyond what the kernel took: small,
 * so that a part of high priority need not wait for many of low priority, and
 * large enough that the socket never runs dry. */
#define ROUTE_WINDOW ((size_t)1 << 20)

#define ROUTE_NAME_MAX (KV_ADDRESS_MAX + 32)
#define ROUTE_TEXT_MAX (ROUTE_NAME_MAX + KV_TEXT_MAX + 64)

enum route_state {
    ROUTE_IDLE,
    ROUTE_PAUSING,
    ROUTE_DIALING,
    ROUTE_GREETING,
    ROUTE_JOINING,
    ROUTE_UP,
    ROUTE_FAILED,
    ROUTE_CLOSING,
    ROUTE_CLOSED
};

/* A server, as all routes to it see it: its troubles are told once. */
struct peer {
    uint32_t index;
    char address[KV_ADDRESS_MAX + 1];
    uint64_t told_ms; /* When the last line about it was logged. */
    bool missed;      /* That line said that it is not there. */
    bool lost;        /* It was said that it is of no use any more. */
};

struct route;

struct route_events {
    void (*joined)(struct route *r, const struct message *m); /* The root's. */
    void (*up)(struct route *r);
    void (*part_done)(struct route *r, struct part *p, enum kv_status status,
                      const char *text, uint64_t round);
    void (*slice_refused)(struct route *r, struct part *p,
                          const struct slice *slice, enum kv_status status,
                          const char *text);
    void (*skipped)(struct route *r, struct part *p, const struct slice *slice,
                    const struct message *m);
    void (*stalled)(struct route *r, const struct slice *slice,
                    const struct message *m);
    void (*norms)(struct route *r, const struct slice *slice,
                  const struct message *m);
    /* There may be something to send: route_pump() it, soon. */
    void (*ready)(struct route *r);
    void (*failed)(struct route *r); /* r->status, r->text. */
    void (*closed)(struct route *r);
};

struct route {
    void *data;                   /* For the owner. */
    struct list_link among_ready; /* The owner's. */
    struct courier *courier;      /* Owned. */
    struct peer *peer;            /* Borrowed. */
    enum kv_status status;        /* Of the last trouble; final when FAILED. */
    char text[KV_TEXT_MAX + 1];
    uint64_t bytes_in, bytes_out; /* Of links that are closed. */
    uint64_t connections;         /* So far. */
    /* Private. */
    const struct route_events *events;
    struct link_hub *hub;
    const unsigned char *key;
    struct hello hello;
    struct fsm fsm; /* enum route_state */
    struct dial dial;
    struct link link;
    uv_timer_t timer; /* The pause, or the deadline of Welcome. */
    struct retry retry;
    uint64_t arena_id;
    bool refused;         /* status and text say why; the link is closing. */
    uint64_t down_ms;     /* Since when it is not up. */
    uint64_t quiet_ms;    /* Since when it owes an answer; 0: it does not. */
    uint64_t patience_ms; /* Until the next line about that. */
};

struct route_config {
    const struct route_events *events;
    struct link_hub *hub;
    struct peer *peer;
    const unsigned char *key; /* Kept. */
    struct hello hello;       /* With target, rank and policy. */
};

KV_MUST_CHECK enum kv_status
route_open(struct route *r, const struct route_config *config, void *data);

/* The rank by which it introduces itself from the next connection on. */
void route_set_rank(struct route *r, uint32_t rank);

void route_submit(struct route *r, struct part *p);
void route_request(struct route *r, struct request *q);

/* Close the connection and make another one. */
void route_restart(struct route *r);

/* Send what there is room for. */
void route_pump(struct route *r);

static inline bool route_is_up(const struct route *r)
{
    return r->fsm.state == ROUTE_UP;
}

static inline bool route_has_failed(const struct route *r)
{
    return r->fsm.state == ROUTE_FAILED;
}

/* Bytes in both directions, of all its links. */
void route_bytes(const struct route *r, uint64_t *in, uint64_t *out);

/* Everything unanswered comes back KV_ECANCELED; then `closed`. Any state but
 * IDLE, any number of times. */
void route_close(struct route *r);

/* --- route_watch.c -------------------------------------------------------- */

/* Log what takes too long; true if there is something to look after. */
bool route_watch(struct route *r);

/* It is up again: say so if it was missed. */
void route_tell_back(struct route *r);

/* "server 1 (127.0.0.1:4711)"; returns out. */
const char *route_name(const struct route *r, char out[ROUTE_NAME_MAX]);

/* Why it is not up, as a sentence with its name; returns out. */
const char *route_trouble(const struct route *r, char out[ROUTE_TEXT_MAX]);

#endif
