/**
 * scratch - bump allocation out of one fixed block, freed all at once.
 *
 * Being fixed is the point: it is the most memory one message can cost.
 *
 *     |####################|..............|
 *     base                 used           size
 *
 * Thread:  one at a time.
 * Memory:  keeps the block until the last use; what it hands out is valid
 *          until scratch_reset().
 * Result:  NULL when the block is full; earlier pieces stay good.
 */
#ifndef KV_COMMON_BASE_SCRATCH_H
#define KV_COMMON_BASE_SCRATCH_H

#include <stddef.h>

struct scratch {
    char *base; /* Borrowed; aligned as the caller needs, 16 for any type. */
    size_t size, used;
};

static inline void scratch_init(struct scratch *s, void *block, size_t size)
{
    s->base = (char *)block;
    s->size = size;
    s->used = 0;
}

/* Offsets are multiples of 16. */
static inline void *scratch_alloc(struct scratch *s, size_t size)
{
    size_t start = (s->used + 15) & ~(size_t)15;

    if (start > s->size || size > s->size - start) {
        return NULL;
    }
    s->used = start + size;
    return s->base + start;
}

static inline void scratch_reset(struct scratch *s)
{
    s->used = 0;
}

#endif
