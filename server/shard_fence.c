#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "server/shard_settings.h"

/* --- Policy --------------------------------------------------------------- */

enum kv_status shard_recover_policy(struct shard *s, char *error,
                                    size_t error_size)
{
    uint64_t id = arena_words(s->arena)[SHARD_WORD_POLICY];

    if (id == 0) {
        return KV_OK;
    }
    s->policy = id > UINT32_MAX ? NULL : policy_by_id((uint32_t)id);
    if (s->policy == NULL) {
        snprintf(error, error_size, "the arena has a policy %llu, unknown here",
                 (unsigned long long)id);
        return KV_EMISMATCH;
    }
    return KV_OK;
}

enum kv_status shard_policy(struct shard *s, uint32_t policy_id, uint32_t rank,
                            char *error, size_t error_size)
{
    const struct policy *asked = policy_by_id(policy_id);

    if (asked == NULL) {
        snprintf(error, error_size,
                 "rank %u asks for policy %u, which this server does not have",
                 rank, policy_id);
        return KV_EINVAL;
    }
    if (s->policy == NULL) {
        arena_store(&arena_words(s->arena)[SHARD_WORD_POLICY], policy_id);
        s->policy = asked;
    }
    if (s->policy != asked) {
        snprintf(error, error_size,
                 "rank %u asks for policy %s, but the job runs with %s", rank,
                 asked->name, s->policy->name);
        return KV_EMISMATCH;
    }
    return KV_OK;
}

/* --- Incarnations --------------------------------------------------------- */

enum kv_status shard_make_fence(struct shard *s, char *error, size_t error_size)
{
    size_t size = sizeof *s->fence + s->workers * sizeof s->fence->rank[0];
    struct fence_block *fence = s->fence;

    if (fence == NULL) {
        fence = arena_alloc(s->arena, size);
        if (fence == NULL) {
            snprintf(error, error_size, "the arena has no room for %zu bytes",
                     size);
            return KV_ENOSPC;
        }
        memset(fence, 0, size);
        fence->workers = s->workers;
        arena_keep(s->arena, fence, SHARD_KIND_FENCE);
        s->fence = fence;
    }
    if (fence->workers != s->workers) {
        snprintf(error, error_size,
                 "the arena is of a job of %llu workers, this one has %u",
                 (unsigned long long)fence->workers, s->workers);
        return KV_EMISMATCH;
    }
    shard_count_members(s);
    return KV_OK;
}

enum kv_status shard_fence(struct shard *s, uint32_t rank, uint64_t incarnation,
                           uint64_t token)
{
    uint64_t *highest, *process;

    KV_CHECK(rank < s->workers);
    highest = &s->fence->rank[rank].incarnation;
    process = &s->fence->rank[rank].token;
    if (incarnation < *highest ||
        (incarnation == *highest && *process != 0 && *process != token)) {
        return KV_ESTALE;
    }
    if (incarnation > *highest) {
        /* In this order, a kill never leaves the new life with the token of
         * the old, which would lock the new one out. */
        arena_store(process, 0);
        arena_store(highest, incarnation);
        shard_count_members(s); /* What the old one has left counts no more. */
    }
    if (*process != token) {
        arena_store(process, token);
    }
    return KV_OK;
}
