/**
 * finite - are all elements of an array numbers, neither NaN nor infinite?
 *
 * By their bits, so whatever the processor's mode.
 *
 * Thread:  any.
 * Memory:  borrows. Any alignment.
 */
#ifndef KV_COMMON_COMPUTE_FINITE_H
#define KV_COMMON_COMPUTE_FINITE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/compute/dtype.h"

/* Integers always are. */
bool kv_finite(enum kv_dtype dtype, const void *x, size_t count);

#endif
