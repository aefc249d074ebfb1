/**
 * fault_mem - the allocator, failing when told to.
 *
 * Linked in place of common/base/mem.c by each test that includes this.
 *
 *     for (unsigned n = 1; !done; n++) {
 *         fault_mem_fail(n);           // The nth call from now fails.
 *         done = thing_open(&t) == KV_OK;
 *         fault_mem_fail(0);
 *     }
 *
 * Thread:  any; a test arms it before the threads start.
 */
#ifndef KV_TESTS_FAKES_FAULT_MEM_H
#define KV_TESTS_FAKES_FAULT_MEM_H

#include <stddef.h>

/* Fail the nth call from now, 1 being the next, once. 0: none any more. */
void fault_mem_fail(unsigned nth);

/* As above, and every call after it as well. */
void fault_mem_fail_from(unsigned nth);

/* Pieces given out and not freed yet. */
size_t fault_mem_live(void);

#endif
