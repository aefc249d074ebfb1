/* async - every push is a round of its own; a pull waits for the rank's own
 * pushes only. The order between ranks is as they come: not reproducible. */
#include "server/policy.h"

static uint64_t committed(const struct policy_view *v, uint32_t rank)
{
    return v->seq[rank];
}

static bool closes(const struct policy_view *v)
{
    return v->arrived > 0;
}

static bool readable(const struct policy_view *v, uint32_t rank, uint64_t round)
{
    return v->seq[rank] >= round;
}

const struct policy policy_async = {
    .name = "async",
    .id = KV_POLICY_ASYNC,
    .per_rank = true,
    .committed = committed,
    .closes = closes,
    .readable = readable,
};
