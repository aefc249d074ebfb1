/**
 * fuzz_job - three ranks' sessions with one shard, and members of the job that
 * say anything a frame can say, in any order, and break off anywhere.
 *
 *     begin(&job, policy);
 *     say(&job, rank, &message, payload_size, &in);   reconnect(), stall(), ...
 *     end(&job);
 *
 * A payload is `prepared`, or else comes from the input: one byte everywhere,
 * but for the first eight.
 *
 * Thread:  one.
 * Memory:  the job's, all freed by end().
 */
#ifndef KV_TESTS_FUZZ_FUZZ_JOB_H
#define KV_TESTS_FUZZ_FUZZ_JOB_H

#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "server/session.h"
#include "tests/fuzz/fuzz.h"

#define RANKS 3
#define SENT_MAX 256
#define STEPS_MAX 400

struct job {
    struct arena *arena;
    struct bufpool pool;
    struct shard *shard;
    uint64_t now_ms;
    struct seat {
        struct job *job;
        uint32_t rank;
        struct session session;
        struct session_io io;
    } seat[RANKS];
    struct {
        void *block;
        struct buffer *buffer;
    } sent[SENT_MAX];
    size_t sent_count;
    const unsigned char *prepared; /* The payload; NULL: from the input. */
    uint32_t opened; /* The slot of the last Open that went well. */
    unsigned full;   /* Ranks to which much waits to go out, as bits. */
};

static unsigned char blocks[2][MESSAGE_SCRATCH_SIZE]
    __attribute__((aligned(64)));

/* --- Out ----------------------------------------------------------------- */

/* The links have sent everything. */
static inline void let_go(struct job *j)
{
    for (size_t i = 0; i < j->sent_count; i++) {
        if (j->sent[i].block != NULL) {
            arena_release(j->arena, j->sent[i].block);
        }
        bufpool_put(&j->pool, j->sent[i].buffer);
    }
    j->sent_count = 0;
}

/* What a server sends, a worker's parser takes. */
static inline void on_send(void *ctx, const struct message *m,
                           uint64_t request_id, const void *payload,
                           size_t size, void *block, struct buffer *buffer)
{
    static unsigned char meta[KV_META_MAX];
    struct job *j = ((struct seat *)ctx)->job;
    struct scratch scratch;
    struct message got;
    size_t meta_size;

    (void)request_id;
    scratch_init(&scratch, blocks[0], sizeof blocks[0]);
    KV_CHECK(message_pack(m, meta, sizeof meta, &meta_size) == KV_OK);
    KV_CHECK(message_unpack(&scratch, meta, meta_size, size, &got, NULL) ==
             KV_OK);
    if (size > 0) {
        const volatile unsigned char *bytes = payload;

        (void)bytes[0];
        (void)bytes[size - 1];
    }
    if (j->sent_count == SENT_MAX) {
        let_go(j);
    }
    j->sent[j->sent_count].block = block;
    j->sent[j->sent_count++].buffer = buffer;
}

static inline void on_answer(void *ctx, const struct shard_answer *a)
{
    struct job *j = ctx;

    session_answer(&j->seat[a->rank].session, a);
}

static inline void on_opened(void *ctx, uint32_t rank, uint64_t request_id,
                             enum kv_status status, const char *text,
                             uint32_t slot, uint64_t round, bool reset)
{
    struct job *j = ctx;

    j->opened = status == KV_OK ? slot : j->opened;
    session_opened(&j->seat[rank].session, request_id, status, text, slot,
                   round, reset);
}

static inline void on_norms(void *ctx, uint32_t rank, uint32_t slot,
                            uint64_t round, uint32_t pass, const double *sums)
{
    struct job *j = ctx;

    session_norms(&j->seat[rank].session, slot, round, pass, sums);
}

static inline void on_released(void *ctx, uint32_t rank)
{
    (void)ctx;
    (void)rank;
}

static inline bool is_full(void *ctx, uint32_t rank)
{
    const struct job *j = ctx;

    return (j->full >> rank & 1) != 0;
}

static inline void on_stall(void *ctx, uint32_t rank, uint32_t slot,
                            uint64_t round, uint64_t since_ms,
                            const uint32_t *missing, uint32_t missing_count)
{
    struct job *j = ctx;
    bool connected[RANKS] = {true};

    (void)since_ms;
    session_stalled(&j->seat[rank].session, slot, round, 1, missing, connected,
                    missing_count);
}

static inline void on_skipped(void *ctx, uint32_t rank, uint32_t slot,
                              uint64_t round, const struct shard_skip *skip)
{
    struct job *j = ctx;

    session_skipped(&j->seat[rank].session, slot, round, skip);
}

/* --- Life ---------------------------------------------------------------- */

static inline void sit_down(struct job *j, uint32_t rank)
{
    struct seat *seat = &j->seat[rank];

    seat->job = j;
    seat->rank = rank;
    seat->io = (struct session_io){on_send, seat};
    session_init(&seat->session, j->shard, j->arena, &j->pool, rank, &seat->io);
}

static inline void reconnect(struct job *j, uint32_t rank)
{
    session_fini(&j->seat[rank].session);
    sit_down(j, rank);
}

static inline void begin(struct job *j, uint32_t policy)
{
    const struct shard_events events = {
        on_answer, on_opened, on_norms, on_skipped, on_released, is_full, j};
    struct arena_config config = {.name = "fuzz",
                                  .size_max = (size_t)64 << 20,
                                  .size_initial = (size_t)64 << 10};
    char error[512];

    config.identity.shards = 1;
    config.identity.workers = RANKS;
    KV_CHECK(arena_open(&config, &j->arena, error, sizeof error) == KV_OK);
    bufpool_init(&j->pool, (size_t)16 << 20);
    KV_CHECK(shard_new(j->arena, RANKS, &j->pool, &events, &j->shard, error,
                       sizeof error) == KV_OK);
    KV_CHECK(shard_policy(j->shard, policy, 0, error, sizeof error) == KV_OK);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        sit_down(j, rank);
    }
}

static inline void end(struct job *j)
{
    let_go(j);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        session_fini(&j->seat[rank].session);
    }
    shard_free(j->shard);
    KV_CHECK(j->pool.out_count == 0);
    bufpool_fini(&j->pool);
    arena_close(j->arena);
}

/* --- In ------------------------------------------------------------------ */

/* As a link gives it: the payload in the sink, or borrowed for the call. */
static inline enum kv_status deliver(struct job *j, uint32_t rank,
                                     const struct message *m, size_t size,
                                     struct fuzz_input *in)
{
    struct session *s = &j->seat[rank].session;
    unsigned char *payload, *borrowed = NULL;
    uint64_t id = 1 + fuzz_take(in, 1);
    void *sink = NULL;
    enum kv_status status = session_head(s, m, size, &sink);

    if (status != KV_OK) {
        return status;
    }
    payload = sink;
    if (sink == NULL) {
        payload = borrowed = malloc(size + 1);
        KV_CHECK(borrowed != NULL);
    }
    if (j->prepared != NULL) {
        memcpy(payload, j->prepared, size);
    } else {
        memset(payload, (int)fuzz_take(in, 1), size);
        fuzz_copy(in, payload, size < 8 ? size : 8);
    }
    if (id == 0x100) { /* It broke off in the middle of the payload. */
        status = KV_ECONN;
    } else {
        status = session_frame(s, id % 8, m, payload, size, j->now_ms);
    }
    free(borrowed);
    return status;
}

static inline void say_packed(struct job *j, uint32_t rank, const void *meta,
                              size_t meta_size, size_t size,
                              struct fuzz_input *in)
{
    struct scratch scratch;
    struct message m = {.kind = MESSAGE_NONE};
    enum kv_status status;

    scratch_init(&scratch, blocks[1], sizeof blocks[1]);
    status = message_unpack(&scratch, meta, meta_size, size, &m, NULL);
    if (status == KV_OK) {
        status = deliver(j, rank, &m, size, in);
    }
    if (status != KV_OK && status != KV_EAGAIN) {
        reconnect(j, rank);
    }
    for (uint32_t r = 0; r < RANKS; r++) {
        session_flush(&j->seat[r].session);
        KV_CHECK(!session_dirty(&j->seat[r].session));
    }
}

static inline void say(struct job *j, uint32_t rank, const struct message *m,
                       size_t size, struct fuzz_input *in)
{
    static unsigned char meta[KV_META_MAX];
    size_t meta_size;

    KV_CHECK(message_pack(m, meta, sizeof meta, &meta_size) == KV_OK);
    say_packed(j, rank, meta, meta_size, size, in);
}

/* Metadata as it stands in the input. */
static inline void say_anything(struct job *j, uint32_t rank,
                                struct fuzz_input *in)
{
    unsigned char meta[256];
    size_t size = fuzz_take(in, 1), payload = fuzz_take(in, 2);

    fuzz_copy(in, meta, size);
    say_packed(j, rank, meta, size, payload, in);
}

static inline void stall(struct job *j, struct fuzz_input *in)
{
    bool blocked[RANKS];
    unsigned who = (unsigned)fuzz_take(in, 1);

    for (uint32_t rank = 0; rank < RANKS; rank++) {
        blocked[rank] = who >> rank & 1;
    }
    j->now_ms += 1000;
    shard_stalls(j->shard, j->now_ms, 500, on_stall, j);
    if (who & 0x80) {
        shard_untangle(j->shard, blocked);
    }
    j->full = who >> RANKS;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        shard_drained(j->shard, rank);
    }
}

#endif
