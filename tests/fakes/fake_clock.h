/**
 * fake_clock - time that moves only when the test says so.
 *
 * Linked in place of common/base/clock.c by each test that includes this.
 *
 * Thread:  any.
 */
#ifndef KV_TESTS_FAKES_FAKE_CLOCK_H
#define KV_TESTS_FAKES_FAKE_CLOCK_H

#include <stdint.h>

/* Starts at one second, so that "a second ago" is not below zero. */
void fake_clock_advance_ms(uint64_t ms);

#endif
