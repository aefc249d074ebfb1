/**
 * retry - when to try a connection again.
 *
 * Waits double from RETRY_MIN_MS to RETRY_MAX_MS. Each is shortened by up to
 * half, so that the workers of a job do not all knock at once. The first retry
 * after a connection that was of use comes without a wait: a server that was
 * restarted is there again before anyone notices.
 *
 * Thread:  pure.
 * Memory:  nothing but the struct.
 * Result:  the same seed gives the same waits.
 */
#ifndef KV_WORKER_RETRY_H
#define KV_WORKER_RETRY_H

#include <stdint.h>

#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 2000

struct retry {
    /* Private. */
    uint64_t random;
    uint64_t wait_ms; /* The next one, before it is shortened. */
};

void retry_init(struct retry *r, uint64_t seed);

/* The connection was of use: something was answered on it. A mere welcome is
 * not enough, or a server that greets and hangs up would be asked without end
 * and without a pause. */
void retry_worked(struct retry *r);

/* How long to wait now; each call is one more failure. */
uint64_t retry_next_ms(struct retry *r);

#endif
