/**
 * control - the root's service: who is in the job, which keys, barriers.
 *
 * The shell around roster, directory and ledger: links of workers and of the
 * other servers, their requests, and the requests that must wait. A parked
 * request dies with its link; the worker asks again.
 *
 *   guest:  admitted --Join, Enlist--> known --Key, ..., Leave--> gone
 *
 * Thread:  the main loop's.
 * Memory:  the owner keeps struct control until `closed` has run. Borrows hub
 *          and arena until control_fini().
 */
#ifndef KV_SERVER_CONTROL_H
#define KV_SERVER_CONTROL_H

#include <uv.h>

#include "common/base/log.h"
#include "proto/handshake.h"
#include "proto/link.h"
#include "server/directory.h"
#include "server/ledger.h"
#include "server/parking.h"
#include "server/roster.h"

struct control;
typedef void (*control_fn)(struct control *c);

struct control_config {
    struct link_hub *hub;
    struct arena *arena;
    uint32_t workers, servers, slice_bytes;
    uint32_t shards; /* Of this server. */
    uint64_t state;  /* Of them, as in struct roster_offer. */
    bool used;
    const char *address; /* Of this server. */
    bool anywhere; /* It says nothing: what a worker reached us at does. */
};

struct control {
    void *data;      /* For the owner. */
    control_fn done; /* Every rank has left; may be NULL. */
    /* Private. */
    control_fn closed;
    struct link_hub *hub;
    struct arena *arena;
    uint32_t slice_bytes;
    bool anywhere;
    struct roster roster;
    struct directory directory; /* Once the roster is assembled. */
    bool placing;               /* The directory is there. */
    struct ledger ledger;
    struct parking parking;
    struct log_limit refusals;
    struct list guests;
    struct guest **by_rank, **by_server; /* Their current link, or NULL. */
    uint64_t *rank_heard, *server_heard; /* When, of who has none. */
    uv_timer_t tick;                     /* Runs while something is parked. */
    bool ticking;                        /* `tick` is not closed. */
    bool closing;
};

/* Recovers what the arena has. An error comes with a sentence; then call
 * neither control_close() nor control_fini(). */
KV_MUST_CHECK enum kv_status control_open(struct control *c,
                                          const struct control_config *config,
                                          char *error, size_t error_size);

/* Takes a socket whose peer has proved itself. */
void control_admit(struct control *c, int fd, const struct hello *hello);

uint32_t control_keys(const struct control *c);

/* Answers that are queued still go out, for at most 2 s. */
void control_close(struct control *c, control_fn closed);

/* After `closed`. */
void control_fini(struct control *c);

#endif
