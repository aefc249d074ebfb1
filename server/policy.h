/**
 * policy - when a round ends, and what a pull may see.
 *
 * One policy is one file in server/policies; the folder is the registry.
 *
 * Thread:  pure functions.
 */
#ifndef KV_SERVER_POLICY_H
#define KV_SERVER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h" /* enum kv_policy_id */

/* What a policy may look at. */
struct policy_view {
    uint64_t round;      /* Committed rounds of the slice. */
    const uint64_t *seq; /* By rank: pushes committed. NULL unless per_rank. */
    uint32_t members;    /* Ranks of the job, but for those that have left. */
    uint32_t arrived;    /* Members that have contributed to the open round. */
};

struct policy {
    const char *name;
    uint32_t id;   /* What a worker's hello asks for; its own, not 0. */
    bool per_rank; /* Values carry seq[workers], committed with the data. */

    /* The last push of this rank that is committed: the next is one more. */
    uint64_t (*committed)(const struct policy_view *v, uint32_t rank);

    /* May the open round, which has contributions, close now? */
    bool (*closes)(const struct policy_view *v);

    /* May a pull be answered that asks for this rank's push `round`? */
    bool (*readable)(const struct policy_view *v, uint32_t rank,
                     uint64_t round);
};

/* NULL if there is none: off the wire; the i-th of all. */
const struct policy *policy_by_id(uint32_t id);
const struct policy *policy_at(size_t i);

#endif
