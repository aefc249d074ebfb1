/**
 * engine - the lane: one thread, one loop, that does what callers ask.
 *
 *   caller's thread                     the lane
 *     kvw_push() -> op -- mailbox -->  engine.c      takes it
 *                                      engine_transfer.c  parts, to the routes
 *                                      courier.c, route.c ... the servers
 *     kvw_wait() <- op_finish() <----  engine.c      once a turn of the loop
 *
 * What a turn of the loop has finished and what it has to send is dealt with
 * together, before the loop sleeps: callbacks run there, and what they start
 * travels in the same system call.
 *
 * Thread:  engine_here() tells whether the caller is the lane itself, which
 *          must not wait for anything.
 * Memory:  borrows options, type and pool until engine_close() has returned.
 */
#ifndef KV_WORKER_ENGINE_H
#define KV_WORKER_ENGINE_H

#include "worker/op.h"
#include "worker/options.h"
#include "worker/type.h"

struct engine;

/* What the job is; valid once an OP_OPEN is done. */
struct engine_job {
    uint32_t rank, workers, servers;
};

/* Starts the thread. KV_ENOMEM, KV_EAGAIN. */
KV_MUST_CHECK enum kv_status engine_open(struct engine **out,
                                         const struct options *options,
                                         const struct type *type,
                                         struct op_pool *pool);

/* Hand over a started op. On the lane it begins at once. */
void engine_submit(struct engine *e, struct kvw_op *op);

bool engine_here(const struct engine *e);
const struct engine_job *engine_job(const struct engine *e);

/* Whatever still runs ends with KV_ECANCELED. Waits for the thread; not from
 * the lane. */
void engine_close(struct engine *e);

#endif
