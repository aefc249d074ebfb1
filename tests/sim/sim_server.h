/**
 * sim_server - one shard with its sessions and its arena: what a shard thread
 * does, without the thread.
 *
 *   UP --kill, at any crash point--> DOWN --start--> UP, on the same arena
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_SERVER_H
#define KV_TESTS_SIM_SIM_SERVER_H

#include "server/arena.h"
#include "server/session.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_plan.h"

struct sim_server {
    struct sim *sim;
    uint32_t index;
    unsigned process; /* In the heap. */
    bool down;
    struct arena *arena;
    struct shard *shard;
    struct bufpool buffers;
    struct sim_conn *session[PLAN_WORKERS_MAX]; /* NULL: none. */
    char dir[128], name[32];
    uint64_t arena_id; /* 0: not known yet. */
    uint64_t commits_seen;
    bool waits[PLAN_WORKERS_MAX];
    /* What the fence has let in, as far as this is known. */
    uint64_t incarnation[PLAN_WORKERS_MAX], token[PLAN_WORKERS_MAX];
    /* By slot: what was acknowledged to each rank. */
    uint64_t acked[PLAN_SLICES_MAX][PLAN_WORKERS_MAX];
};

void sim_server_make(struct sim *sim, uint32_t index, const char *dir);

/* Open the arena and recover; false if it is up, or died on the way. */
bool sim_server_start(struct sim_server *s);

/* kill -9. */
void sim_server_kill(struct sim_server *s);

/* Call into the server as its process, which may die on the way: false. */
bool sim_server_run(struct sim_server *s, void (*call)(void *arg), void *arg);
void sim_server_events(struct sim_server *s, struct shard_events *out);

/* Handle what has arrived; false if there was nothing to do. */
bool sim_server_receive(struct sim_server *s, struct sim_conn *c);
bool sim_server_notice(struct sim_server *s, struct sim_conn *c);

/* Send what is batched. */
bool sim_server_flush(struct sim_server *s);

/* What a timer does: look for stalls, and for ranks that block each other. */
bool sim_server_tick(struct sim_server *s);

/* Put back what the blocked ranks hold; `blocked` has a bit for each. */
bool sim_server_untangle(struct sim_server *s, uint32_t blocked);

/* A frame of it was written or dropped. */
void sim_server_let_go(struct sim_server *s, struct buffer *buffer,
                       void *block);

/* End in good order, and look at what the arena holds. */
void sim_server_audit(struct sim_server *s);
void sim_server_remove(struct sim_server *s);

#endif
