/**
 * shard_commit - how a round that is complete becomes the value.
 *
 * Thread:  the shard's.
 */
#ifndef KV_SERVER_SHARD_COMMIT_H
#define KV_SERVER_SHARD_COMMIT_H

#include "server/shard_private.h"

/* --- shard_round.c -------------------------------------------------------- */

/* The policy lets the open round close: commit and answer. When there is no
 * room for it, its pushes are refused and nothing changes. */
void shard_close_round(struct shard *s, struct entry *e);

/* One, or everyone, in the open round is told s->text, and is in it no more. */
void shard_refuse_share(struct shard *s, const struct entry *e,
                        struct share *share, enum kv_status status);
void shard_refuse_round(struct shard *s, struct entry *e,
                        enum kv_status status);

/* By one store; what it replaces is let go. */
void shard_make_live(struct shard *s, struct entry *e, struct value *next);

/* The parts of that head which count: rounds, and norms for who missed them. */
void shard_count_round(const struct shard *s, const struct entry *e,
                       struct value *next);
void shard_keep_norms(const struct entry *e, struct value *next);

/* The head of the value after this round: of the block, all but the data. */
void shard_next_head(const struct shard *s, const struct entry *e,
                     struct value *next);

/* Their payloads and codecs become the inputs of a sum; returns how many. */
size_t shard_inputs(struct shard *s, const struct entry *e);

/* The round of a dense slice, of the first n of s->inputs in s->codecs.
 * KV_ENOSPC: nothing has changed. */
KV_MUST_CHECK enum kv_status shard_commit(struct shard *s, struct entry *e,
                                          size_t n);

/* A block of the round: all that a rule reads, from `first` on, of n inputs. */
void shard_block(struct shard *s, const struct entry *e,
                 const struct shard_change *c, size_t n, size_t first,
                 struct kv_optim_args *args);

/* From the live value to `new`, or to nothing yet. */
struct shard_change shard_change(const struct shard *s, const struct entry *e,
                                 void *new);

/* A number that no other element of any key has: for sgld's noise. */
static inline uint64_t shard_element(const struct entry *e, size_t index)
{
    return (uint64_t)e->key_id << 40 | (uint64_t)e->slice << 22 | index;
}

/* --- shard_reset.c -------------------------------------------------------- */

/* Commit a round of resets. KV_ENOSPC, or KV_EINVAL with a sentence: nothing
 * has changed. */
KV_MUST_CHECK enum kv_status shard_reset(struct shard *s, struct entry *e);

/* A push that does not fit the open round, one of the two being a reset: no
 * push of the round can stay. */
enum kv_status shard_reset_mixed(struct shard *s, struct entry *e,
                                 uint32_t rank, uint64_t round);

/* --- shard_skip.c --------------------------------------------------------- */

/* While a round is committed: begin, look at each piece of the sum, and at the
 * totals of norms; then, if it is spoiled, skip. Nothing is under `allow`. */
void shard_guard_begin(struct shard *s, const struct entry *e);
void shard_guard(struct shard *s, enum kv_dtype dtype, const void *sum,
                 size_t count);
void shard_guard_totals(const struct shard *s, struct measure *m,
                        const double *totals);

/* Commit the round with the value as it was. KV_ENOSPC: nothing changed. */
KV_MUST_CHECK enum kv_status shard_skip(struct shard *s, struct entry *e);

/* Before the answer to a push of that round, the first or a later one. */
void shard_tell_skip(struct shard *s, uint32_t rank, const struct entry *e,
                     uint64_t round);

/* --- shard_norms.c -------------------------------------------------------- */

/* Does this round have to be measured, by others' help? */
bool shard_norms_needed(const struct shard *s, const struct entry *e);

/* The complete round has all that it needs: commit it. Otherwise it is asked
 * for, and the round is closed by shard_totals(). KV_ENOMEM. */
KV_MUST_CHECK enum kv_status shard_norms_ready(struct shard *s, struct entry *e,
                                               bool *ready);

/* The round is committed, or not complete any more. */
void shard_norms_end(struct shard *s, struct entry *e);

/* The rank pushes a round again that was committed with these sums. */
void shard_norms_again(struct shard *s, uint32_t rank, const struct entry *e,
                       uint64_t round);
void shard_free_norms(struct shard *s);

/* Adds a block's sums to those of the pass. */
void shard_measure_block(const struct shard *s, const struct entry *e,
                         const struct kv_optim_args *args);

#endif
