/**
 * courier_core - what the courier's own files share.
 *
 *   courier.c          requests, connections, the way out
 *   courier_slice.c    which part of a slice may go
 *   courier_span.c     several slices in one part
 *   courier_queue.c    what is ready, by priority
 *   courier_send.c     messages out
 *   courier_receive.c  answers in
 *   courier_payload.c  tensors to bytes
 *
 * Where a part is: WAITING on slice->waiting; READY in a queue, and slice->push
 * or ->pull; SENT on courier->sent, and slice->push or ->pull. Of an
 * unanswered push and an unanswered pull of a slice the push is the earlier.
 *
 * A span is ->push or ->pull of all its slices from the start, so that whatever
 * is submitted for one of them later waits on that slice; a pull that WAITS
 * hangs behind the push of the same span. SENT is a part that has no unsent
 * slice; when one is put back, it is READY again, with what is answered so far.
 */
#ifndef KV_WORKER_COURIER_CORE_H
#define KV_WORKER_COURIER_CORE_H

#include "worker/courier.h"
#include "worker/courier_queue.h"

#define COURIER_PAGE 4096u   /* Slots to a page of the slice table. */
#define COURIER_CHAINS 1024u /* Of sent requests by id. */

struct courier {
    struct courier_io io;
    struct bufpool *buffers; /* Borrowed. */
    const struct kv_codec *codec, *none;
    bool up;
    uint64_t link; /* Connections so far. */
    size_t pending;
    uint64_t resent;
    struct courier_queue pushes, pulls;
    struct list sent; /* Parts, in order. */
    struct list requests_waiting, requests_sent;
    struct request *by_id[COURIER_CHAINS]; /* Those sent. */
    uint64_t next_id;
    const void **places; /* Owned; for a sum in the making. */
    unsigned place_capacity;
    struct run runs[KV_BATCH_RUNS_MAX]; /* Of the frame in the making. */
    struct slice gone; /* Stands where one was removed: what still comes about
                          it is no news. */
    struct slice **pages[KV_SLOTS_MAX / COURIER_PAGE]; /* Owned; by slot. */
};

/* NULL when there is none. */
static inline struct slice *courier_slice(const struct courier *c,
                                          uint32_t slot)
{
    struct slice **page;

    if (slot >= KV_SLOTS_MAX) {
        return NULL;
    }
    page = c->pages[slot / COURIER_PAGE];
    return page == NULL ? NULL : page[slot % COURIER_PAGE];
}

/* --- courier_span.c ------------------------------------------------------- */

static inline uint64_t courier_bits(uint32_t count)
{
    return count == SPAN_MAX ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* Sent on this connection and not answered: bit i is of slice i. */
static inline uint64_t courier_due(const struct part *p)
{
    return p->link == p->slice->courier->link ? p->unanswered & ~p->unsent : 0;
}

/* What is not answered was sent on a connection that is gone, if at all. */
static inline void courier_renew(struct part *p)
{
    if (p->link != p->slice->courier->link) {
        p->unsent = p->unanswered;
        p->link = p->slice->courier->link;
    }
}

/* The slices of a span that is submitted. */
void courier_occupy(struct courier *c, struct part *p);

/* Append what is unsent to a batch, all or nothing. */
bool courier_add_unsent(struct message_batch *batch, const struct part *p,
                        uint64_t round, uint32_t size);

/* A slice of a span will not be answered otherwise. */
void courier_refuse(struct courier *c, struct part *p, struct slice *s,
                    enum kv_status status, const char *text);

/* --- courier_slice.c ------------------------------------------------------ */

/* Make ready what may go now. After each change of a slice. */
void courier_release(struct courier *c, struct slice *s);
void courier_ready(struct courier *c, struct part *p);

/* Take a part off its slice and hand it back. */
void courier_finish(struct courier *c, struct part *p, enum kv_status status,
                    const char *text, uint64_t round);

/* A sent request; NULL if there is none. */
struct request *courier_request_of(struct courier *c, uint64_t id);

/* The same, taken out of the chains. */
struct request *courier_take_request(struct courier *c, uint64_t id);

/* --- courier_payload.c --------------------------------------------------- */

/* The codec for a push of this slice; never NULL. */
const struct kv_codec *courier_payload_codec(const struct courier *c,
                                             const struct slice *s);

/* Bytes of this push on the wire. */
size_t courier_payload_size(const struct courier *c, const struct part *p);

/* Bytes of the value that this pull brings. */
size_t courier_payload_pulled(const struct part *p);

/* The row numbers of a part, as they travel: u32 each, within the slice. */
void courier_payload_rows(const struct part *p, unsigned char *out);

/* The tensor's own bytes, if they can go as they are; else NULL. */
const void *courier_payload_plain(const struct courier *c,
                                  const struct part *p);

/* Sum and encode into `out`, any alignment; false when out of memory. */
bool courier_payload_fill(struct courier *c, const struct part *p,
                          unsigned char *out);

#endif
