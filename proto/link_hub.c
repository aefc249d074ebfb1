#include "proto/link.h"

#include "common/base/mem.h"

/* Idle payload buffers that a hub keeps; more are freed. */
#define IDLE_BYTES_MAX ((size_t)32 << 20)

/* Resuming reads frames, frames make answers, answers sent resume links: go on
 * until there is nothing left that sleeping would delay. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct link_hub *hub = prepare->data;
    struct list_link *node;

    do {
        while ((node = list_pop(&hub->waking)) != NULL) {
            link_wake(LIST_ENTRY(node, struct link, waking));
        }
        while ((node = list_pop(&hub->dirty)) != NULL) {
            link_flush(LIST_ENTRY(node, struct link, dirty));
        }
    } while (!list_empty(&hub->waking));
}

enum kv_status link_hub_open(struct link_hub *hub, uv_loop_t *loop)
{
    void *memory = mem_aligned(MEM_ALIGN_MIN, MESSAGE_SCRATCH_SIZE);

    if (memory == NULL) {
        return KV_ENOMEM;
    }
    hub->loop = loop;
    hub->scratch_memory = memory;
    hub->unpacked = NULL;
    hub->links = 0;
    bufpool_init(&hub->buffers, IDLE_BYTES_MAX);
    scratch_init(&hub->scratch, memory, MESSAGE_SCRATCH_SIZE);
    out_frames_init(&hub->frames);
    list_init(&hub->dirty);
    list_init(&hub->waking);
    KV_CHECK(uv_prepare_init(loop, &hub->prepare) == 0);
    hub->prepare.data = hub;
    KV_CHECK(uv_prepare_start(&hub->prepare, on_prepare) == 0);
    uv_unref((uv_handle_t *)&hub->prepare); /* Links keep the loop alive. */
    return KV_OK;
}

void link_hub_close(struct link_hub *hub, uv_close_cb done)
{
    KV_CHECK(hub->links == 0);
    out_frames_fini(&hub->frames);
    bufpool_fini(&hub->buffers);
    mem_free(hub->scratch_memory);
    hub->scratch_memory = NULL;
    uv_close((uv_handle_t *)&hub->prepare, done);
}
