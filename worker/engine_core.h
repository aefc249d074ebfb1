/**
 * engine_core - what the lane's own files share.
 *
 *   engine.c           what begins, what a turn ends with, shutdown
 *   engine_join.c      the root, then a route to each shard
 *   engine_init.c      registering keys
 *   engine_delete.c    deleting keys
 *   engine_purge.c     the same for a key that was doomed by anyone
 *   engine_ask.c       which keys there are, and their versions
 *   engine_transfer.c  push and pull
 *   engine_moves.c     the same with row_sparse tensors
 *   engine_norms.c     norms of a whole key, for optimizers that need them
 *   engine_command.c   barriers, optimizer, figures, the end
 *   engine_hyper.c     numbers of the optimizer that change
 *   engine_member.c    in the rounds, or out of them
 *   engine_describe.c  what is it waiting for?
 *
 * A running op is on exactly one list, of the lane's or the engine's. Handlers
 * end an op with engine_done(), at once or later; nothing of the caller's runs
 * before the turn is over.
 *
 * Thread:  the lane's.
 */
#ifndef KV_WORKER_ENGINE_CORE_H
#define KV_WORKER_ENGINE_CORE_H

#include <uv.h>

#include "common/base/log.h"
#include "worker/engine.h"
#include "worker/lane.h"
#include "worker/route.h"

struct piece;       /* A part of a transfer; engine_transfer.c. */
struct piece_block; /* Where they are allocated. */

/* Bytes of a slice's shard in the payload of Placed. */
#define ENGINE_HOME_SIZE 4

struct engine {
    struct lane lane;
    uint32_t policy;
    struct lane_job job;

    struct link_hub hub;
    uv_timer_t watch; /* Runs while there is something to look after. */

    uint64_t token; /* Tells this process from others of the same life. */
    struct peer root;
    struct route control;
    bool control_open;
    struct peer *peers;   /* Owned; by server. Server 0 is `root`. */
    struct route *routes; /* Owned; by shard, counted through all servers. */
    uint32_t route_count; /* 0 until joined. */
    uint32_t closed_count;
    struct kvw_op *opening; /* Until all routes are up. */

    struct keys keys;
    struct key *lost;     /* Not registered, but couriers may know them. */
    struct list ready;    /* Routes that may have something to send. */
    struct list fenced;   /* Ops that wait for the pushes before them. */
    struct list barriers; /* The first one is on its way. */

    bool left;          /* The rounds: nothing is pushed until it is back. */
    uint64_t left_turn; /* Of the last op that left them. */
    uint32_t joining;   /* Calls that bring it back. */
    struct list held;   /* Pulls and registrations that begin when it is. */
    struct request barrier_request, leave_request, where_request;
    bool asking; /* Where the servers are. */
    struct kvw_op *leaving;
    uint64_t barrier;       /* Passed so far. */
    uint64_t pushes, pulls; /* Slices done. */
    uint64_t stalls;        /* Keys with a stall notice. */
    uint64_t skipped;       /* Slices of pushes that changed nothing. */
    struct log_limit stall_lines, skip_lines;
    /* What the root says that a key, or a barrier, waits for; "": nothing. */
    char key_note[OP_TEXT_MAX], barrier_note[OP_TEXT_MAX];
    char text[OP_TEXT_MAX]; /* Of the error being told. */
};

static inline void engine_done(struct engine *e, struct kvw_op *op)
{
    lane_done(&e->lane, op);
}

void engine_ready(struct engine *e, struct route *r);

/* Let the routes that are ready send; nothing of the caller's runs. */
void engine_pump(struct engine *e);

void engine_join(struct engine *e, struct kvw_op *op);

/* Ask the root where the servers are: one that is away may be back elsewhere.
 */
void engine_find_servers(struct engine *e);
void engine_routes_close(struct engine *e); /* The last calls the next. */
void engine_routes_closed(struct engine *e);
void engine_routes_free(struct engine *e);

void engine_init(struct engine *e, struct kvw_op *op);

void engine_delete(struct engine *e, struct kvw_op *op);
void engine_list(struct engine *e, struct kvw_op *op);
void engine_version(struct engine *e, struct kvw_op *op);

/* The key is in no table any more: it is freed once nothing of it is under way,
 * when engine_reap() next looks. Not while a courier is at work on parts. */
void engine_lose(struct engine *e, struct key *key);
void engine_reap(struct engine *e);

void engine_transfer(struct engine *e, struct kvw_op *op);
void engine_reset(struct engine *e, struct kvw_op *op);

void engine_member(struct engine *e, struct kvw_op *op);

/* All servers have answered, or one could not. */
void engine_member_over(struct engine *e, struct kvw_op *op);

/* This rank has left: may the op not begin now? It has ended then, or begins
 * when the rank is back. Whatever goes by where a slice stands asks, for that
 * changes as the rank comes back. */
bool engine_stops(struct engine *e, struct kvw_op *op);

/* The next piece of an op, for which engine_reserve() made room: slice `index`
 * of the key, to be submitted. data[] are base addresses, kept. */
bool engine_reserve(struct kvw_op *op, size_t count);
struct part *engine_push(struct kvw_op *op, struct key *key, uint32_t index,
                         void *const *data, uint32_t data_count);
struct part *engine_pull(struct kvw_op *op, struct key *key, uint32_t index,
                         void *const *data, uint32_t data_count);
void engine_one_less(struct engine *e, struct kvw_op *op);
void engine_unknown_key(const struct engine *e, struct kvw_op *op,
                        const struct key_spec *spec);
void engine_stands_twice(const struct engine *e, struct kvw_op *op,
                         const struct key_spec *spec);

/* The server asks for norms of the key that this push belongs to. */
void engine_norms(struct route *r, const struct slice *slice,
                  const struct message *m);
void engine_norms_free(struct kvw_op *op);

/* The push of this slice has ended, whether it told its norms or not. */
void engine_norms_over(const struct engine *e, const struct kvw_op *op,
                       const struct slice *slice);

/* Has the push of slice `index` ended, too? Of a key of several slices. */
bool engine_push_is_over(const struct part *push, uint32_t index);

void engine_moves(struct engine *e, struct kvw_op *op);
void engine_moves_free(struct kvw_op *op);
void engine_part_done(struct route *r, struct part *p, enum kv_status status,
                      const char *text, uint64_t round);
void engine_slice_refused(struct route *r, struct part *p,
                          const struct slice *slice, enum kv_status status,
                          const char *text);

/* What best explains why a running transfer is not done. */
struct engine_view {
    const struct key *key;
    const struct route *route;
};
bool engine_look(const struct engine *e, const struct kvw_op *op,
                 struct engine_view *out);

void engine_barrier(struct engine *e, struct kvw_op *op);
void engine_command(struct engine *e, struct kvw_op *op);
void engine_hyper(struct engine *e, struct kvw_op *op); /* Past its fence. */
void engine_codec(struct engine *e, struct kvw_op *op);
void engine_stats(struct engine *e, struct kvw_op *op);
void engine_dead(struct engine *e, struct kvw_op *op);
void engine_leave(struct engine *e, struct kvw_op *op);

/* Does the fence wait for this op, which runs? */
bool engine_holds_up(const struct kvw_op *op, const struct kvw_op *fence);

/* Pushes have ended: some fence may be open now. */
void engine_check_fences(struct engine *e);

void engine_skipped(struct route *r, struct part *part,
                    const struct slice *slice, const struct message *m);

void engine_describe(struct engine *e, struct kvw_op *op);

/* A notice that `subject` waits, to be kept. */
void engine_note(struct engine *e, char note[OP_TEXT_MAX], const char *subject,
                 const struct message *m);
void engine_stalled(struct route *r, const struct slice *slice,
                    const struct message *m);

#endif
