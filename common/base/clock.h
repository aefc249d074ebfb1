/**
 * clock - monotonic time; the only place that asks for it.
 *
 * Never runs backwards and knows nothing of dates, so a changed wall clock
 * ends no deadline. Pure modules are told the time by their caller; a test
 * that wants its own time links tests/fakes/fake_clock.c in place of this.
 *
 * Thread:  any.
 */
#ifndef KV_COMMON_BASE_CLOCK_H
#define KV_COMMON_BASE_CLOCK_H

#include <stdint.h>

/* Since some point before this process began. */
uint64_t clock_ns(void);
uint64_t clock_ms(void);

#endif
