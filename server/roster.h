/**
 * roster - who is in the job: its servers, its ranks, where they meet.
 *
 * A rank belongs to one process at a time. It is told apart by its
 * incarnation, which grows, and by its token. A newer incarnation replaces the
 * one before; an older one, or another process of the same, is refused.
 * A worker that brings no rank gets the lowest that nobody has had, else the
 * lowest whose worker has left; its token gets it the same one again.
 *
 * Barriers have generations. One that has passed answers at once, so a worker
 * may ask again after a lost connection without being counted twice.
 *
 * Thread:  pure.
 * Memory:  everything is allocated by roster_init(); texts are the caller's.
 * Result:  an error comes with a sentence and has changed nothing.
 */
#ifndef KV_SERVER_ROSTER_H
#define KV_SERVER_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "proto/limits.h"

#define ROSTER_RANK_NONE UINT32_MAX /* Of a claim: please assign one. */

struct roster_server {
    uint32_t shards; /* 0: not enlisted yet. */
    bool refused;    /* The last time that it came. */
    uint64_t state;
    char address[KV_ADDRESS_MAX + 1];
};

/* What a server says of itself. */
struct roster_offer {
    uint32_t index, shards;
    const char *address;
    uint64_t state; /* Which arenas its shards have. */
    bool used;      /* They hold slices, or did. */
};

struct roster_rank {
    bool assigned;
    bool left;      /* Said that it is done. */
    bool connected; /* Its control link is there; for messages. */
    bool arrived;   /* At the open barrier. */
    uint64_t incarnation, token;
};

struct roster {
    uint32_t workers, servers;
    uint32_t policy;  /* enum kv_policy_id; 0 until the first worker. */
    uint64_t barrier; /* Barriers passed. */
    struct roster_server *server;
    struct roster_rank *rank;
    /* Private. */
    uint32_t enlisted, arrived, left;
};

struct roster_claim {
    uint32_t rank; /* ROSTER_RANK_NONE: any. */
    uint32_t policy;
    uint64_t incarnation, token;
};

KV_MUST_CHECK enum kv_status roster_init(struct roster *r, uint32_t workers,
                                         uint32_t servers);
void roster_fini(struct roster *r);

/* --- Servers ------------------------------------------------------------- */

/* `changed`: this is news. KV_EINVAL no such index, KV_EMISMATCH it had
 * another number of shards before: slices have been placed by it. KV_EDATALOSS
 * its state is another than before, which matters once there are `keys`, or is
 * used, and of a job that is not known here. KV_ETOOBIG: all addresses together
 * must go into one message. */
KV_MUST_CHECK enum kv_status roster_enlist(struct roster *r,
                                           const struct roster_offer *offer,
                                           bool keys, bool *changed,
                                           char *error, size_t error_size);

bool roster_assembled(const struct roster *r);

/* Of all servers; meaningful once assembled. */
uint32_t roster_shards(const struct roster *r);

/* "server 1" or "servers 1 (turned away) and 3": those that have not enlisted.
 */
void roster_missing_servers(const struct roster *r, char *out, size_t size);

/* --- Ranks --------------------------------------------------------------- */

/* `rank` and `changed` are set on success. KV_EINVAL no such rank, KV_EBUSY
 * none is free, KV_ESTALE a newer one has it, KV_EMISMATCH another policy,
 * KV_EINVAL one that there is not. */
KV_MUST_CHECK enum kv_status roster_join(struct roster *r,
                                         const struct roster_claim *claim,
                                         uint32_t *rank, bool *changed,
                                         char *error, size_t error_size);

/* The link of this rank has come or gone; gone, it is at no barrier. */
void roster_connect(struct roster *r, uint32_t rank, bool connected);

/* The worker is done. True if that is news. */
bool roster_leave(struct roster *r, uint32_t rank);

/* Every rank has had a worker and each has left. */
bool roster_done(const struct roster *r);

/* --- Barriers ------------------------------------------------------------ */

/* KV_OK: passed, be it long ago or by this arrival (roster.barrier grew: tell
 * those who wait). KV_EAGAIN: wait. KV_EPROTO: ahead of its time. */
KV_MUST_CHECK enum kv_status roster_arrive(struct roster *r, uint32_t rank,
                                           uint64_t generation, char *error,
                                           size_t error_size);

/* "rank 2" or "ranks 1 (not connected) and 2": not at the open barrier. */
void roster_missing_ranks(const struct roster *r, char *out, size_t size);

/* --- Recovery ------------------------------------------------------------ */

/* What a restarted root knows; no checks. */
void roster_restore_server(struct roster *r, const struct roster_offer *offer);
void roster_restore_rank(struct roster *r, uint32_t rank, uint64_t incarnation,
                         uint64_t token, bool left);

#endif
