#include "worker/courier_queue.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/courier.h"

#define CAPACITY_FIRST 64 /* A multiple of 64: `full` is words. */

/* --- Which buckets have parts -------------------------------------------- */

static void mark(struct courier_queue *q, size_t at)
{
    uint64_t bit = UINT64_C(1) << (at % 64);

    if (list_empty(&q->buckets[at]->parts)) {
        q->full[at / 64] &= ~bit;
    } else {
        q->full[at / 64] |= bit;
    }
}

static void mark_from(struct courier_queue *q, size_t at)
{
    for (; at < q->count; at++) {
        mark(q, at);
    }
}

/* The first bucket with parts; q->count when there is none. */
static size_t first_full(const struct courier_queue *q)
{
    for (size_t word = 0; word * 64 < q->count; word++) {
        if (q->full[word] != 0) {
            return word * 64 + (size_t)__builtin_ctzll(q->full[word]);
        }
    }
    return q->count;
}

/* --- Room for another priority ------------------------------------------- */

/* Empty buckets become spare ones. */
static void drop_empty(struct courier_queue *q)
{
    size_t kept = 0;

    for (size_t i = 0; i < q->count; i++) {
        struct courier_bucket *b = q->buckets[i];

        if (!list_empty(&b->parts)) {
            q->buckets[i] = q->buckets[kept];
            q->buckets[kept++] = b;
        }
    }
    q->count = kept;
    q->last = 0;
    memset(q->full, 0, q->capacity / 8);
    mark_from(q, 0);
}

static bool grow(struct courier_queue *q)
{
    size_t capacity = q->capacity == 0 ? CAPACITY_FIRST : q->capacity * 2;
    struct courier_bucket **buckets;
    uint64_t *full;

    full = mem_zalloc(capacity / 64, sizeof *full);
    if (full == NULL) {
        return false;
    }
    buckets =
        mem_realloc(q->buckets, capacity * sizeof(struct courier_bucket *));
    if (buckets == NULL) {
        mem_free(full);
        return false;
    }
    if (q->capacity > 0) {
        memcpy(full, q->full, q->capacity / 8);
    }
    mem_free(q->full);
    q->full = full;
    q->buckets = buckets;
    q->capacity = capacity;
    return true;
}

/* One more bucket at buckets[q->count]; false when out of memory. */
static bool make_spare(struct courier_queue *q)
{
    struct courier_bucket *b;

    if (q->count < q->made) {
        return true;
    }
    if (q->made == q->capacity && !grow(q)) {
        return false;
    }
    b = mem_alloc(sizeof *b);
    if (b == NULL) {
        return false;
    }
    list_init(&b->parts);
    q->buckets[q->made++] = b;
    return true;
}

/* --- Finding the bucket -------------------------------------------------- */

/* The first bucket whose priority is not higher; q->count if there is none. */
static size_t search(const struct courier_queue *q, int priority)
{
    size_t low = 0, high = q->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (q->buckets[middle]->priority > priority) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void insert(struct courier_queue *q, size_t at, int priority)
{
    struct courier_bucket *b = q->buckets[q->count];

    memmove(&q->buckets[at + 1], &q->buckets[at],
            (q->count - at) * sizeof(struct courier_bucket *));
    q->buckets[at] = b;
    q->count++;
    b->priority = priority;
    mark_from(q, at);
}

static size_t find(struct courier_queue *q, int priority)
{
    size_t at = q->last;

    /* Slices of one key come one after the other. */
    if (at < q->count && q->buckets[at]->priority == priority) {
        return at;
    }
    at = search(q, priority);
    if (at < q->count && q->buckets[at]->priority == priority) {
        return at;
    }
    if (q->count == q->capacity) {
        drop_empty(q);
        /* Less than half of it would be back here too soon. */
        if (q->count > q->capacity / 2) {
            (void)grow(q);
        }
        at = search(q, priority);
    }
    if (!make_spare(q)) {
        KV_CHECK(q->count > 0);
        return at < q->count ? at : q->count - 1;
    }
    insert(q, at, priority);
    return at;
}

/* --- The rest ------------------------------------------------------------ */

enum kv_status courier_queue_init(struct courier_queue *q)
{
    memset(q, 0, sizeof *q);
    /* Once there is a bucket, adding a part cannot fail. */
    if (!make_spare(q)) {
        courier_queue_fini(q);
        return KV_ENOMEM;
    }
    insert(q, 0, 0);
    return KV_OK;
}

void courier_queue_fini(struct courier_queue *q)
{
    for (size_t i = 0; i < q->made; i++) {
        KV_CHECK(list_empty(&q->buckets[i]->parts));
        mem_free(q->buckets[i]);
    }
    mem_free(q->buckets);
    mem_free(q->full);
    memset(q, 0, sizeof *q);
}

void courier_queue_add(struct courier_queue *q, struct part *p)
{
    size_t at = find(q, p->priority);

    list_push(&q->buckets[at]->parts, &p->node);
    q->last = at;
    mark(q, at);
}

void courier_queue_return(struct courier_queue *q, struct part *p)
{
    size_t at = find(q, p->priority);

    list_push_front(&q->buckets[at]->parts, &p->node);
    q->last = at;
    mark(q, at);
}

void courier_queue_defer(struct courier_queue *q, struct part *p)
{
    size_t at = q->count - 1;

    list_push(&q->buckets[at]->parts, &p->node);
    mark(q, at);
}

void courier_queue_remove(struct courier_queue *q, struct part *p)
{
    list_unlink(&p->node);
    mark_from(q, 0); /* It may have been deferred, so in any bucket. */
}

struct part *courier_queue_first(const struct courier_queue *q)
{
    size_t at = first_full(q);

    if (at == q->count) {
        return NULL;
    }
    return LIST_ENTRY(list_first(&q->buckets[at]->parts), struct part, node);
}

struct part *courier_queue_take(struct courier_queue *q)
{
    size_t at = first_full(q);
    struct list_link *link;

    if (at == q->count) {
        return NULL;
    }
    link = list_pop(&q->buckets[at]->parts);
    mark(q, at);
    return LIST_ENTRY(link, struct part, node);
}
