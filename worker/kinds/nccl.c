/* nccl - the values of one process, on its GPUs, summed by NCCL. */
#include "worker/kind.h"

extern const struct kind kind_nccl;
const struct kind kind_nccl = {
    .name = "nccl",
    .missing = "there is no CUDA device support in this build; 'local' does "
               "the same with tensors in host memory",
};
