#include "common/base/bufpool.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* Even classes are powers of two, odd ones one and a half times that. */
static size_t class_size(unsigned at)
{
    size_t base = BUFPOOL_SIZE_MIN << at / 2;

    return at % 2 == 0 ? base : base + base / 2;
}

/* The smallest class that holds `size`. */
static unsigned class_for(size_t size)
{
    unsigned at = 0;

    if (size > BUFPOOL_SIZE_MIN) {
        size_t units = (size - 1) / BUFPOOL_SIZE_MIN;

        at = 2 * (unsigned)(63 - __builtin_clzl(units));
    }
    while (class_size(at) < size) {
        at++;
    }
    return at;
}

void bufpool_init(struct bufpool *p, size_t idle_max)
{
    memset(p, 0, sizeof *p);
    p->idle_max = idle_max;
}

void bufpool_fini(struct bufpool *p)
{
    KV_CHECK(p->out_count == 0);
    for (unsigned at = 0; at < BUFPOOL_CLASSES; at++) {
        while (p->idle[at] != NULL) {
            struct buffer *b = p->idle[at];

            p->idle[at] = b->next;
            mem_free(b);
        }
    }
    p->idle_bytes = 0;
}

/* The struct and its data are one piece; the data starts one line later. */
static struct buffer *make(size_t capacity)
{
    struct buffer *b = mem_aligned(MEM_ALIGN_MIN, MEM_ALIGN_MIN + capacity);

    _Static_assert(sizeof(struct buffer) <= MEM_ALIGN_MIN, "one line");
    if (b != NULL) {
        b->capacity = capacity;
        b->data = (unsigned char *)b + MEM_ALIGN_MIN;
    }
    return b;
}

struct buffer *bufpool_get(struct bufpool *p, size_t size)
{
    unsigned at;
    struct buffer *b;

    if (size > BUFPOOL_SIZE_MAX) {
        return NULL;
    }
    at = class_for(size);
    b = p->idle[at];
    if (b != NULL) {
        p->idle[at] = b->next;
        p->idle_bytes -= b->capacity;
    } else {
        b = make(class_size(at));
        if (b == NULL) {
            return NULL;
        }
    }
    b->next = NULL;
    p->out_count++;
    p->out_bytes += b->capacity;
    return b;
}

void bufpool_put(struct bufpool *p, struct buffer *b)
{
    unsigned at;

    if (b == NULL) {
        return;
    }
    KV_CHECK(p->out_count > 0);
    p->out_count--;
    p->out_bytes -= b->capacity;
    if (p->idle_bytes + b->capacity > p->idle_max) {
        mem_free(b);
        return;
    }
    at = class_for(b->capacity);
    b->next = p->idle[at];
    p->idle[at] = b;
    p->idle_bytes += b->capacity;
}
