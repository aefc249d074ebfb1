/**
 * bufpool - byte buffers by size class, used again and again.
 *
 * A buffer that comes back waits in its class for the next one who asks, so
 * the steady state allocates nothing. Classes are powers of two and the
 * half steps between them, from 4 KiB up: at most a third is wasted.
 *
 * Thread:  the owner.
 * Memory:  bufpool_get() gives, bufpool_put() takes back. Idle buffers are kept
 *          up to `idle_max` bytes, above that they are freed. Allocates from
 * mem only when the class has no idle buffer. Result:  NULL when out of memory,
 * or above BUFPOOL_SIZE_MAX.
 */
#ifndef KV_COMMON_BASE_BUFPOOL_H
#define KV_COMMON_BASE_BUFPOOL_H

#include <stddef.h>

#define BUFPOOL_SIZE_MIN ((size_t)4096)
#define BUFPOOL_SIZE_MAX ((size_t)1 << 34)
#define BUFPOOL_CLASSES 45

struct buffer {
    struct buffer *next; /* For whoever has it; the pool's while idle. */
    size_t capacity;     /* At least what was asked for. */
    unsigned char *data; /* 64-byte aligned; contents undefined. */
};

struct bufpool {
    struct buffer *idle[BUFPOOL_CLASSES]; /* Owned. */
    size_t idle_bytes;
    size_t idle_max;
    size_t out_count; /* Buffers given and not yet back. */
    size_t out_bytes;
};

void bufpool_init(struct bufpool *p, size_t idle_max);

/* Every buffer is back. */
void bufpool_fini(struct bufpool *p);

struct buffer *bufpool_get(struct bufpool *p, size_t size);

/* NULL is fine. */
void bufpool_put(struct bufpool *p, struct buffer *b);

#endif
