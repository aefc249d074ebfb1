/**
 * session - one worker's link to one shard: what it says, and the answers.
 *
 * Pure: the messages come from a link or from a simulation, and go out through
 * `io`. Checks what a worker may say at all, finds the place for a payload
 * before it is read, and packs answers: a large value travels alone and
 * zero-copy from its block, small ones and acknowledgements are batched until
 * session_flush().
 *
 * Thread:  the shard's.
 * Memory:  the caller owns struct session, one per rank and shard at a time.
 * Result:  an error from session_head() or session_frame() means that the peer
 *          broke the protocol (session.text says how): close the link. What a
 *          user can do wrong is answered with an Error message instead.
 */
#ifndef KV_SERVER_SESSION_H
#define KV_SERVER_SESSION_H

#include "proto/message.h"
#include "server/shard.h"

struct session_io {
    /* Queue a frame. The message is borrowed. The payload stays valid until it
     * is let go of: `block`, when not NULL, was held for it (arena_release() it
     * when sent), `buffer`, when not NULL, goes back to the pool when sent. */
    void (*send)(void *ctx, const struct message *m, uint64_t request_id,
                 const void *payload, size_t size, void *block,
                 struct buffer *buffer);
    void *ctx;
};

struct session {
    struct shard *shard;
    struct bufpool *buffers;
    uint32_t rank;
    const char *text; /* What the peer did wrong; static. */
    bool blocked;     /* session_head() said KV_EAGAIN. */
    /* Private. */
    const struct session_io *io;
    struct arena *arena;
    struct buffer *incoming; /* For the payload being read. */
    struct run ack_runs[KV_BATCH_RUNS_MAX];
    struct run value_runs[KV_BATCH_RUNS_MAX];
    struct run again_runs[KV_BATCH_RUNS_MAX];
    struct message_batch acks, values, again;
    struct buffer *value_bytes; /* Small values, back to back. */
    size_t value_size;
    size_t answered; /* Bytes of values, to the Pull that is being read. */
};

void session_init(struct session *s, struct shard *shard, struct arena *arena,
                  struct bufpool *buffers, uint32_t rank,
                  const struct session_io *io);

/* Forget what this rank left open. Nothing is sent any more. */
void session_fini(struct session *s);

/* Where shall this payload go? KV_EAGAIN: the rank already holds as much as it
 * may; ask again after shard_events.released. */
KV_MUST_CHECK enum kv_status session_head(struct session *s,
                                          const struct message *m,
                                          size_t payload_size, void **sink);

KV_MUST_CHECK enum kv_status
session_frame(struct session *s, uint64_t request_id, const struct message *m,
              const void *payload, size_t payload_size, uint64_t now_ms);

/* Answer a request: Ok, or Error with this sentence. */
void session_reply(struct session *s, uint64_t request_id,
                   enum kv_status status, const char *text);

/* From shard_events, for this session's rank. */
void session_answer(struct session *s, const struct shard_answer *a);
void session_opened(struct session *s, uint64_t request_id,
                    enum kv_status status, const char *text, uint32_t slot,
                    uint64_t round, bool reset);
void session_stalled(struct session *s, uint32_t slot, uint64_t round,
                     uint32_t seconds, const uint32_t *missing,
                     const bool *connected, uint32_t missing_count);

/* The request of this id waits for `what`. */
void session_waiting(struct session *s, uint64_t request_id, const char *what,
                     uint32_t seconds);
void session_norms(struct session *s, uint32_t slot, uint64_t round,
                   uint32_t pass, const double *sums);

void session_skipped(struct session *s, uint32_t slot, uint64_t round,
                     const struct shard_skip *skip);

/* Answer a request: Versioned. */
void session_version(struct session *s, uint64_t request_id, uint32_t key_id,
                     uint32_t slice);

/* Send what is batched. After each frame that was handled, for every session
 * that got answers. */
void session_flush(struct session *s);

/* Are there answers to flush? */
bool session_dirty(const struct session *s);

#endif
