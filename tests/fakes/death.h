/**
 * death - does this piece of code abort, as a KV_CHECK makes it?
 *
 * Thread:  a test without other threads.
 */
#ifndef KV_TESTS_FAKES_DEATH_H
#define KV_TESTS_FAKES_DEATH_H

#include <stdbool.h>

/* Run it in a child process whose stderr is closed. */
bool death_of(void (*fn)(void *data), void *data);

#endif
