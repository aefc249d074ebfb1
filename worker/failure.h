/**
 * failure - the sentence of each thread's last error.
 *
 * A thread remembers it for the last few stores it has used.
 *
 * Thread:  any; each sees only its own.
 * Memory:  in the thread. Sentences stay until the thread's next failure.
 */
#ifndef KV_WORKER_FAILURE_H
#define KV_WORKER_FAILURE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/op.h"

/* 0 stands for kvw_open(); every store has a number of its own. */
#define FAILURE_OPEN 0

/* Remember, and return the status. */
__attribute__((format(printf, 3, 4))) int
failure(uint64_t store, enum kv_status status, const char *fmt, ...);

/* "" if there was none. */
const char *failure_text(uint64_t store);

#endif
