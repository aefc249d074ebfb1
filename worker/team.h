/**
 * team - threads that help the lane of a local store with large values.
 *
 * The lane hands out a task in numbered pieces; it and its helpers take one
 * after the other, until none is left. Between tasks helpers sleep.
 *
 * Thread:  team_run() is the lane's. Pieces run on any of the team, at the same
 *          time, and share nothing that one of them writes.
 * Memory:  a team is one allocation; a task allocates nothing.
 * Result:  team_run() returns when all pieces are done.
 */
#ifndef KV_WORKER_TEAM_H
#define KV_WORKER_TEAM_H

#include <stddef.h>

#include "common/base/status.h"

struct team;

typedef void (*team_fn)(const void *arg, size_t piece);

/* `threads` with the caller's own, at least 1. KV_ENOMEM, KV_EAGAIN. */
KV_MUST_CHECK enum kv_status team_new(struct team **out, unsigned threads);
void team_free(struct team *t);

/* Processors that this process may use. */
unsigned team_processors(void);

void team_run(struct team *t, team_fn fn, const void *arg, size_t pieces);

#endif
