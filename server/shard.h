/**
 * shard - the slices one thread owns, and the rules by which they change.
 *
 * Pure logic over an arena: no sockets, threads or clock. Requests go in; what
 * a call finished comes out through `events`, before the call returns. The
 * same calls always give the same results, so a test can play a whole training
 * job, with crashes, in one thread and without waiting.
 *
 *   session --> shard_push() --> contribution of that rank to the open round
 *                                round complete (policy)?
 *                                  sum in rank order, rule, new block, one
 * store
 *                                  --> answers to all who pushed or wait to
 * pull
 *
 * Exactly once: (slot, rank, round) names a push. At or below what is
 * committed it is answered again and not applied; one more is this rank's
 * contribution; anything beyond is refused. A rank has one session at a time,
 * and what that session contributed to rounds still open goes with it
 * (shard_forget): its worker sends it again.
 *
 * Some rules need norms of the whole key, whose slices lie on several shards.
 * Then a round that is complete is measured first, its sums go to the ranks
 * that pushed, and it is committed with the totals that come back: the workers
 * have links to all shards, and resend whatever is unanswered. Sums stay with
 * the value for a rank that missed them.
 *
 * The sum is a left fold in rank order, whatever the order of arrival.
 *
 * Thread:  whichever one calls, with kv_flush_denormals() in force.
 * Memory:  a call takes or borrows its payload as it says. In the steady state
 *          nothing is allocated but from the pool and the arena's free blocks.
 */
#ifndef KV_SERVER_SHARD_H
#define KV_SERVER_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bufpool.h"
#include "common/base/status.h"
#include "common/codec/codec.h"
#include "common/optim/optim.h"
#include "proto/message.h" /* struct run */
#include "server/arena.h"
#include "server/policy.h"

struct shard;
struct entry; /* A slice. */

struct shard_answer {
    uint32_t rank, slot;
    uint32_t more; /* Of a push: that many slots behind it share the answer. */
    uint64_t round;
    enum kv_status status; /* KV_EAGAIN: put back, send it again later. */
    bool pull;             /* Else of a push. */
    size_t size;           /* Of a pull that is KV_OK. */
    const void *value;     /* NULL: rows, which shard_collect() copies. */
    void *block; /* Holds `value`; arena_hold() it to keep it after the call. */
    const struct entry *table; /* Of the rows... */
    const void *wanted;        /* ...that are these; NULL: all of them. */
    uint32_t wanted_count;
    const char *text; /* Of an error; borrowed. */
};

#define SHARD_NOBODY UINT32_MAX

struct shard_skip {
    uint32_t culprit; /* The lowest rank whose part is not finite, or
                         SHARD_NOBODY. */
    bool fails;       /* By nonfinite=error. */
};

struct shard_events {
    void (*answer)(void *ctx, const struct shard_answer *a);
    void (*opened)(void *ctx, uint32_t rank, uint64_t request_id,
                   enum kv_status status, const char *text, uint32_t slot,
                   uint64_t round, bool reset);
    /* The slice's sums of a pass, of the round that this rank has pushed: the
     * worker adds those of all slices of the key, and shard_totals() wants the
     * result from one rank. */
    void (*norms)(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                  uint32_t pass, const double *sums);
    /* The push of this rank that is answered next has changed nothing: the sum
     * is not finite. */
    void (*skipped)(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                    const struct shard_skip *skip);
    /* The rank holds less than before: its reading may go on. Must not call
     * back into the shard. */
    void (*released)(void *ctx, uint32_t rank);
    /* So many answers wait to go out to the rank that those of its pulls which
     * waited wait on, until shard_drained(). */
    bool (*full)(void *ctx, uint32_t rank);
    void *ctx;
};

/* Recovers what the arena has. */
KV_MUST_CHECK enum kv_status shard_new(struct arena *arena, uint32_t workers,
                                       struct bufpool *buffers,
                                       const struct shard_events *events,
                                       struct shard **out, char *error,
                                       size_t error_size);
void shard_free(struct shard *s);

/* The job's policy; the first call decides and is kept in the arena.
 * KV_EMISMATCH names both. */
KV_MUST_CHECK enum kv_status shard_policy(struct shard *s, uint32_t policy_id,
                                          uint32_t rank, char *error,
                                          size_t error_size);

/* The highest life of this rank that may speak: KV_ESTALE for an older one, or
 * for another process (token) of the same. Kept in the arena. */
KV_MUST_CHECK enum kv_status shard_fence(struct shard *s, uint32_t rank,
                                         uint64_t incarnation, uint64_t token);

/* Rounds close without this rank from now on, or need its push again. It may
 * have nothing open when it leaves: KV_EBUSY. Kept in the arena until it comes
 * back or a higher life of it is seen. Under async nothing changes. */
KV_MUST_CHECK enum kv_status shard_member(struct shard *s, uint32_t rank,
                                          bool in, char *error,
                                          size_t error_size);
bool shard_is_member(const struct shard *s, uint32_t rank);
uint32_t shard_left(const struct shard *s); /* Ranks that are none. */

/* The last push of this rank that is committed, or that it has missed, of the
 * first slice from *slot on, which becomes its slot. False: there is none. */
bool shard_pushed(const struct shard *s, uint32_t rank, uint32_t *slot,
                  uint64_t *round);

struct slice_desc {
    uint32_t key_id, slice;
    uint32_t dtype; /* Off the wire; checked here. */
    uint64_t count;
    uint64_t row_length; /* Elements; 0 when dense. */
    uint32_t slices;     /* Of the key. */
    bool plain;          /* No trust ratio for it (lars). */
    uint64_t width;      /* Of a dense row; 0: rows are cut. */
    uint64_t deletions;  /* The last that the root knew of, when it said so. */
};

/* Create (value != NULL, borrowed, size bytes) or attach. `opened` runs at
 * once, or, for one that is not there yet, when it is. KV_EAGAIN: the key may
 * have been deleted meanwhile; ask the root again. */
void shard_open(struct shard *s, uint32_t rank, uint64_t request_id,
                const struct slice_desc *desc, const void *value, size_t size);

/* What those are told who have to do with a slice that is gone. */
#define SHARD_DELETED "the key was deleted"

/* The slice goes, with its memory, if it is there: what waits for it is
 * answered KV_ENOTFOUND. `deletion` is the root's number of it: whoever wants
 * to open a slice that is not there must have heard of that one. */
void shard_drop(struct shard *s, uint32_t key_id, uint32_t slice,
                uint64_t deletion);

/* Rounds committed. KV_ENOTFOUND. */
KV_MUST_CHECK enum kv_status shard_version(const struct shard *s,
                                           uint32_t key_id, uint32_t slice,
                                           uint64_t *version);

/* What time it is, for the pushes and pulls to come: what has to wait, waits
 * since. */
void shard_clock(struct shard *s, uint64_t now_ms);

/* The contribution of `rank`: `size` bytes in `codec`. When `buffer` is not
 * NULL it holds the payload and is taken; else the payload is borrowed. */
void shard_push(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round,
                uint32_t codec, const void *payload, size_t size,
                struct buffer *buffer);

/* One push for each slice of the run, whose payloads lie one behind the other
 * and are borrowed. */
void shard_push_run(struct shard *s, uint32_t rank, const struct run *run,
                    uint32_t codec, const void *payload);

/* shard_push() with some rows of a row_sparse slice: the payload is u32 n, n
 * u32 rows in ascending order, and then those rows. */
void shard_push_rows(struct shard *s, uint32_t rank, uint32_t slot,
                     uint64_t round, uint32_t codec, const void *payload,
                     size_t size, struct buffer *buffer);

/* The rank's part in a round that begins the value anew, with fresh state: the
 * value, or nothing, when another rank brings it. All parts of a round are
 * such, or none: KV_EMISMATCH, to all who are in it. */
void shard_push_reset(struct shard *s, uint32_t rank, uint32_t slot,
                      uint64_t round, const void *value, size_t size,
                      struct buffer *buffer);

/* The whole value. */
void shard_pull(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round);

void shard_pull_run(struct shard *s, uint32_t rank, const struct run *run);

/* Some rows of a row_sparse slice, `count` of at least 1: u32 each, ascending,
 * borrowed. */
void shard_pull_rows(struct shard *s, uint32_t rank, uint32_t slot,
                     uint64_t round, const void *rows, uint32_t count);

/* Copy the rows of an answer, `size` bytes; during the call that brings it. */
void shard_collect(struct shard *s, const struct shard_answer *a, void *out);

/* KV_NORMS_MAX sums over the whole key, of a pass of the round that this rank
 * has pushed. What is late or not asked for is ignored. */
void shard_totals(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round,
                  uint32_t pass, const double *totals);

/* The session of this rank ended. */
void shard_forget(struct shard *s, uint32_t rank);

/* The rank is not full any more: what waited for that is answered. */
void shard_drained(struct shard *s, uint32_t rank);

/* Bytes that this rank's contributions to open rounds occupy. */
size_t shard_held(const struct shard *s, uint32_t rank);

/* Every rank waits for another or has reached its bound; blocked[rank] says
 * which. Put back what the blocked ones hold, so that one open round comes
 * nearer to its end. Call it again as long as nothing is committed: each time
 * it goes a step further, so that in the end something is. */
void shard_untangle(struct shard *s, const bool *blocked);

/* For every slice, in force from its next round on. The same optimizer with
 * the same parameters changes nothing, not even what shard_hyper() has changed
 * since; another one starts with fresh state. */
KV_MUST_CHECK enum kv_status shard_optimizer(struct shard *s,
                                             const struct kv_optim_spec *spec,
                                             char *error, size_t error_size);

/* What shard_optimizer() would say; nothing is set. */
KV_MUST_CHECK enum kv_status
shard_check_optimizer(const struct shard *s, const struct kv_optim_spec *spec,
                      char *error, size_t error_size);

/* A number of the optimizer, lr_mult or wd_mult, for all slices or for one
 * (KV_HYPER_ALL_MAX, KV_HYPER_OWN_MAX); all state is kept. In force from that
 * round of a slice on, 0 standing for its next. What a slice has of its own
 * goes before what all have. The same change again changes nothing; the next
 * optimizer ends it. */
struct hyper_change {
    const char *name;
    double value;
    uint64_t round;
    bool one; /* This slice alone. */
    uint32_t key_id, slice;
};

/* KV_EINVAL: no such number or value, or the round is committed. */
KV_MUST_CHECK enum kv_status shard_hyper(struct shard *s,
                                         const struct hyper_change *c,
                                         char *error, size_t error_size);

/* Open rounds, or waiting pulls, that are older than `age_ms`: the oldest for
 * each rank that waits. `missing` are the members it waits for; none of them,
 * if all that it has open is being measured for norms. */
typedef void (*shard_stall_fn)(void *ctx, uint32_t rank, uint32_t slot,
                               uint64_t round, uint64_t since_ms,
                               const uint32_t *missing, uint32_t missing_count);
void shard_stalls(struct shard *s, uint64_t now_ms, uint64_t age_ms,
                  shard_stall_fn each, void *ctx);

/* The oldest Open of this rank that waits for rank 0 to bring the slice's
 * value. False: none does. */
bool shard_open_waits(const struct shard *s, uint32_t rank,
                      uint64_t *request_id, uint64_t *since_ms);

/* Rounds committed since shard_new(); grows as long as anything moves. */
uint64_t shard_commits(const struct shard *s);

struct shard_census {
    uint64_t slices, rounds_max, value_bytes, state_bytes;
    bool used; /* There are slices, or some were dropped. */
};
void shard_census(const struct shard *s, struct shard_census *out);

#endif
