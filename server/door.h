/**
 * door - listen, and let in who can prove that they belong to the job.
 *
 *   visitor:  HELLO (96 bytes) -> PROOF (40 bytes) -> let in
 *                 \__________________\_______________> turned away
 *
 * Before it has proved itself a connection costs a few hundred bytes and is
 * given a few seconds, and there are at most unproven_max of them. When there
 * are more, or more than unproven_per_host_max from one host, the oldest goes:
 * a flood cannot lock others out. But not before it has had its chance,
 * silent_ms to say Hello and a fifth of the deadline for its proof, else a
 * thousand honest workers that come at once would push each other out; until
 * then, new ones wait in the kernel's queue.
 *
 * Thread:  the loop's thread only.
 * Memory:  the owner keeps struct door until `closed` has run, and key and
 *          config for as long.
 */
#ifndef KV_SERVER_DOOR_H
#define KV_SERVER_DOOR_H

#include <stdbool.h>

#include <uv.h>

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "proto/handshake.h"

struct door;

/* Takes a socket whose peer has proved itself, and what it said. */
typedef void (*door_admit_fn)(struct door *d, int fd,
                              const struct hello *hello);
typedef void (*door_closed_fn)(struct door *d);

struct door_config {
    const unsigned char *key; /* HANDSHAKE_KEY_SIZE bytes; kept. */
    uint8_t job[HANDSHAKE_JOB_SIZE];
    uint64_t epoch;  /* Life of this server. */
    uint32_t server; /* Index; 0 is the root, which has a control service. */
    uint32_t shards, workers;
    /* Limits; limits.h has those of the daemon. */
    unsigned unproven_max, unproven_per_host_max;
    uint64_t deadline_ms, silent_ms, gate_ms;
};

/* The limits as the daemon uses them. */
void door_limits(struct door_config *config);

struct door_counts {
    uint64_t admitted, refused, evicted, late;
};

struct door {
    void *data; /* For the owner, who may set it before door_open(). */
    struct door_counts counts;
    /* Private. */
    struct door_config config;
    enum kv_status gate;
    uint64_t gate_until_ms; /* Until then nobody comes in through it. */
    door_admit_fn admit;
    door_closed_fn closed;
    uv_tcp_t listener;
    uv_timer_t wake;      /* For the oldest visitor's time to go. */
    struct list visitors; /* Oldest first. */
    unsigned visitor_count;
    unsigned handles; /* Not closed yet; visitors' too. */
    bool waiting;     /* One stands outside, for want of room. */
    bool closing;
    struct log_limit refusals;
};

/* Listen on a bound socket, which is taken, also on failure: then too the
 * door must be closed. */
KV_MUST_CHECK enum kv_status door_open(struct door *d, uv_loop_t *loop,
                                       const struct door_config *config,
                                       int bound_fd, door_admit_fn admit,
                                       char *error, size_t error_size);

/* What workers who look for a shard are told from the next one on; KV_OK, as at
 * first, lets them in. Before KV_EAGAIN is said, which the log does not tell,
 * new ones wait outside for gate_ms: that it opens spares them another try. */
void door_gate(struct door *d, enum kv_status gate);

/* No further admit() from here on. */
void door_close(struct door *d, door_closed_fn closed);

#endif
