/**
 * engine - the duties of a dist store's lane: what is on servers.
 *
 *     lane.c -> engine.c             takes an op
 *               engine_transfer.c    parts, to the routes
 *               courier.c, route.c   ... the servers
 *
 * What a turn of the loop has to send is sent together, before the loop
 * sleeps: what callbacks start travels in the same system call.
 *
 * Thread:  engine_open() is for any; the rest is the lane's.
 * Memory:  borrows options and pool until lane_close() has returned.
 */
#ifndef KV_WORKER_ENGINE_H
#define KV_WORKER_ENGINE_H

#include "worker/kind.h"

/* Starts the lane of a store whose kind has a policy. KV_ENOMEM, KV_EAGAIN. */
KV_MUST_CHECK enum kv_status engine_open(struct lane **out,
                                         const struct kind *kind,
                                         const struct options *options,
                                         struct op_pool *pool);

#endif
