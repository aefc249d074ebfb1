/**
 * outbox - frames waiting for one socket.
 *
 * As many as possible go in one system call, straight from where they are.
 * When the socket is full, the rest of the front frame is handed to libuv, two
 * buffers at a time, so that nothing is allocated, and it goes on from there.
 *
 * Thread:  the loop's thread only.
 * Memory:  takes frames; each has its `sent` called once and goes back to the
 *          pool, from outbox_flush(), later from the loop, or outbox_drop().
 * Result:  `sent` and `wrote` may push, flush and stop.
 */
#ifndef KV_PROTO_OUTBOX_H
#define KV_PROTO_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "common/base/list.h"
#include "proto/out_frame.h"

struct outbox;

/* The loop has written some, or failed to: `before` is how many bytes were
 * queued. Not after outbox_stop(). */
typedef void (*outbox_wrote_fn)(struct outbox *o, size_t before, int uv_error);

struct outbox {
    size_t queued_bytes; /* Not yet in the kernel. */
    uint64_t bytes;      /* Written so far. */
    /* Private. */
    uv_stream_t *stream;
    struct out_frames *pool;
    outbox_wrote_fn wrote;
    struct list queue;
    size_t front_written; /* Bytes of the front frame. */
    bool writing;         /* The front is in libuv's hands. */
    bool stopped;
    uv_write_t request;
};

void outbox_init(struct outbox *o, uv_stream_t *stream, struct out_frames *pool,
                 outbox_wrote_fn wrote);

void outbox_push(struct outbox *o, struct out_frame *f);

bool outbox_empty(const struct outbox *o);

/* The socket takes no more for now. */
bool outbox_full(const struct outbox *o);

/* True when a flush could write something. */
bool outbox_ready(const struct outbox *o);

/* Write what the socket takes. 0, or libuv's error. */
int outbox_flush(struct outbox *o);

/* The stream is about to be closed: write no more. */
void outbox_stop(struct outbox *o);

/* The stream has closed: let go of every frame. */
void outbox_drop(struct outbox *o);

#endif
