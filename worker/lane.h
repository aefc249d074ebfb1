/**
 * lane - one thread, one loop, that does what callers ask of a store.
 *
 *   caller's thread                     the lane
 *     kvw_push() -> op -- mailbox -->  lane.c   takes it
 *                                      duties   what the kind of store does
 *     kvw_wait() <- op_finish() <----  lane.c   once a turn of the loop
 *
 * There are two sets of duties: the engine's, which moves values to and from
 * servers, and the local engine's, which keeps them in this process.
 *
 * What a turn of the loop has finished and what it leaves to be done is dealt
 * with together, before the loop sleeps: callbacks run there, and what they
 * start belongs to the same turn.
 *
 * Thread:  lane_here() tells whether the caller is the lane itself, which must
 *          not wait for anything. lane_submit() and lane_close() are for any
 *          thread, the rest is the lane's.
 * Memory:  part of the struct of who has the duties. Borrows options, pool and
 *          job until lane_close() has returned.
 */
#ifndef KV_WORKER_LANE_H
#define KV_WORKER_LANE_H

#include <uv.h>

#include "common/base/mailbox.h"
#include "worker/op.h"
#include "worker/options.h"

/* What the job is; valid once an OP_OPEN is done. */
struct lane_job {
    uint32_t rank, workers, servers;
};

struct lane;

struct lane_duties {
    /* An op has come and is the last in lane->running. Ends it with
     * lane_done(), at once or later. */
    void (*begin)(struct lane *lane, struct kvw_op *op);

    /* Before the loop sleeps. True: not done yet; come again after a look at
     * the mail. */
    bool (*work)(struct lane *lane);

    /* Nothing new comes any more. Calls lane_end(), at once or later. */
    void (*stop)(struct lane *lane);

    /* The thread has ended. */
    void (*free)(struct lane *lane);

    /* Rows that are pushed may be wherever the caller has them. */
    bool scattered;
};

struct lane {
    const struct lane_duties *duties;
    const struct options *options;
    const struct lane_job *job;
    struct op_pool *pool;
    struct list running; /* Ops; whose they are may keep them elsewhere. */

    /* Private. */
    uv_thread_t thread;
    uv_loop_t loop;
    struct mailbox mailbox;
    struct mail stop_mail;
    uv_prepare_t prepare;
    uv_idle_t awake; /* Runs while the loop must not sleep. */
    struct list finished;
    uint64_t turns; /* Ops that have come. */
    bool stopping;
};

/* Everything but the thread: handles may be added to the loop. KV_ENOMEM,
 * KV_EAGAIN. */
KV_MUST_CHECK enum kv_status lane_init(struct lane *lane,
                                       const struct lane_duties *duties,
                                       const struct options *options,
                                       const struct lane_job *job,
                                       struct op_pool *pool);
KV_MUST_CHECK enum kv_status lane_start(struct lane *lane);

/* Instead of lane_start(), or when that has failed. All other handles on the
 * loop are being closed. */
void lane_drop(struct lane *lane);

/* Hand over a started op. On the lane it begins at once. */
void lane_submit(struct lane *lane, struct kvw_op *op);

bool lane_here(const struct lane *lane);

/* The op ends with its status and text; nothing of the caller's runs before
 * the turn is over. */
void lane_done(struct lane *lane, struct kvw_op *op);
void lane_cancel(struct lane *lane, struct list *ops);

/* After `stop`: no handle but the lane's own is left, or they are closing.
 * Whatever still runs ends with KV_ECANCELED. */
void lane_end(struct lane *lane);

/* Stop, wait for the thread, free; not from the lane. */
void lane_close(struct lane *lane);

#endif
