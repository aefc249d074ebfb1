#include "tests/fakes/fake_clock.h"

#include <stdatomic.h>

#include "common/base/clock.h"

static _Atomic uint64_t now_ms = 1000;

void fake_clock_advance_ms(uint64_t ms)
{
    atomic_fetch_add(&now_ms, ms);
}

uint64_t clock_ns(void)
{
    return clock_ms() * UINT64_C(1000000);
}

uint64_t clock_ms(void)
{
    return atomic_load(&now_ms);
}
