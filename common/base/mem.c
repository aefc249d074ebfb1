#include "common/base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

static atomic_uint_fast64_t allocations;

static void count(void)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
}

void *mem_alloc(size_t size)
{
    count();
    return malloc(size == 0 ? 1 : size); /* NULL means failure only. */
}

void *mem_zalloc(size_t n, size_t size)
{
    count();
    if (n == 0 || size == 0) {
        return calloc(1, 1);
    }
    return n > SIZE_MAX / size ? NULL : calloc(n, size);
}

void *mem_realloc(void *p, size_t size)
{
    count();
    return realloc(p, size == 0 ? 1 : size);
}

void *mem_aligned(size_t align, size_t size)
{
    void *p = NULL;

    KV_CHECK(align >= MEM_ALIGN_MIN && align <= MEM_ALIGN_MAX);
    KV_CHECK((align & (align - 1)) == 0);
    count();
    if (posix_memalign(&p, align, size == 0 ? 1 : size) != 0) {
        return NULL;
    }
    return p;
}

char *mem_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = mem_alloc(size);

    return copy == NULL ? NULL : memcpy(copy, s, size);
}

void mem_free(void *p)
{
    free(p);
}

uint64_t mem_allocations(void)
{
    return atomic_load_explicit(&allocations, memory_order_relaxed);
}
