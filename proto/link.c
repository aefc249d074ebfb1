#include "proto/link.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/check.h"

/* A stalled frame is found by ticks without progress, not by the clock: a
 * process that was stopped for a while sees one tick, and then reads on. */
#define TICKS_MAX 4
#define TICK_MS (KV_PROGRESS_MS / TICKS_MAX)
#define PROGRESS_BYTES ((uint64_t)64 << 10)

#define FINISH_MS 2000

/* Of one run: four numbers, as long as they get on the wire. */
#define RUN_META_MAX 25
#define BATCH_META_FIXED 32

enum { OPEN, FINISHING, LINGERING, CLOSING, CLOSED };

static const struct fsm_state link_states[] = {
    [OPEN] = {"open", FSM_TO(FINISHING) | FSM_TO(CLOSING)},
    [FINISHING] = {"finishing", FSM_TO(LINGERING) | FSM_TO(CLOSING)},
    [LINGERING] = {"lingering", FSM_TO(CLOSING)},
    [CLOSING] = {"closing", FSM_TO(CLOSED)},
    [CLOSED] = {"closed", 0},
};

/* --- The way out --------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;

    if (--l->handles > 0) {
        return;
    }
    outbox_drop(&l->out);
    frame_reader_fini(&l->reader);
    l->hub->links--;
    fsm_move(&l->fsm, CLOSED);
    l->events->closed(l, l->status, l->text);
}

void link_close(struct link *l, enum kv_status status, const char *text)
{
    if (l->fsm.state >= CLOSING) {
        return; /* The first reason won. */
    }
    fsm_move(&l->fsm, CLOSING);
    l->status = status;
    snprintf(l->text, sizeof l->text, "%s", text);
    if (list_linked(&l->dirty)) {
        list_unlink(&l->dirty);
    }
    if (list_linked(&l->waking)) {
        list_unlink(&l->waking);
    }
    outbox_stop(&l->out);
    uv_close((uv_handle_t *)&l->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
}

static void lost(struct link *l, const char *doing, int uv_error)
{
    char text[sizeof l->text];

    snprintf(text, sizeof text, "%s: %s", doing, uv_strerror(uv_error));
    link_close(l, kv_status_from_uv(uv_error), text);
}

/* --- Progress ------------------------------------------------------------ */

static void on_tick(uv_timer_t *timer)
{
    struct link *l = timer->data;
    bool reading =
        frame_reader_midway(&l->reader) && !frame_reader_blocked(&l->reader);

    if (!reading && !outbox_full(&l->out)) {
        uv_timer_stop(timer); /* Idle links use no CPU. */
    } else if (reading && ++l->still_ticks > TICKS_MAX) {
        link_close(l, KV_ETIMEOUT, "a frame has stopped half-way");
    } else if (outbox_full(&l->out) && !link_peer_lives(l)) {
        link_close(l, KV_ETIMEOUT, "the peer has stopped answering");
    }
}

/* Cheap, for it follows every read and write: the timer is left running when it
 * is not needed any more, and stops by itself. */
static void start_ticking(struct link *l)
{
    if (!uv_is_active((uv_handle_t *)&l->timer)) {
        KV_CHECK(uv_timer_start(&l->timer, on_tick, TICK_MS, TICK_MS) == 0);
    }
}

static void mark_progress(struct link *l)
{
    l->marked_frames = l->frames_in;
    l->marked_bytes = l->bytes_in;
    l->still_ticks = 0;
}

static void watch_progress(struct link *l)
{
    if (!frame_reader_midway(&l->reader)) {
        return;
    }
    if (!uv_is_active((uv_handle_t *)&l->timer) ||
        l->frames_in != l->marked_frames ||
        l->bytes_in - l->marked_bytes >= PROGRESS_BYTES) {
        mark_progress(l);
    }
    start_ticking(l);
}

/* --- Writing ------------------------------------------------------------- */

/* Closing at once could reset the connection, and take from the peer what it
 * has not read yet: linger. */
static void last_written(struct link *l)
{
    uv_os_fd_t fd = -1;

    if (l->peer_done) {
        link_close(l, KV_OK, "finished");
        return;
    }
    fsm_move(&l->fsm, LINGERING);
    KV_CHECK(uv_fileno((uv_handle_t *)&l->tcp, &fd) == 0);
    (void)shutdown(fd, SHUT_WR);
}

static void have_written(struct link *l, size_t before, int uv_error)
{
    if (uv_error != 0) {
        lost(l, "write", uv_error);
        return;
    }
    l->bytes_out = l->out.bytes;
    if (l->fsm.state == OPEN && outbox_full(&l->out)) {
        start_ticking(l);
    } else if (l->fsm.state == OPEN) {
        link_peer_reads(l);
    }
    if (l->fsm.state == FINISHING && outbox_empty(&l->out)) {
        last_written(l);
    }
    if (l->fsm.state == OPEN && l->events->drained != NULL &&
        before > l->low_water && l->out.queued_bytes <= l->low_water) {
        l->events->drained(l);
    }
}

static void on_wrote(struct outbox *o, size_t before, int uv_error)
{
    have_written(LIST_ENTRY(o, struct link, out), before, uv_error);
}

static void on_finish_timeout(uv_timer_t *timer)
{
    link_close(timer->data, KV_OK, "finished");
}

void link_flush(struct link *l)
{
    size_t before = l->out.queued_bytes;

    if (list_linked(&l->dirty)) {
        list_unlink(&l->dirty);
    }
    if (l->fsm.state <= FINISHING) {
        have_written(l, before, outbox_flush(&l->out));
    }
}

size_t link_queued(const struct link *l)
{
    return l->out.queued_bytes;
}

/* --- Sending ------------------------------------------------------------- */

/* Exact enough for batches. Of other messages most are small, and there may be
 * one a key at a time: 0, for what there is at least. */
static size_t meta_bound(const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_PUSH:
    case MESSAGE_PULL:
    case MESSAGE_ANSWER:
    case MESSAGE_AGAIN:
        return BATCH_META_FIXED + RUN_META_MAX * (size_t)m->batch.run_count;
    default:
        return 0;
    }
}

static enum kv_status pack_within(struct link *l, const struct message *m,
                                  size_t bound, struct out_frame **out,
                                  size_t *size)
{
    struct out_frame *f = out_frame_get(&l->hub->frames, bound);
    enum kv_status status;

    if (f == NULL) {
        return KV_ENOMEM;
    }
    status = message_pack(m, f->head + FRAME_PREFIX_SIZE,
                          f->head_capacity - FRAME_PREFIX_SIZE, size);
    if (status != KV_OK) {
        out_frame_put(&l->hub->frames, f);
        return status;
    }
    *out = f;
    return KV_OK;
}

static void mark_dirty(struct link *l)
{
    if (!list_linked(&l->dirty)) {
        list_push(&l->hub->dirty, &l->dirty);
    }
}

enum kv_status link_send(struct link *l, const struct message *m,
                         uint64_t request_id, const void *payload,
                         size_t payload_size, out_frame_sent_fn sent,
                         void *owner0, void *owner1)
{
    struct out_frame *f;
    enum kv_status status;
    size_t meta_size;

    if (payload_size > KV_PAYLOAD_MAX) {
        return KV_ETOOBIG;
    }
    status = pack_within(l, m, meta_bound(m), &f, &meta_size);
    if (status == KV_ETOOBIG) {
        status = pack_within(l, m, KV_META_MAX, &f, &meta_size);
    }
    if (status != KV_OK) {
        return status;
    }
    frame_seal(f->head, request_id, meta_size, payload, payload_size,
               l->checksum);
    f->head_size = FRAME_PREFIX_SIZE + meta_size;
    f->payload = payload;
    f->payload_size = payload_size;
    f->sent = sent;
    f->owner[0] = owner0;
    f->owner[1] = owner1;
    outbox_push(&l->out, f);
    if (l->fsm.state <= FINISHING && outbox_ready(&l->out)) {
        mark_dirty(l);
    }
    return KV_OK;
}

/* --- Reading ------------------------------------------------------------- */

/* Links share a scratch, so another's message may have been unpacked into it
 * since this one's head came. */
static enum kv_status unpack(struct link *l, const struct frame_head *head,
                             const void *meta)
{
    const char *reason = "";
    enum kv_status status;

    scratch_reset(&l->hub->scratch);
    l->hub->unpacked = l;
    status = message_unpack(&l->hub->scratch, meta, head->meta_size,
                            head->payload_size, &l->message, &reason);
    if (status != KV_OK) {
        link_close(l, status, reason);
    }
    return status;
}

/* An error of the owner's ends the link; and when the owner has ended it, the
 * reader must not go on. */
static enum kv_status decided(struct link *l, enum kv_status status)
{
    if (status != KV_OK && status != KV_EAGAIN) {
        link_close(l, status, kv_strstatus(status));
    }
    return l->fsm.state == OPEN ? status : KV_ECANCELED;
}

static enum kv_status on_head(void *ctx, const struct frame_head *head,
                              const void *meta, void **sink)
{
    struct link *l = ctx;
    enum kv_status status = unpack(l, head, meta);

    if (status != KV_OK) {
        return status;
    }
    return decided(l, l->events->head(l, head, &l->message, sink));
}

static enum kv_status on_frame(void *ctx, const struct frame_head *head,
                               const void *meta, const void *payload)
{
    struct link *l = ctx;
    enum kv_status status;

    l->frames_in++;
    if (l->hub->unpacked != l) {
        KV_CHECK(unpack(l, head, meta) == KV_OK);
    }
    status = l->events->frame(l, head, &l->message, payload);
    KV_CHECK(status != KV_EAGAIN); /* Only a head can be put off. */
    return decided(l, status);
}

/* A finishing link is read only to find its end. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct link *l = handle->data;
    size_t size = MESSAGE_SCRATCH_SIZE;
    void *to = l->hub->scratch_memory;

    (void)suggested;
    if (l->fsm.state == OPEN) {
        to = frame_reader_want(&l->reader, &size);
    } else {
        l->hub->unpacked = NULL;
    }
    *buf = uv_buf_init(to, (unsigned)size);
}

/* The reader has gone as far as it could. */
static void have_read(struct link *l, enum kv_status status)
{
    if (l->fsm.state != OPEN) {
        return;
    }
    if (status != KV_OK) {
        link_close(l, status, l->reader.reason);
        return;
    }
    if (frame_reader_blocked(&l->reader)) {
        uv_read_stop((uv_stream_t *)&l->tcp);
        return;
    }
    watch_progress(l);
}

static void read_ended(struct link *l, int uv_error)
{
    if (uv_error != UV_EOF) {
        lost(l, "read", uv_error);
    } else if (l->fsm.state == FINISHING) {
        l->peer_done = true;
    } else if (l->fsm.state == LINGERING) {
        link_close(l, KV_OK, "finished");
    } else {
        link_close(l, KV_ECONN,
                   frame_reader_midway(&l->reader)
                       ? "peer closed in the middle of a frame"
                       : "peer closed");
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *l = stream->data;

    (void)buf;
    if (n == 0 || n == UV_ENOBUFS) {
        return; /* Nothing there; or blocked, and about to be woken. */
    }
    if (n < 0) {
        read_ended(l, (int)n);
        return;
    }
    l->bytes_in += (uint64_t)n;
    l->heard_ms = uv_now(stream->loop);
    if (l->fsm.state == OPEN) {
        have_read(l, frame_reader_fed(&l->reader, (size_t)n));
    }
}

static void start_reading(struct link *l)
{
    int uv_error = uv_read_start((uv_stream_t *)&l->tcp, on_alloc, on_read);

    KV_CHECK(uv_error == 0 || uv_error == UV_EALREADY);
}

/* Not from here: this may be another link's event, whose message would be lost
 * from the scratch. */
void link_resume(struct link *l)
{
    if (l->fsm.state == OPEN && frame_reader_blocked(&l->reader) &&
        !list_linked(&l->waking)) {
        list_push(&l->hub->waking, &l->waking);
        start_reading(l);
    }
}

void link_wake(struct link *l)
{
    mark_progress(l);
    have_read(l, frame_reader_resume(&l->reader));
}

/* --- Both ends of a life ------------------------------------------------- */

void link_finish(struct link *l)
{
    if (l->fsm.state != OPEN) {
        return;
    }
    fsm_move(&l->fsm, FINISHING);
    if (list_linked(&l->waking)) {
        list_unlink(&l->waking);
    }
    start_reading(l);
    KV_CHECK(uv_timer_start(&l->timer, on_finish_timeout, FINISH_MS, 0) == 0);
    mark_dirty(l); /* Even if there is nothing to write. */
}

enum kv_status link_open(struct link *l, struct link_hub *hub, int fd,
                         const struct link_events *events)
{
    enum kv_status status;

    l->bytes_in = 0;
    l->bytes_out = 0;
    l->heard_ms = uv_now(hub->loop);
    l->hub = hub;
    l->events = events;
    l->peer_done = false;
    outbox_init(&l->out, (uv_stream_t *)&l->tcp, &hub->frames, on_wrote);
    list_link_init(&l->dirty);
    list_link_init(&l->waking);
    l->frames_in = 0;
    mark_progress(l);
    l->spared_ms = 0;
    l->silent_ticks = 0;
    fsm_init(&l->fsm, link_states);
    status = frame_reader_init(&l->reader, l, on_head, on_frame);
    if (status != KV_OK) {
        close(fd);
        return status;
    }
    link_bound_socket(fd);
    KV_CHECK(uv_tcp_init(hub->loop, &l->tcp) == 0);
    KV_CHECK(uv_timer_init(hub->loop, &l->timer) == 0);
    KV_CHECK(uv_tcp_open(&l->tcp, fd) == 0);
    l->tcp.data = l;
    l->timer.data = l;
    l->handles = 2;
    hub->links++;
    start_reading(l);
    return KV_OK;
}
