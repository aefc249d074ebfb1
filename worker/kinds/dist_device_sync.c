/* dist_device_sync - dist_sync that sums a worker's tensors on their devices.
 * Those of this build are in host memory, and so is the sum. */
#include "worker/engine.h"

extern const struct kind kind_dist_device_sync;
const struct kind kind_dist_device_sync = {
    .name = "dist_device_sync",
    .aliases = {"dist_sync_device", "dist_device"},
    .open = engine_open,
    .policy = KV_POLICY_SYNC,
};
