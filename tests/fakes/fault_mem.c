#include "tests/fakes/fault_mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

static atomic_ullong calls;
static atomic_ullong fail_at; /* Compared with `calls`; 0: never. */
static atomic_bool fail_on;   /* Also every call after that. */
static atomic_size_t live;

static void arm(unsigned nth, bool on)
{
    atomic_store(&fail_on, on);
    atomic_store(&fail_at, nth == 0 ? 0 : atomic_load(&calls) + nth);
}

void fault_mem_fail(unsigned nth)
{
    arm(nth, false);
}

void fault_mem_fail_from(unsigned nth)
{
    arm(nth, true);
}

size_t fault_mem_live(void)
{
    return atomic_load(&live);
}

static bool refused(void)
{
    unsigned long long call = atomic_fetch_add(&calls, 1) + 1;
    unsigned long long at = atomic_load(&fail_at);

    return at != 0 && (call == at || (call > at && atomic_load(&fail_on)));
}

static void *counted(void *p)
{
    if (p != NULL) {
        atomic_fetch_add(&live, 1);
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return refused() ? NULL : counted(malloc(size == 0 ? 1 : size));
}

void *mem_zalloc(size_t count, size_t size)
{
    if (refused() || (size > 0 && count > SIZE_MAX / size)) {
        return NULL;
    }
    return counted(calloc(1, count * size == 0 ? 1 : count * size));
}

void *mem_realloc(void *p, size_t size)
{
    void *moved = refused() ? NULL : realloc(p, size == 0 ? 1 : size);

    return p == NULL ? counted(moved) : moved;
}

void *mem_aligned(size_t align, size_t size)
{
    void *p = NULL;

    KV_CHECK(align >= MEM_ALIGN_MIN && align <= MEM_ALIGN_MAX);
    KV_CHECK((align & (align - 1)) == 0);
    if (refused() || posix_memalign(&p, align, size == 0 ? 1 : size) != 0) {
        return NULL;
    }
    return counted(p);
}

char *mem_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = mem_alloc(size);

    return copy == NULL ? NULL : memcpy(copy, s, size);
}

void mem_free(void *p)
{
    if (p != NULL) {
        KV_CHECK(atomic_fetch_sub(&live, 1) > 0);
    }
    free(p);
}

uint64_t mem_allocations(void)
{
    return atomic_load(&calls);
}
