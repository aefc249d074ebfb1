/**
 * local_engine - the duties of a local store's lane: all is in this process.
 *
 *     lane.c -> local_engine.c   a queue by priority, one item after the other
 *               local_value.c    assign, optimize, or call the updater
 *               local_math.c     piece by piece, on the team
 *
 * Operations on one key are done in the order in which they came. An operation
 * of higher priority goes before those of lower priority that share no key with
 * it, even if they have begun. What sets the rule passes nobody, and nobody
 * passes it: else those who push without end could keep it waiting.
 *
 * Thread:  local_engine_open() is for any.
 * Memory:  borrows options and pool until lane_close() has returned.
 */
#ifndef KV_WORKER_LOCAL_ENGINE_H
#define KV_WORKER_LOCAL_ENGINE_H

#include "worker/kind.h"

/* KV_ENOMEM, KV_EAGAIN. */
KV_MUST_CHECK enum kv_status local_engine_open(struct lane **out,
                                               const struct kind *kind,
                                               const struct options *options,
                                               struct op_pool *pool);

#endif
