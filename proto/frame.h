/**
 * frame - bytes to frames: the prefix, its checksums, an incremental reader.
 *
 *   offset size
 *        0    4  magic "KVF1"
 *        4    2  version
 *        6    2  flags (bit 0: the payload has a CRC32C)
 *        8    8  request id; 0 where nothing waits for an answer
 *       16    4  metadata size, at most KV_META_MAX
 *       20    4  payload size, at most KV_PAYLOAD_MAX
 *       24    4  CRC32C of the payload; 0 without the flag
 *       28    4  CRC32C of bytes 0..27 and the metadata
 *
 * All little-endian. Metadata and payload follow.
 *
 * The reader does no I/O. It says where the next bytes should go
 * (frame_reader_want), and is told how many came (frame_reader_fed). Small
 * frames are read many at a time into its staging buffer; the payload of a
 * large one goes straight to where `head` says. However the stream is cut, the
 * same calls are made.
 *
 * Thread:  pure.
 * Memory:  frame_reader_init() allocates the staging buffer, nothing later
 *          does. What the callbacks are given is borrowed for the call.
 * Result:  the first error sticks: nothing is called after it.
 */
#ifndef KV_PROTO_FRAME_H
#define KV_PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "proto/limits.h"

#define FRAME_PREFIX_SIZE 32
#define FRAME_FLAG_PAYLOAD_CRC 1

struct frame_head {
    uint16_t flags;
    uint64_t request_id;
    uint32_t meta_size, payload_size;
    uint32_t payload_crc;
};

/* Write the prefix for `meta`, which must lie right behind it in memory:
 * out[FRAME_PREFIX_SIZE .. + meta_size). With `checksum` the payload's CRC is
 * computed and sent. */
void frame_seal(unsigned char *out, uint64_t request_id, size_t meta_size,
                const void *payload, size_t payload_size, bool checksum);

struct frame_reader;

/* A head has come and its checksum holds. Set *sink to where the payload shall
 * go, or leave it NULL to get it from the staging buffer; a payload beyond
 * KV_BATCH_PAYLOAD_MAX needs a sink (KV_ETOOBIG otherwise). KV_EAGAIN: not
 * now; the reader stops before the payload and asks again on
 * frame_reader_resume(). Any other error ends the reading. */
typedef enum kv_status (*frame_head_fn)(void *ctx,
                                        const struct frame_head *head,
                                        const void *meta, void **sink);

/* The whole frame has come; the payload is in the sink or in staging. */
typedef enum kv_status (*frame_done_fn)(void *ctx,
                                        const struct frame_head *head,
                                        const void *meta, const void *payload);

struct frame_reader {
    /* Private. */
    void *ctx;
    frame_head_fn on_head;
    frame_done_fn on_frame;
    unsigned char *staging;
    size_t begin, end; /* Unread bytes in staging. */
    struct frame_head head;
    unsigned char *meta; /* The current head's, kept while its payload comes. */
    unsigned char *sink; /* NULL: staging. */
    size_t sunk;
    enum { FRAME_HEAD, FRAME_PAYLOAD } phase;
    bool blocked; /* on_head said KV_EAGAIN. */
    bool direct;  /* The last frame had a sink: expect another. */
    enum kv_status status;
    const char *reason; /* A sentence for a status of the reader's own. */
};

KV_MUST_CHECK enum kv_status frame_reader_init(struct frame_reader *r,
                                               void *ctx, frame_head_fn on_head,
                                               frame_done_fn on_frame);
void frame_reader_fini(struct frame_reader *r);

/* Where to read next; size is never 0 unless blocked. */
void *frame_reader_want(struct frame_reader *r, size_t *size);

/* `size` bytes have been put where frame_reader_want() said. */
KV_MUST_CHECK enum kv_status frame_reader_fed(struct frame_reader *r,
                                              size_t size);

bool frame_reader_blocked(const struct frame_reader *r);
KV_MUST_CHECK enum kv_status frame_reader_resume(struct frame_reader *r);

/* True between the first byte of a frame and its last. */
bool frame_reader_midway(const struct frame_reader *r);

#endif
