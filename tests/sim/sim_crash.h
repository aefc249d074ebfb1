/**
 * sim_crash - die in the middle of it.
 *
 * The calls that change an arena, and those that send, are crash points: the
 * link puts these in their place (--wrap), and one that was armed leaves by
 * longjmp, as kill -9 does, without a word to anyone.
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_CRASH_H
#define KV_TESTS_SIM_SIM_CRASH_H

#include <stdbool.h>
#include <stdint.h>

/* Run `call`. It dies at the crash point number `at`, from 1; 0: at none.
 * False: it died. */
bool sim_crash_run(void (*call)(void *arg), void *arg, uint32_t at);

void sim_crash_point(void);

/* Count held bytes that often, to make memory short. */
void sim_crash_held_factor(uint32_t factor);

#endif
