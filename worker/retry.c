#include "worker/retry.h"

/* splitmix64 (Steele, Lea and Flood, 2014). */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void retry_init(struct retry *r, uint64_t seed)
{
    r->random = seed;
    r->wait_ms = RETRY_MIN_MS;
}

void retry_worked(struct retry *r)
{
    r->wait_ms = 0;
}

uint64_t retry_next_ms(struct retry *r)
{
    uint64_t wait_ms = r->wait_ms;

    if (wait_ms == 0) {
        r->wait_ms = RETRY_MIN_MS;
        return 0;
    }
    r->wait_ms = 2 * wait_ms < RETRY_MAX_MS ? 2 * wait_ms : RETRY_MAX_MS;
    return wait_ms - draw(&r->random) % (wait_ms / 2 + 1);
}
