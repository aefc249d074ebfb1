#include "server/shard_thread_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"

/* Above this a link is not read from, and pulls of its rank that have waited
 * wait on, until its answers have gone out. */
#define QUEUED_HIGH_BYTES ((size_t)4 << 20)
#define QUEUED_LOW_BYTES ((size_t)1 << 20)

/* Answers of at least so much are written between two frames that come in,
 * while the values are still in the cache, rather than after all of them. */
#define WRITE_NOW_BYTES ((size_t)128 << 10)

/* --- Sending ------------------------------------------------------------- */

static void on_block_sent(struct out_frame *f)
{
    arena_release(f->owner[0], f->owner[1]);
}

static void on_buffer_sent(struct out_frame *f)
{
    bufpool_put(f->owner[0], f->owner[1]);
}

static void send_message(void *ctx, const struct message *m,
                         uint64_t request_id, const void *payload, size_t size,
                         void *block, struct buffer *buffer)
{
    struct seat *seat = ctx;
    struct shard_thread *t = seat->thread;
    enum kv_status status;

    KV_CHECK(block == NULL || buffer == NULL);
    if (block != NULL) {
        status = link_send(&seat->link, m, request_id, payload, size,
                           on_block_sent, t->arena, block);
    } else if (buffer != NULL) {
        status = link_send(&seat->link, m, request_id, payload, size,
                           on_buffer_sent, &t->hub.buffers, buffer);
    } else {
        status = link_send(&seat->link, m, request_id, payload, size, NULL,
                           NULL, NULL);
    }
    if (status == KV_OK) {
        return;
    }
    if (block != NULL) {
        arena_release(t->arena, block);
    }
    bufpool_put(&t->hub.buffers, buffer);
    link_close(&seat->link, status, "no memory for an answer");
}

void seats_flush(struct shard_thread *t)
{
    struct list_link *node;

    while ((node = list_pop(&t->dirty)) != NULL) {
        struct seat *seat = LIST_ENTRY(node, struct seat, among_dirty);

        session_flush(&seat->session);
        if (link_queued(&seat->link) >= WRITE_NOW_BYTES) {
            link_flush(&seat->link);
        }
    }
}

/* --- What the shard has finished ----------------------------------------- */

struct seat *seat_answering(struct shard_thread *t, uint32_t rank)
{
    struct seat *seat = t->by_rank[rank];

    if (seat != NULL && !list_linked(&seat->among_dirty)) {
        list_push(&t->dirty, &seat->among_dirty);
    }
    return seat;
}

static void on_answer(void *ctx, const struct shard_answer *a)
{
    struct seat *seat = seat_answering(ctx, a->rank);

    if (seat != NULL) {
        session_answer(&seat->session, a);
    }
}

static void on_opened(void *ctx, uint32_t rank, uint64_t request_id,
                      enum kv_status status, const char *text, uint32_t slot,
                      uint64_t round, bool reset)
{
    struct seat *seat = seat_answering(ctx, rank);

    if (seat != NULL) {
        session_opened(&seat->session, request_id, status, text, slot, round,
                       reset);
    }
}

static void on_norms(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                     uint32_t pass, const double *sums)
{
    struct seat *seat = seat_answering(ctx, rank);

    if (seat != NULL) {
        session_norms(&seat->session, slot, round, pass, sums);
    }
}

static void on_skipped(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                       const struct shard_skip *skip)
{
    struct seat *seat = seat_answering(ctx, rank);

    if (seat != NULL) {
        session_skipped(&seat->session, slot, round, skip);
    }
}

static bool is_full(void *ctx, uint32_t rank)
{
    const struct shard_thread *t = ctx;
    const struct seat *seat = t->by_rank[rank];

    return seat != NULL && link_queued(&seat->link) > QUEUED_HIGH_BYTES;
}

static void on_released(void *ctx, uint32_t rank)
{
    struct shard_thread *t = ctx;

    if (t->by_rank[rank] != NULL) {
        link_resume(&t->by_rank[rank]->link);
    }
}

void seats_events(struct shard_thread *t, struct shard_events *out)
{
    *out = (struct shard_events){.answer = on_answer,
                                 .opened = on_opened,
                                 .norms = on_norms,
                                 .skipped = on_skipped,
                                 .released = on_released,
                                 .full = is_full,
                                 .ctx = t};
}

/* --- The end ------------------------------------------------------------- */

void seat_leave(struct seat *seat)
{
    struct shard_thread *t = seat->thread;

    if (!seat->live) {
        return;
    }
    seat->live = false;
    t->by_rank[seat->rank] = NULL;
    if (list_linked(&seat->among_dirty)) {
        list_unlink(&seat->among_dirty);
    }
    session_fini(&seat->session);
    seats_flush(t);
}

static void on_closed(struct link *l, enum kv_status status, const char *text)
{
    struct seat *seat = l->data;
    struct shard_thread *t = seat->thread;

    if (status != KV_OK && status != KV_ECONN && status != KV_ESTALE &&
        log_allow(&t->refusals, uv_now(&t->loop))) {
        log_warn("shard %" PRIu32 ": rank %" PRIu32
                 " at %s: connection closed: %s",
                 t->index, seat->rank, seat->peer, text);
    } else {
        log_debug("shard %" PRIu32 ": rank %" PRIu32 " at %s: %s", t->index,
                  seat->rank, seat->peer, text);
    }
    seat_leave(seat);
    list_unlink(&seat->among_seats);
    mem_free(seat);
    if (t->stopping && list_empty(&t->seats)) {
        shard_thread_wind_down(t);
    }
}

/* --- Frames -------------------------------------------------------------- */

static enum kv_status on_head(struct link *l, const struct frame_head *head,
                              const struct message *m, void **sink)
{
    struct seat *seat = l->data;
    enum kv_status status;

    if (!seat->live) {
        return KV_ECANCELED;
    }
    if (link_queued(l) > QUEUED_HIGH_BYTES) {
        return KV_EAGAIN; /* on_drained() will resume. */
    }
    status = session_head(&seat->session, m, head->payload_size, sink);
    if (status == KV_EAGAIN) {
        shard_watch(seat->thread);
    } else if (status != KV_OK) {
        link_close(l, status, seat->session.text);
    }
    return status;
}

static enum kv_status on_frame(struct link *l, const struct frame_head *head,
                               const struct message *m, const void *payload)
{
    struct seat *seat = l->data;
    struct shard_thread *t = seat->thread;
    enum kv_status status;

    if (!seat->live) {
        return KV_ECANCELED;
    }
    status = session_frame(&seat->session, head->request_id, m, payload,
                           head->payload_size, uv_now(&t->loop));
    if (status != KV_OK) {
        link_close(l, status, seat->session.text);
    } else if (session_dirty(&seat->session)) {
        (void)seat_answering(t, seat->rank);
    }
    seats_flush(t);
    shard_watch(t);
    return status;
}

static void on_drained(struct link *l)
{
    struct seat *seat = l->data;

    if (seat->live) {
        shard_drained(seat->thread->shard, seat->rank);
        session_flush(&seat->session); /* The hub writes: that comes here. */
    }
    link_resume(l);
}

static const struct link_events seat_events = {
    .head = on_head,
    .frame = on_frame,
    .drained = on_drained,
    .closed = on_closed,
};

/* --- Adopting ------------------------------------------------------------ */

static void turn_away(struct seat *seat, enum kv_status status,
                      const char *text)
{
    struct message m = {.kind = MESSAGE_ERROR};

    m.error.status = status;
    m.error.text = text;
    if (log_allow(&seat->thread->refusals, uv_now(&seat->thread->loop))) {
        log_warn("shard %" PRIu32 ": rank %" PRIu32 " at %s is turned away: %s",
                 seat->thread->index, seat->rank, seat->peer, text);
    }
    send_message(seat, &m, 0, NULL, 0, NULL, NULL);
    link_finish(&seat->link);
}

static void welcome(struct seat *seat)
{
    struct shard_thread *t = seat->thread;
    struct message m = {.kind = MESSAGE_WELCOME};
    struct seat *before = t->by_rank[seat->rank];

    if (before != NULL) {
        seat_leave(before);
        link_close(&before->link, KV_ESTALE, "it has a newer connection");
    }
    seat->io = (struct session_io){.send = send_message, .ctx = seat};
    session_init(&seat->session, t->shard, t->arena, &t->hub.buffers,
                 seat->rank, &seat->io);
    seat->live = true;
    t->by_rank[seat->rank] = seat;
    m.welcome.arena_id = arena_id(t->arena);
    m.welcome.rank = seat->rank;
    send_message(seat, &m, 0, NULL, 0, NULL, NULL);
}

void seat_adopt(struct shard_thread *t, int fd, const struct hello *hello)
{
    struct seat *seat = t->stopping ? NULL : mem_zalloc(1, sizeof *seat);
    char error[KV_TEXT_MAX + 1] = "";
    struct sockaddr_storage peer;
    enum kv_status status;

    if (seat == NULL) {
        close(fd);
        return;
    }
    address_of_peer(fd, &peer);
    address_format(&peer, seat->peer, sizeof seat->peer);
    seat->thread = t;
    seat->rank = hello->rank;
    seat->link.data = seat;
    seat->link.low_water = QUEUED_LOW_BYTES;
    seat->link.checksum = !address_is_loopback(&peer);
    if (link_open(&seat->link, &t->hub, fd, &seat_events) != KV_OK) {
        log_warn("shard %" PRIu32 ": rank %" PRIu32
                 " cannot be served, out of memory or descriptors",
                 t->index, seat->rank);
        mem_free(seat);
        return;
    }
    list_push(&t->seats, &seat->among_seats);
    status =
        shard_policy(t->shard, hello->policy, hello->rank, error, sizeof error);
    if (status == KV_OK) {
        status = shard_fence(t->shard, hello->rank, hello->incarnation,
                             hello->token);
        snprintf(error, sizeof error,
                 "rank %" PRIu32 " belongs to a newer process", hello->rank);
    }
    if (status != KV_OK) {
        turn_away(seat, status, error);
        return;
    }
    welcome(seat);
}
