/**
 * mem - the one allocator.
 *
 * Everything of ours that comes from the heap comes from here, so that tests
 * can link tests/fakes/fault_mem.c in its place, which fails the Nth call, and
 * so that a test can prove that a push allocates nothing.
 *
 * Thread:  any.
 * Memory:  the caller owns what it gets and gives it to mem_free().
 * Result:  NULL when out of memory; what was passed in is then untouched.
 */
#ifndef KV_COMMON_BASE_MEM_H
#define KV_COMMON_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#define MEM_ALIGN_MIN 64
#define MEM_ALIGN_MAX 4096

#define MEM_MUST_USE __attribute__((warn_unused_result, malloc))

void *mem_alloc(size_t size) MEM_MUST_USE;

/* count * size bytes of zeros; NULL also when that overflows. */
void *mem_zalloc(size_t count, size_t size) MEM_MUST_USE;

void *mem_realloc(void *p, size_t size) __attribute__((warn_unused_result));

/* `align` is a power of two from MEM_ALIGN_MIN to MEM_ALIGN_MAX. Contents are
 * undefined. */
void *mem_aligned(size_t align, size_t size) MEM_MUST_USE;

/* A copy of a string. */
char *mem_strdup(const char *s) MEM_MUST_USE;

/* Of any of the above; NULL is fine. */
void mem_free(void *p);

/* How often this process has asked for memory so far, through any of them. */
uint64_t mem_allocations(void);

#endif
