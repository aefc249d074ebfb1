/**
 * courier_queue - parts that are ready to go: by priority, then in order.
 *
 *   buckets: one a priority, highest first; a bit for each that has parts
 *
 *     [ 9 ]--part--part      [ 0 ]      [ -3 ]--part--part--part
 *
 * Priorities come from users, one a key at worst (-index), so a bucket is found
 * by binary search, the first with parts by its bit, and empty ones make room
 * before the table grows.
 *
 * Thread:  the owner.
 * Memory:  keeps parts by their node. Allocates for a priority that was not
 *          there; without memory it uses the nearest one that is.
 */
#ifndef KV_WORKER_COURIER_QUEUE_H
#define KV_WORKER_COURIER_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/status.h"

struct part;

struct courier_bucket {
    int priority;
    struct list parts;
};

struct courier_queue {
    /* Private. */
    struct courier_bucket **buckets; /* By falling priority. */
    size_t count, capacity;          /* Those behind `count` are spare. */
    size_t made;                     /* With the spare ones. */
    uint64_t *full;                  /* Bit i: buckets[i] has parts. */
    size_t last;                     /* Where a part was put last. */
};

KV_MUST_CHECK enum kv_status courier_queue_init(struct courier_queue *q);
void courier_queue_fini(struct courier_queue *q); /* Nothing is in it. */

void courier_queue_add(struct courier_queue *q, struct part *p);

/* Before the others of its priority. */
void courier_queue_return(struct courier_queue *q, struct part *p);

/* After all others, whatever their priority. */
void courier_queue_defer(struct courier_queue *q, struct part *p);

/* A part that is in it. Slow, for what is rare. */
void courier_queue_remove(struct courier_queue *q, struct part *p);

/* NULL when empty. */
struct part *courier_queue_first(const struct courier_queue *q);
struct part *courier_queue_take(struct courier_queue *q);

#endif
