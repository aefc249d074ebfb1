/**
 * shard_settings - what the files of a shard share about its settings: the
 * optimizer and its numbers, policy and fence.
 *
 * Thread:  the shard's.
 */
#ifndef KV_SERVER_SHARD_SETTINGS_H
#define KV_SERVER_SHARD_SETTINGS_H

#include "server/shard_private.h"

/* --- shard_tune.c --------------------------------------------------------- */

/* After a change of settings. */
void shard_untune(struct shard *s);
void shard_retune(struct shard *s, const struct entry *e);

/* Before a round of the slice is measured or committed: s->spec and s->tuning
 * are what is in force for it. */
static inline void shard_tune(struct shard *s, const struct entry *e)
{
    const struct tuning *t = &s->tuning;

    if (e->own != NULL || t->own ||
        e->value->round + 1 - t->first >= t->rounds) {
        shard_retune(s, e);
    }
}

/* What the rule needs for this many updates, as tuned, of such weights. */
const void *shard_step(struct shard *s, enum kv_dtype dtype, uint64_t updates);

/* The same; what its norms have made of it, if the round was measured. */
static inline const void *
shard_round_step(struct shard *s, const struct entry *e, uint64_t updates)
{
    return e->measure != NULL ? e->measure->step
                              : shard_step(s, e->dtype, updates);
}

/* --- shard_open.c, shard_optim.c, shard_hyper.c, shard_fence.c ------------ */

void shard_forget_opens(struct shard *s, uint32_t rank);

/* Make the settings with these changes for all keys live, by one store. */
KV_MUST_CHECK enum kv_status
shard_install(struct shard *s, const struct kv_optim_spec *spec,
              uint64_t generation, const struct kv_hyper *hypers, size_t count,
              char *error, size_t error_size);

/* Another optimizer is in force: let go of single keys' settings of the one
 * before. Again at recovery, in case a kill came between. */
void shard_drop_own(struct shard *s);

/* What its record points to. KV_EDATALOSS. */
KV_MUST_CHECK enum kv_status shard_recover_own(struct shard *s,
                                               struct entry *e);

/* Read what the arena says, before and after arena_recovered(). */
KV_MUST_CHECK enum kv_status shard_recover_spec(struct shard *s, char *error,
                                                size_t error_size);
KV_MUST_CHECK enum kv_status shard_recover_policy(struct shard *s, char *error,
                                                  size_t error_size);
KV_MUST_CHECK enum kv_status shard_make_fence(struct shard *s, char *error,
                                              size_t error_size);

#endif
