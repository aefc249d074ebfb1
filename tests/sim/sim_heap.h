/**
 * sim_heap - mem.h with a list for each process, in place of common/base/mem.c.
 *
 * A process that is killed frees nothing; here it is freed for it. One that
 * ends in good order must have freed all.
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_HEAP_H
#define KV_TESTS_SIM_SIM_HEAP_H

#include <stddef.h>

#define SIM_HEAP_NOBODY 0u /* The simulation itself. */
#define SIM_HEAP_PROCESSES 16u

/* Whose memory is asked for from now on; returns who it was before. */
unsigned sim_heap_enter(unsigned process);

/* What this process has not freed yet. */
size_t sim_heap_live(unsigned process);

void sim_heap_kill(unsigned process);

#endif
