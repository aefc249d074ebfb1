/* dist_device_async - dist_async that sums a worker's tensors on their devices.
 * Those of this build are in host memory, and so is the sum. */
#include "worker/engine.h"

extern const struct kind kind_dist_device_async;
const struct kind kind_dist_device_async = {
    .name = "dist_device_async",
    .aliases = {"dist_async_device"},
    .open = engine_open,
    .policy = KV_POLICY_ASYNC,
};
