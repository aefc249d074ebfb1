/**
 * local_pieces - large values dealt out to a team in pieces, which share
 * nothing that one of them writes.
 *
 * Thread:  the lane's.
 */
#ifndef KV_WORKER_LOCAL_PIECES_H
#define KV_WORKER_LOCAL_PIECES_H

#include <stddef.h>

#include "worker/team.h"

#define LOCAL_PIECE ((size_t)16384) /* Elements; of a copy, bytes. */

/* Below this many bytes read and written waking others takes longer. */
#define LOCAL_TEAM_MIN_BYTES ((size_t)1 << 20)

static inline void local_each(struct team *team, size_t moved_bytes, team_fn fn,
                              const void *task, size_t pieces)
{
    if (moved_bytes >= LOCAL_TEAM_MIN_BYTES) {
        team_run(team, fn, task, pieces);
        return;
    }
    for (size_t i = 0; i < pieces; i++) {
        fn(task, i);
    }
}

static inline void local_pieces(struct team *team, size_t moved_bytes,
                                team_fn fn, const void *task, size_t count)
{
    local_each(team, moved_bytes, fn, task,
               (count + LOCAL_PIECE - 1) / LOCAL_PIECE);
}

/* Of a piece of `count` elements. */
static inline size_t local_length(size_t piece, size_t count)
{
    size_t left = count - piece * LOCAL_PIECE;

    return left < LOCAL_PIECE ? left : LOCAL_PIECE;
}

#endif
