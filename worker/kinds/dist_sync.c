/* dist_sync - a round of a key ends when every worker has pushed it. */
#include "worker/engine.h"

extern const struct kind kind_dist_sync;
const struct kind kind_dist_sync = {
    .name = "dist_sync",
    .aliases = {"dist"},
    .open = engine_open,
    .policy = KV_POLICY_SYNC,
};
