#include <string.h>

#include "server/arena_private.h"

#define CUT_MIN ((size_t)256) /* Cut nothing smaller off a block. */

/* The largest class that is not above `size`. Sizes that are no class's own
 * come from cutting and joining. */
static size_t class_of(size_t size)
{
    size_t class = ARENA_FINE_MAX / ARENA_ALIGN - 1;
    unsigned power;

    if (size <= ARENA_FINE_MAX) {
        return size / ARENA_ALIGN - 1;
    }
    power = 63 - (unsigned)__builtin_clzll(size);
    class += (power - ARENA_FINE_POWER) << ARENA_STEPS_POWER;
    class += (size - ((size_t)1 << power)) >> (power - ARENA_STEPS_POWER);
    return class < ARENA_CLASSES ? class : ARENA_CLASSES - 1;
}

static void push(struct arena *a, struct block *b)
{
    size_t class = class_of(b->size);

    b->next_free = a->free[class];
    a->free[class] = b;
    a->some[class / 64] |= UINT64_C(1) << class % 64;
    a->free_bytes += b->size;
}

static struct block *pop(struct arena *a, size_t class)
{
    struct block *b = a->free[class];

    a->free[class] = b->next_free;
    if (b->next_free == NULL) {
        a->some[class / 64] &= ~(UINT64_C(1) << class % 64);
    }
    a->free_bytes -= b->size;
    return b;
}

/* The first class from `class` on that has a block, or ARENA_CLASSES. */
static size_t next_with_some(const struct arena *a, size_t class)
{
    size_t word = class / 64;
    uint64_t bits = a->some[word] & UINT64_MAX << class % 64;

    while (bits == 0 && ++word < ARENA_CLASSES / 64) {
        bits = a->some[word];
    }
    return bits == 0 ? ARENA_CLASSES
                     : word * 64 + (size_t)__builtin_ctzll(bits);
}

void arena_free_add(struct arena *a, struct block *b)
{
    push(a, b);
}

struct block *arena_free_take(struct arena *a, size_t size)
{
    size_t first = class_of(size), last = class_of(size + size / 4);
    size_t class = next_with_some(a, first);

    if (class > last || a->free[class]->size < size) {
        return NULL;
    }
    return pop(a, class);
}

/* A kill in between leaves one block or two, both valid. */
static void cut(struct arena *a, struct block *b, size_t size)
{
    struct block *rest;

    if (b->size < size + sizeof *b + CUT_MIN) {
        return;
    }
    rest = (struct block *)(void *)((unsigned char *)arena_payload(b) + size);
    memset(rest, 0, sizeof *rest);
    rest->size = b->size - size - sizeof *rest;
    rest->mark = ARENA_BLOCK_MARK;
    arena_store(&b->size, size);
    a->blocks++;
    push(a, rest);
}

struct block *arena_free_cut(struct arena *a, size_t size)
{
    size_t class = next_with_some(a, class_of(size));
    struct block *b;

    if (class == ARENA_CLASSES || a->free[class]->size < size) {
        return NULL;
    }
    b = pop(a, class);
    cut(a, b, size);
    return b;
}

void arena_free_sweep(struct arena *a)
{
    struct block *end = arena_block_at(a, a->head->used);
    struct block *b = arena_block_at(a, ARENA_HEAD_SIZE);

    memset(a->free, 0, sizeof a->free);
    memset(a->some, 0, sizeof a->some);
    a->free_bytes = 0;
    a->blocks = 0;
    for (; b != end; b = arena_next_block(b)) {
        a->blocks++;
        if (b->holders > 0) {
            continue;
        }
        while (arena_next_block(b) != end &&
               arena_next_block(b)->holders == 0) {
            struct block *next = arena_next_block(b);

            /* One store: a kill leaves them joined or not. */
            arena_store(&b->size, b->size + sizeof *next + next->size);
        }
        push(a, b);
    }
}
