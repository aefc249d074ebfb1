/**
 * shard_thread - a thread, a loop and a mailbox around one shard.
 *
 * Owns the shard, its arena, and the links and sessions of the ranks that talk
 * to it. A socket comes in as mail, already proved; from then on no other
 * thread touches it.
 *
 *   adopt: link_open -> policy, fence -> the rank's session before this one
 *          ends -> Welcome -> frames
 *
 * A timer runs while a rank waits for something: it puts back what ranks have
 * pushed in orders that block each other, and says who is missing.
 *
 * Thread:  open, start, stop and fini are the main loop's, adopt too; all else
 *          happens on its own.
 * Memory:  the owner keeps the struct until shard_thread_fini().
 */
#ifndef KV_SERVER_SHARD_THREAD_H
#define KV_SERVER_SHARD_THREAD_H

#include <uv.h>

#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/mailbox.h"
#include "proto/handshake.h"
#include "proto/link.h"
#include "server/arena.h"
#include "server/shard.h"

struct seat; /* A rank's link and session. */

struct shard_thread {
    uint32_t index;      /* Of the shard in its server. */
    struct arena *arena; /* Owned. */
    /* Private. */
    uint32_t workers;
    uv_thread_t thread;
    bool started;
    uv_loop_t loop;
    struct mailbox mailbox;
    struct mail stop;
    struct link_hub hub;
    struct shard *shard;
    struct log_limit refusals;
    struct list seats;     /* All links, those that are closing too. */
    struct seat **by_rank; /* The one that speaks for it, or NULL. */
    struct list dirty;     /* Seats with answers to flush. */
    uv_timer_t tick;
    uint64_t commits;          /* At the last tick. */
    uint64_t ticks, ticked_ms; /* So far, and when the last one was. */
    uint64_t line_ms;          /* When to name the missing again. */
    bool *waits;               /* By rank; of the last look. */
    bool named, stopping;
};

/* Open the arena and recover the shard. The sentence says what is wrong. */
KV_MUST_CHECK enum kv_status
shard_thread_open(struct shard_thread *t, uint32_t index,
                  const struct arena_config *config, char *error,
                  size_t error_size);

/* Before it is started. */
void shard_thread_census(const struct shard_thread *t,
                         struct shard_census *out);

KV_MUST_CHECK enum kv_status shard_thread_start(struct shard_thread *t);

/* Takes the socket of a peer that has proved itself. */
void shard_thread_adopt(struct shard_thread *t, int fd,
                        const struct hello *hello);

/* Finish the links and end the thread; returns at once. */
void shard_thread_stop(struct shard_thread *t);

/* Wait for the thread, if it was started, and free everything. */
void shard_thread_fini(struct shard_thread *t);

#endif
