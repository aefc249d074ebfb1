/**
 * out_frame - a frame on its way out, and the pool that it comes from.
 *
 * Prefix and metadata stand in the out_frame; the payload stays where it is.
 * Two sizes are pooled: heads of a slice or a few, and heads of any batch.
 *
 * Thread:  the owner of the pool.
 * Memory:  idle frames are kept, as many as there have ever been at a time,
 *          until out_frames_fini(). Larger ones are not pooled.
 */
#ifndef KV_PROTO_OUT_FRAME_H
#define KV_PROTO_OUT_FRAME_H

#include <stddef.h>

#include "common/base/list.h"

struct out_frame;

/* Written, or dropped because the link closed: let go of the payload. */
typedef void (*out_frame_sent_fn)(struct out_frame *f);

struct out_frame {
    struct list_link node; /* In a link's queue or in the pool. */
    const void *payload;   /* Kept until `sent`. */
    size_t payload_size;
    out_frame_sent_fn sent; /* May be NULL. */
    void *owner[2];         /* For `sent`. */
    size_t head_size, head_capacity;
    unsigned char head[]; /* Prefix and metadata. */
};

struct out_frames {
    struct list small, large; /* Idle. */
};

void out_frames_init(struct out_frames *pool);
void out_frames_fini(struct out_frames *pool);

/* With room for the prefix and `meta_capacity` bytes of metadata, or more; the
 * rest is the caller's to fill in. NULL when out of memory. */
struct out_frame *out_frame_get(struct out_frames *pool, size_t meta_capacity);

void out_frame_put(struct out_frames *pool, struct out_frame *f);

#endif
