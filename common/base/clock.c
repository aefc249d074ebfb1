#include "common/base/clock.h"

#include <time.h>

#include "common/base/check.h"

uint64_t clock_ns(void)
{
    struct timespec now;

    KV_CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t clock_ms(void)
{
    return clock_ns() / UINT64_C(1000000);
}
