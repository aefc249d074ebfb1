#include "proto/frame.h"

#include <string.h>

#include <isa-l/crc.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/mem.h"

#define MAGIC UINT32_C(0x3146564b) /* "KVF1" */

enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_FLAGS = 6,
    AT_REQUEST_ID = 8,
    AT_META_SIZE = 16,
    AT_PAYLOAD_SIZE = 20,
    AT_PAYLOAD_CRC = 24,
    AT_HEAD_CRC = 28,
};

/* What is left of staging is always worth a system call: with less than this
 * behind the unread bytes they move to the front. */
#define ROOM_MIN ((size_t)64 << 10)
#define STAGING_SIZE                                                           \
    (FRAME_PREFIX_SIZE + KV_META_MAX + KV_BATCH_PAYLOAD_MAX + ROOM_MIN)

/* While large frames are expected: enough for a head, and little of the payload
 * behind it, which would have to be copied to its sink. */
#define DIRECT_WINDOW ((size_t)4 << 10)

/* --- CRC32C -------------------------------------------------------------- */

static uint32_t crc_more(uint32_t crc, const void *data, size_t size)
{
    return crc32_iscsi((unsigned char *)data, (int)size, crc);
}

static uint32_t crc_of_head(const unsigned char *prefix, size_t meta_size)
{
    uint32_t crc = crc_more(UINT32_MAX, prefix, AT_HEAD_CRC);

    return ~crc_more(crc, prefix + FRAME_PREFIX_SIZE, meta_size);
}

static uint32_t crc_of_payload(const void *payload, size_t size)
{
    return ~crc_more(UINT32_MAX, payload, size);
}

/* --- Writing ------------------------------------------------------------- */

void frame_seal(unsigned char *out, uint64_t request_id, size_t meta_size,
                const void *payload, size_t payload_size, bool checksum)
{
    KV_CHECK(meta_size <= KV_META_MAX && payload_size <= KV_PAYLOAD_MAX);
    bytes_put_u32(out + AT_MAGIC, MAGIC);
    bytes_put_u16(out + AT_VERSION, KV_VERSION_MAX);
    bytes_put_u16(out + AT_FLAGS, checksum ? FRAME_FLAG_PAYLOAD_CRC : 0);
    bytes_put_u64(out + AT_REQUEST_ID, request_id);
    bytes_put_u32(out + AT_META_SIZE, (uint32_t)meta_size);
    bytes_put_u32(out + AT_PAYLOAD_SIZE, (uint32_t)payload_size);
    bytes_put_u32(out + AT_PAYLOAD_CRC,
                  checksum ? crc_of_payload(payload, payload_size) : 0);
    bytes_put_u32(out + AT_HEAD_CRC, crc_of_head(out, meta_size));
}

/* --- Reading: steps, each true when it got further ----------------------- */

static bool fail(struct frame_reader *r, enum kv_status status,
                 const char *reason)
{
    r->status = status;
    r->reason = reason;
    return false;
}

/* The fixed part. Nothing is believed before it has been compared with its
 * limit, and nothing but the sizes before the checksum has been seen. */
static bool read_prefix(struct frame_reader *r, const unsigned char *at)
{
    uint16_t version = bytes_get_u16(at + AT_VERSION);

    if (bytes_get_u32(at + AT_MAGIC) != MAGIC) {
        return fail(r, KV_EPROTO, "what came is not a frame");
    }
    if (version < KV_VERSION_MIN || version > KV_VERSION_MAX) {
        return fail(r, KV_EPROTO, "frame of an unknown version");
    }
    r->head.flags = bytes_get_u16(at + AT_FLAGS);
    r->head.request_id = bytes_get_u64(at + AT_REQUEST_ID);
    r->head.meta_size = bytes_get_u32(at + AT_META_SIZE);
    r->head.payload_size = bytes_get_u32(at + AT_PAYLOAD_SIZE);
    r->head.payload_crc = bytes_get_u32(at + AT_PAYLOAD_CRC);
    if (r->head.meta_size > KV_META_MAX) {
        return fail(r, KV_ETOOBIG, "metadata of a frame exceeds its limit");
    }
    if (r->head.payload_size > KV_PAYLOAD_MAX) {
        return fail(r, KV_ETOOBIG, "payload of a frame exceeds its limit");
    }
    if ((r->head.flags & ~FRAME_FLAG_PAYLOAD_CRC) != 0) {
        return fail(r, KV_EPROTO, "frame with unknown flags");
    }
    if (r->head.flags == 0 && r->head.payload_crc != 0) {
        return fail(r, KV_EPROTO, "payload checksum without its flag");
    }
    return true;
}

/* Ask where the payload goes, and move there what has already come of it. */
static bool begin_payload(struct frame_reader *r)
{
    void *sink = NULL;
    enum kv_status status;
    size_t came;

    status = r->on_head(r->ctx, &r->head, r->meta, &sink);
    if (status == KV_EAGAIN) {
        r->blocked = true;
        return false;
    }
    if (status != KV_OK) {
        return fail(r, status, NULL);
    }
    if (sink == NULL && r->head.payload_size > KV_BATCH_PAYLOAD_MAX) {
        return fail(r, KV_ETOOBIG, "payload exceeds the limit of a batch");
    }
    r->phase = FRAME_PAYLOAD;
    r->sink = sink;
    r->direct = sink != NULL;
    if (sink == NULL) {
        return true;
    }
    r->begin += FRAME_PREFIX_SIZE + r->head.meta_size;
    came = r->end - r->begin;
    r->sunk = came < r->head.payload_size ? came : r->head.payload_size;
    memcpy(sink, r->staging + r->begin, r->sunk);
    r->begin += r->sunk;
    return true;
}

static bool read_head(struct frame_reader *r)
{
    unsigned char *at = r->staging + r->begin;
    size_t came = r->end - r->begin;

    if (came < FRAME_PREFIX_SIZE || !read_prefix(r, at) ||
        came < FRAME_PREFIX_SIZE + r->head.meta_size) {
        return false;
    }
    if (bytes_get_u32(at + AT_HEAD_CRC) != crc_of_head(at, r->head.meta_size)) {
        return fail(r, KV_EPROTO, "checksum of a frame's head is wrong");
    }
    r->meta = at + FRAME_PREFIX_SIZE;
    return begin_payload(r);
}

static bool read_payload(struct frame_reader *r)
{
    size_t head_size = FRAME_PREFIX_SIZE + r->head.meta_size;
    unsigned char *payload = r->sink;
    enum kv_status status;

    if (r->sink == NULL) {
        if (r->end - r->begin < head_size + r->head.payload_size) {
            return false;
        }
        payload = r->staging + r->begin + head_size;
        r->begin += head_size + r->head.payload_size;
    } else if (r->sunk < r->head.payload_size) {
        return false;
    }
    if (r->head.flags != 0 &&
        crc_of_payload(payload, r->head.payload_size) != r->head.payload_crc) {
        return fail(r, KV_EPROTO, "checksum of a payload is wrong");
    }
    r->phase = FRAME_HEAD;
    status = r->on_frame(r->ctx, &r->head, r->meta, payload);
    if (status != KV_OK) {
        return fail(r, status, NULL);
    }
    return true;
}

static enum kv_status read_on(struct frame_reader *r)
{
    bool further = r->status == KV_OK && !r->blocked;

    while (further) {
        further = r->phase == FRAME_HEAD ? read_head(r) : read_payload(r);
    }
    return r->status;
}

/* --- Reading: where the bytes go ----------------------------------------- */

/* Bytes that must stand together in staging before the next step, of which the
 * first `end - begin` are there. */
static size_t together(const struct frame_reader *r)
{
    size_t size = FRAME_PREFIX_SIZE;

    if (r->end - r->begin >= FRAME_PREFIX_SIZE) {
        size += r->head.meta_size;
    }
    if (r->phase == FRAME_PAYLOAD) {
        size += r->head.payload_size;
    }
    return size;
}

static void make_room(struct frame_reader *r)
{
    size_t unread = r->end - r->begin;

    if (unread > 0 && STAGING_SIZE - r->end >= ROOM_MIN &&
        STAGING_SIZE - r->begin >= together(r)) {
        return;
    }
    memmove(r->staging, r->staging + r->begin, unread);
    r->begin = 0;
    r->end = unread;
    r->meta = r->staging + FRAME_PREFIX_SIZE;
}

/* --- Public -------------------------------------------------------------- */

enum kv_status frame_reader_init(struct frame_reader *r, void *ctx,
                                 frame_head_fn on_head, frame_done_fn on_frame)
{
    unsigned char *staging = mem_aligned(MEM_ALIGN_MIN, STAGING_SIZE);

    if (staging == NULL) {
        return KV_ENOMEM;
    }
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    r->on_head = on_head;
    r->on_frame = on_frame;
    r->staging = staging;
    return KV_OK;
}

void frame_reader_fini(struct frame_reader *r)
{
    mem_free(r->staging);
    r->staging = NULL;
}

void *frame_reader_want(struct frame_reader *r, size_t *size)
{
    size_t room, least;

    if (r->blocked) {
        *size = 0;
        return r->staging;
    }
    if (r->phase == FRAME_PAYLOAD && r->sink != NULL) {
        *size = r->head.payload_size - r->sunk;
        return r->sink + r->sunk;
    }
    make_room(r);
    room = STAGING_SIZE - r->end;
    if (r->direct) {
        least = together(r) - (r->end - r->begin);
        least = least > DIRECT_WINDOW ? least : DIRECT_WINDOW;
        room = room < least ? room : least;
    }
    *size = room;
    return r->staging + r->end;
}

enum kv_status frame_reader_fed(struct frame_reader *r, size_t size)
{
    KV_CHECK(!r->blocked || size == 0);
    if (r->phase == FRAME_PAYLOAD && r->sink != NULL) {
        r->sunk += size;
        KV_CHECK(r->sunk <= r->head.payload_size);
    } else {
        r->end += size;
        KV_CHECK(r->end <= STAGING_SIZE);
    }
    return read_on(r);
}

bool frame_reader_blocked(const struct frame_reader *r)
{
    return r->blocked;
}

enum kv_status frame_reader_resume(struct frame_reader *r)
{
    r->blocked = false;
    return read_on(r);
}

bool frame_reader_midway(const struct frame_reader *r)
{
    return r->phase == FRAME_PAYLOAD || r->begin != r->end;
}
