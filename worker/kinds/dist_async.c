/* dist_async - every push is applied at once. */
#include "worker/engine.h"

extern const struct kind kind_dist_async;
const struct kind kind_dist_async = {
    .name = "dist_async",
    .open = engine_open,
    .policy = KV_POLICY_ASYNC,
};
