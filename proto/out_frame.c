#include "proto/out_frame.h"

#include "common/base/mem.h"
#include "proto/frame.h"
#include "proto/message.h"

#define SMALL_CAPACITY ((size_t)256)
#define LARGE_CAPACITY ((size_t)FRAME_PREFIX_SIZE + MESSAGE_BATCH_META_MAX)

static void free_all(struct list *idle)
{
    struct list_link *node;

    while ((node = list_pop(idle)) != NULL) {
        mem_free(LIST_ENTRY(node, struct out_frame, node));
    }
}

void out_frames_init(struct out_frames *pool)
{
    list_init(&pool->small);
    list_init(&pool->large);
}

void out_frames_fini(struct out_frames *pool)
{
    free_all(&pool->small);
    free_all(&pool->large);
}

static struct list *idle_list(struct out_frames *pool, size_t capacity)
{
    if (capacity == SMALL_CAPACITY) {
        return &pool->small;
    }
    return capacity == LARGE_CAPACITY ? &pool->large : NULL;
}

struct out_frame *out_frame_get(struct out_frames *pool, size_t meta_capacity)
{
    size_t capacity = FRAME_PREFIX_SIZE + meta_capacity;
    struct out_frame *f;
    struct list *idle;

    if (capacity <= LARGE_CAPACITY) {
        capacity = capacity <= SMALL_CAPACITY ? SMALL_CAPACITY : LARGE_CAPACITY;
    }
    idle = idle_list(pool, capacity);
    if (idle != NULL && !list_empty(idle)) {
        return LIST_ENTRY(list_pop(idle), struct out_frame, node);
    }
    f = mem_alloc(sizeof *f + capacity);
    if (f == NULL) {
        return NULL;
    }
    list_link_init(&f->node);
    f->head_capacity = capacity;
    return f;
}

void out_frame_put(struct out_frames *pool, struct out_frame *f)
{
    struct list *idle = idle_list(pool, f->head_capacity);

    if (idle == NULL) {
        mem_free(f);
        return;
    }
    list_push_front(idle, &f->node);
}
