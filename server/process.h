/**
 * process - what is set once for the whole daemon: limits, signals, crashes.
 *
 * A process that crashes by itself (SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL)
 * may have written nonsense before. Its arenas are marked, so that the next
 * start asks the operator. SIGKILL marks nothing: the state is as good as it
 * ever was.
 *
 * Thread:  main, before others start and after they have ended.
 */
#ifndef KV_SERVER_PROCESS_H
#define KV_SERVER_PROCESS_H

#include <stddef.h>
#include <stdint.h>

/* Files for the owner only, as many descriptors as allowed, SIGPIPE ignored. */
void process_prepare(void);

/* No core dumps, no debugger, and this piece of memory is never swapped. */
void process_protect(const void *secret, size_t size);

/* Words to be set to the number of the signal in a crash; kept until
 * process_forget(). At most PROCESS_SUSPECTS_MAX. */
#define PROCESS_SUSPECTS_MAX 65
void process_suspect(volatile uint64_t *word);
void process_catch_crashes(void);
void process_forget(void);

#endif
