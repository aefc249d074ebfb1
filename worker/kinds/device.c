/* device - the values of one process, on its GPUs. */
#include "worker/kind.h"

extern const struct kind kind_device;
const struct kind kind_device = {
    .name = "device",
    .aliases = {"local_allreduce_device"},
    .missing = "there is no CUDA device support in this build; 'local' does "
               "the same with tensors in host memory",
};
