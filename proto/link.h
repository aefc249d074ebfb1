/**
 * link - frames over one connected TCP socket, both directions.
 *
 *   OPEN --------------------------> CLOSING -> CLOSED
 *      |                                ^
 *      +--> FINISHING --> LINGERING ----+
 *           last bytes    until the peer has closed too
 *
 * Links of one loop share a hub: a pool of outgoing frames, a pool of payload
 * buffers, and one prepare handle that, before the loop sleeps, writes what
 * the callbacks of this turn have queued: one system call a link where the
 * socket has room.
 *
 * Sending copies nothing: prefix and metadata stand in the out_frame, the
 * payload stays where it is until `sent` has run. Nothing is allocated per
 * frame; see outbox.h.
 *
 * Thread:  the loop's thread only; it must block or ignore SIGPIPE.
 * Memory:  the caller owns struct link and keeps it until `closed` has run.
 *          link_send() keeps the payload. After link_close() and link_finish()
 *          nothing is written to a sink any more.
 * Result:  `closed` runs exactly once, never inside link_close(); all queued
 *          frames have had their `sent` before it. No other event comes once
 *          link_close() or link_finish() has been called. Any function may be
 *          called from inside any event.
 */
#ifndef KV_PROTO_LINK_H
#define KV_PROTO_LINK_H

#include <stdbool.h>

#include <uv.h>

#include "common/base/bufpool.h"
#include "common/base/fsm.h"
#include "common/base/list.h"
#include "common/base/status.h"
#include "proto/frame.h"
#include "proto/message.h"
#include "proto/out_frame.h"
#include "proto/outbox.h"

struct link;

struct link_hub {
    void *data; /* For the owner. */
    uv_loop_t *loop;
    struct bufpool buffers;
    struct scratch scratch; /* For message_unpack(); reset for each frame. */
    /* Private. */
    void *scratch_memory;
    const struct link *unpacked; /* Whose message is in the scratch. */
    uv_prepare_t prepare;        /* Its data is the hub. */
    struct list dirty;           /* Links with something to write. */
    struct list waking;          /* Links to be resumed. */
    struct out_frames frames;
    unsigned links;
};

KV_MUST_CHECK enum kv_status link_hub_open(struct link_hub *hub,
                                           uv_loop_t *loop);

/* After every link of the hub has closed and every buffer is back; `done` runs
 * when the handle has closed, and gets it: its data is the hub. */
void link_hub_close(struct link_hub *hub, uv_close_cb done);

struct link_events {
    /* As frame_head_fn and frame_done_fn, with the message unpacked; borrowed
     * for the call. Between the two the message is kept by the link. */
    enum kv_status (*head)(struct link *l, const struct frame_head *head,
                           const struct message *m, void **sink);
    enum kv_status (*frame)(struct link *l, const struct frame_head *head,
                            const struct message *m, const void *payload);
    /* The queue fell to link.low_water or below; may be NULL. */
    void (*drained)(struct link *l);
    /* First reason; `text` is a sentence for the log. */
    void (*closed)(struct link *l, enum kv_status status, const char *text);
};

struct link {
    /* For the owner to set, at any time; link_open() leaves them alone. */
    void *data;
    size_t low_water; /* Bytes; see `drained`. */
    bool checksum;    /* Send CRC32C of payloads. */
    /* To read. */
    uint64_t bytes_in, bytes_out;
    uint64_t heard_ms; /* uv_now() when bytes last came. */
    /* Private. */
    struct link_hub *hub;
    const struct link_events *events;
    uv_tcp_t tcp;
    uv_timer_t timer; /* While a frame is midway, the socket full; finishing. */
    struct outbox out;
    bool peer_done; /* Finishing: nothing more will come. */
    struct frame_reader reader;
    struct message message; /* Of the frame being read. */
    struct list_link dirty, waking;
    uint64_t frames_in, marked_frames, marked_bytes; /* Last progress. */
    unsigned still_ticks;                            /* Since then. */
    unsigned spared_ms, silent_ticks;                /* link_patience.c */
    struct fsm fsm;
    enum kv_status status;
    char text[128];
    unsigned handles;
};

/* Socket options for both ends: TCP_NODELAY; keepalive and, but on loopback,
 * user timeout, so that a vanished peer is found within 10 s; and the named
 * congestion control. NULL means: cubic, else reno, on loopback, where BBR as a
 * system default halves the speed, and the system's own elsewhere. */
void link_tune_socket(int fd, const char *congestion);

/* Bound what lies in the kernel on its way to a peer on this machine. A link is
 * bound when it is opened; a plain blocking socket is faster without. */
void link_bound_socket(int fd);

/* Is its peer on this machine? Frames need no checksum of their payload then.
 */
bool link_on_loopback(int fd);

/* Take over a connected socket and start reading. On failure the socket has
 * been closed. */
KV_MUST_CHECK enum kv_status link_open(struct link *l, struct link_hub *hub,
                                       int fd,
                                       const struct link_events *events);

/* Pack the message into a frame and queue it; `payload` is kept until `sent`.
 * KV_ENOMEM or KV_ETOOBIG: nothing was queued and `sent` will not run. On a
 * closing link it is queued only to be dropped: `sent` runs before `closed`. */
KV_MUST_CHECK enum kv_status link_send(struct link *l, const struct message *m,
                                       uint64_t request_id, const void *payload,
                                       size_t payload_size,
                                       out_frame_sent_fn sent, void *owner0,
                                       void *owner1);

/* Bytes queued and not yet in the kernel. */
size_t link_queued(const struct link *l);

/* Write now what is queued, rather than when the loop is about to sleep. */
void link_flush(struct link *l);

/* `head` said KV_EAGAIN: ask it again, before the loop sleeps, and read on. */
void link_resume(struct link *l);

/* Any state, any number of times; the first reason wins. `text` borrowed. What
 * is queued and not written is dropped. */
void link_close(struct link *l, enum kv_status status, const char *text);

/* Write what is queued, tell the peer that no more comes, and close with KV_OK
 * once it has closed too, or after 2 s. What comes meanwhile is dropped. */
void link_finish(struct link *l);

/* For link_hub.c: link_resume(), now that no other link is being read. */
void link_wake(struct link *l);

/* For link.c: the socket is full still; false if the peer is gone. And: it is
 * not full any more. */
bool link_peer_lives(struct link *l);
void link_peer_reads(struct link *l);

#endif
