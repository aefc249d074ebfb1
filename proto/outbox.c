#include "proto/outbox.h"

#include "common/base/check.h"

#define FRAMES_MAX 32 /* Of one system call; two buffers each. */

/* --- The queue ----------------------------------------------------------- */

static size_t size_of(const struct out_frame *f)
{
    return f->head_size + f->payload_size;
}

static struct out_frame *front_of(const struct outbox *o)
{
    struct list_link *node = list_first(&o->queue);

    return node == NULL ? NULL : LIST_ENTRY(node, struct out_frame, node);
}

static void pop_front(struct outbox *o, struct out_frame *f)
{
    list_unlink(&f->node);
    if (f->sent != NULL) {
        f->sent(f);
    }
    out_frame_put(o->pool, f);
}

/* The queue is in order whenever `sent` is called, whatever that does. */
static void written(struct outbox *o, size_t size)
{
    struct out_frame *f = front_of(o);

    o->bytes += size;
    o->queued_bytes -= size;
    o->front_written += size;
    while (f != NULL && o->front_written >= size_of(f)) {
        o->front_written -= size_of(f);
        pop_front(o, f);
        f = front_of(o);
    }
}

/* --- Gathering: what is unwritten, in place ------------------------------ */

/* The part of `data` behind the first *skip bytes. */
static unsigned gather_part(uv_buf_t *bufs, unsigned count, const void *data,
                            size_t size, size_t *skip)
{
    if (*skip >= size) {
        *skip -= size;
        return count;
    }
    bufs[count] = uv_buf_init((char *)data + *skip, (unsigned)(size - *skip));
    *skip = 0;
    return count + 1;
}

static unsigned gather(const struct outbox *o, unsigned frames, uv_buf_t *bufs,
                       size_t *size)
{
    size_t skip = o->front_written;
    unsigned count = 0;

    *size = 0;
    LIST_EACH(&o->queue, node, after)
    {
        const struct out_frame *f = LIST_ENTRY(node, struct out_frame, node);

        if (frames-- == 0) {
            break;
        }
        count = gather_part(bufs, count, f->head, f->head_size, &skip);
        count = gather_part(bufs, count, f->payload, f->payload_size, &skip);
        *size += size_of(f);
    }
    *size -= o->front_written;
    return count;
}

/* --- Writing ------------------------------------------------------------- */

static void on_written(uv_write_t *request, int uv_error)
{
    struct outbox *o = request->data;
    size_t before = o->queued_bytes;

    o->writing = false;
    if (o->stopped) {
        return; /* Canceled; it is dropped with the rest. */
    }
    if (uv_error == 0) {
        written(o, size_of(front_of(o)) - o->front_written);
        uv_error = outbox_flush(o);
    }
    if (!o->stopped) {
        o->wrote(o, before, uv_error);
    }
}

static int write_later(struct outbox *o)
{
    uv_buf_t bufs[2];
    size_t size;
    unsigned count = gather(o, 1, bufs, &size);
    int uv_error = uv_write(&o->request, o->stream, bufs, count, on_written);

    o->writing = uv_error == 0;
    return uv_error;
}

bool outbox_ready(const struct outbox *o)
{
    return !o->stopped && !o->writing && !list_empty(&o->queue);
}

int outbox_flush(struct outbox *o)
{
    uv_buf_t bufs[2 * FRAMES_MAX];
    int uv_error = 0;

    while (outbox_ready(o) && uv_error == 0) {
        size_t size;
        unsigned count = gather(o, FRAMES_MAX, bufs, &size);
        int n = uv_try_write(o->stream, bufs, count);

        if (n < 0 && n != UV_EAGAIN) {
            return n;
        }
        if (n > 0) {
            written(o, (size_t)n);
        }
        if (n < (int)size && outbox_ready(o)) {
            uv_error = write_later(o);
        }
    }
    return uv_error;
}

/* --- Public -------------------------------------------------------------- */

void outbox_init(struct outbox *o, uv_stream_t *stream, struct out_frames *pool,
                 outbox_wrote_fn wrote)
{
    o->queued_bytes = 0;
    o->bytes = 0;
    o->stream = stream;
    o->pool = pool;
    o->wrote = wrote;
    list_init(&o->queue);
    o->front_written = 0;
    o->writing = false;
    o->stopped = false;
    o->request.data = o;
}

void outbox_push(struct outbox *o, struct out_frame *f)
{
    list_push(&o->queue, &f->node);
    o->queued_bytes += size_of(f);
}

bool outbox_empty(const struct outbox *o)
{
    return list_empty(&o->queue);
}

bool outbox_full(const struct outbox *o)
{
    return o->writing;
}

void outbox_stop(struct outbox *o)
{
    o->stopped = true;
}

void outbox_drop(struct outbox *o)
{
    struct out_frame *f;

    KV_CHECK(o->stopped && !o->writing);
    while ((f = front_of(o)) != NULL) {
        pop_front(o, f);
    }
    o->queued_bytes = 0;
}
