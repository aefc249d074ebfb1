/* sync - a round is one push of every member; a pull waits for its round. */
#include "server/policy.h"

static uint64_t committed(const struct policy_view *v, uint32_t rank)
{
    (void)rank;
    return v->round;
}

static bool closes(const struct policy_view *v)
{
    return v->arrived == v->members;
}

static bool readable(const struct policy_view *v, uint32_t rank, uint64_t round)
{
    (void)rank;
    return v->round >= round;
}

const struct policy policy_sync = {
    .name = "sync",
    .id = KV_POLICY_SYNC,
    .per_rank = false,
    .committed = committed,
    .closes = closes,
    .readable = readable,
};
