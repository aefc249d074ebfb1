/**
 * courier - what one link to one server carries, in which order, until done.
 *
 * Pure: the brain of a link, without the link. Parts (the push or the pull of
 * one slice) and requests (anything else that gets one answer) go in; messages
 * come out through `io` while there is room; answers and lost connections go
 * in; finished parts and requests come out.
 *
 * Small slices go in spans: one part stands for up to SPAN_MAX slices that lie
 * side by side on their shard, so that a model of many small keys costs little
 * more than one of few large ones. What happens to one slice of a span alone
 * (it is put back, or refused) is kept in two words of bits.
 *
 *   part:  WAITING on its slice -> READY by priority -> SENT -> done
 *                                     ^                  |
 *                                     +--- link lost ----+   or put back
 * (Again)
 *
 * Order on one slice: parts take effect in the order in which they were
 * submitted. At most one push is unanswered; the pull after it asks for that
 * push's round and travels right behind; a push waits for the pulls before it.
 * Between slices: higher priority first, then submission order; pulls, being
 * small, go before pushes. After a lost connection everything that was sent
 * and not answered is sent again in its old order; (slot, rank, round) makes
 * that harmless.
 *
 * Thread:  whichever one calls.
 * Memory:  the caller owns parts, requests and slices until they come back; the
 *          tensors behind a part are kept until then. Steady state: no
 *          allocation but from the pool.
 */
#ifndef KV_WORKER_COURIER_H
#define KV_WORKER_COURIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bufpool.h"
#include "common/base/list.h"
#include "common/base/status.h"
#include "common/codec/codec.h"
#include "common/compute/dtype.h"
#include "proto/message.h"

struct courier;
struct part;

#define SPAN_MAX 64u /* Slices: bits of a word. */

/* A slice as this worker knows it. */
/* What each part looks at is one cache line. */
struct slice {
    struct courier *courier; /* Borrowed: where it lives. */
    uint64_t pushed;         /* Round of the last push that was sent. */
    uint32_t slot;           /* On that shard; from Opened. */
    uint32_t count;          /* Elements. */
    enum kv_dtype dtype : 8;
    uint32_t home : 24; /* The owner's: which courier that is. */
    /* Private. */
    uint32_t size;            /* Bytes. */
    struct part *push, *pull; /* Ready or sent, not answered; or a span. */
    struct list waiting;      /* Parts, in order. */
    struct slice *older;      /* Had the slot, and is deleted from the job. */
    /* Not private. */
    void *owner; /* The key, for messages. */
};

_Static_assert(offsetof(struct slice, older) == 64, "one line");

/* Of a row_sparse slice: which rows are pushed, or pulled. */
struct part_rows {
    const int64_t *rows;     /* In the key, ascending; kept until done. */
    const void *const *from; /* Pushed from here, row by row; NULL: one after
                                the other from the input. */
    uint32_t count;          /* Of a pull at least 1. */
    int64_t first;           /* In the key, of the slice. */
    size_t length;           /* Elements of a row. */
};

struct part {
    struct list_link node;
    struct slice *slice; /* The first of its span. */
    uint32_t span;       /* Slices; 0 is 1. */
    bool pull;           /* Else a push. */
    bool reset; /* A push to begin the value anew: of one input, or of none when
                   another rank brings the value. It has no span. */
    int priority;
    const void *const *inputs; /* Push: tensors to sum, base addresses; of a
                                  span one for each slice. */
    unsigned input_count;
    size_t offset;     /* Bytes from those, and from `out`, to this slice. */
    void *const *outs; /* Pull: where to, one for each slice. */
    const struct part_rows *rows; /* NULL: the whole slice. Else the data holds
                                     these rows, and there is one input. */
    void *owner;                  /* The op. */
    /* Private. */
    uint64_t round;   /* Of a push: 0 until it is sent. */
    uint64_t sent_ms; /* The first time. */
    bool sent;        /* At least once. */
    const struct kv_codec *codec;
    struct buffer *encoded; /* Sum or encoded bytes, kept for a resend. */
    struct part *behind;    /* A pull of the same span, until this is sent. */
    uint64_t unsent, unanswered; /* Bit i: of slice i. */
    uint64_t link;               /* The connection that the former is about. */
    bool adjacent;               /* The tensors of a span lie side by side. */
    enum { PART_WAITING, PART_READY, PART_SENT } state;
};

/* Anything with one answer. The message's pointers are kept until done. */
struct request {
    struct list_link node;
    struct message message;
    const void *payload;
    size_t payload_size;
    uint64_t id; /* Given by the courier. */
    /* `reply` is NULL unless KV_OK; borrowed. `text` says why not. */
    void (*done)(struct request *r, enum kv_status status, const char *text,
                 const struct message *reply, const void *payload,
                 size_t payload_size);
    /* It waits at the server, for that; borrowed. May be NULL. */
    void (*waiting)(struct request *r, const struct message *m);
    void *owner;
    /* Private. */
    struct request *next_in_id;
    bool sent; /* At least once. */
};

struct courier_io {
    /* Queue a frame. Takes `buffer`: back to the pool when sent, or at once
     * when this fails. A payload without one stays valid until its part or
     * request is done. False: out of memory, the link is lost. */
    bool (*send)(void *ctx, const struct message *m, uint64_t request_id,
                 const void *payload, size_t size, struct buffer *buffer);
    /* From courier_frame() and courier_fail() only. The part is the caller's
     * again; submitting another one here is fine. `text` is "" or borrowed. */
    void (*part_done)(void *ctx, struct part *p, enum kv_status status,
                      const char *text, uint64_t round);
    /* One slice of a span was refused; part_done comes for the others. */
    void (*slice_refused)(void *ctx, struct part *p, const struct slice *slice,
                          enum kv_status status, const char *text);
    /* This push has changed nothing of this slice; its answer follows. */
    void (*skipped)(void *ctx, struct part *p, const struct slice *slice,
                    const struct message *m);
    /* A notice of the server: pushes of others are missing. */
    void (*stalled)(void *ctx, const struct slice *slice,
                    const struct message *m);
    /* What the server has measured of the round of this slice's push, which
     * waits for courier_totals(). */
    void (*norms)(void *ctx, const struct slice *slice,
                  const struct message *m);
    void *ctx;
};

KV_MUST_CHECK enum kv_status courier_init(struct courier **out,
                                          const struct courier_io *io,
                                          struct bufpool *buffers);
void courier_free(struct courier *c); /* Nothing may be left in it. */

/* For pushes submitted from now on, of dtypes that it accepts; NULL: none. */
void courier_codec(struct courier *c, const struct kv_codec *codec);

/* The slice has its slot and its round. A slice that had the slot before is
 * gone from the server: its parts come back refused, one by one. KV_EEXIST:
 * another one has the slot; KV_EPROTO: the server gave a slot beyond
 * KV_SLOTS_MAX. */
KV_MUST_CHECK enum kv_status courier_add_slice(struct courier *c,
                                               struct slice *s);

/* Slices of one key, before they are added: if a life of the rank was lost
 * between the commits of a push, all go on from the one that is behind. The
 * others have that push, and answer it at once. Returns the rounds between the
 * last and the first: as many pushes do not reach every slice. */
uint64_t courier_level(struct slice *slices, uint32_t count);

/* Before it is submitted: put slice `s` behind those of part `p`, if they can
 * go as one: small, of one form, side by side on their shard, and nothing else
 * of theirs on its way, but that the pushes before these pulls are one span,
 * too. The part's inputs or outs have the slice's, next to the others. */
bool courier_extend(struct part *p, struct slice *s);

/* It has no parts, and was added or not. */
bool courier_idle(const struct slice *s);
void courier_remove_slice(struct slice *s);

void courier_submit(struct courier *c, struct part *p);
void courier_request(struct courier *c, struct request *r);

/* The slice's push that was sent and is not answered; NULL: there is none. */
struct part *courier_sent_push(const struct slice *s);

/* KV_NORMS_MAX sums over the whole key, for the round of its push that was
 * sent. Lost with the link: the server asks again. */
void courier_totals(const struct slice *s, uint32_t pass, const double *totals);

/* Slice i of the part. */
struct slice *courier_slice_of(const struct part *p, uint32_t i);

/* A slice of the part that is not answered, the `skip`-th of those; NULL: there
 * are no more. */
struct slice *courier_unanswered(const struct part *p, unsigned skip);

/* Connected and welcomed: everything unanswered is ready to go again. The link
 * before is gone, with its queue. */
void courier_up(struct courier *c);
void courier_down(struct courier *c);

/* Send while fewer than `room` payload bytes went out; returns their number.
 * When the pool is out of memory, parts stay ready: pump again later. */
size_t courier_pump(struct courier *c, size_t room, uint64_t now_ms);

/* A frame from the server; as session_head() and session_frame(). An error
 * means that the server broke the protocol, or says so of us (an Error without
 * request and slot: its status): close and reconnect. */
KV_MUST_CHECK enum kv_status courier_head(struct courier *c,
                                          const struct message *m,
                                          size_t payload_size, void **sink);
KV_MUST_CHECK enum kv_status
courier_frame(struct courier *c, uint64_t request_id, const struct message *m,
              const void *payload, size_t payload_size);

/* Give everything back with this status. The link must be gone. */
void courier_fail(struct courier *c, enum kv_status status, const char *text);

/* Parts and requests not done; the oldest that was sent, for messages. */
size_t courier_pending(const struct courier *c);
const struct part *courier_oldest(const struct courier *c);

/* How many parts and requests were sent more than once. */
uint64_t courier_resent(const struct courier *c);

#endif
