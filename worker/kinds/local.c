/* local - the values of one process, in its own memory. */
#include "worker/local_engine.h"

extern const struct kind kind_local;
const struct kind kind_local = {
    .name = "local",
    .aliases = {"local_update_cpu", "local_allreduce_cpu"},
    .open = local_engine_open,
};
