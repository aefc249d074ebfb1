/* What a link receives: a stream of frames, cut anywhere, and the message in
 * each. Three bytes say how; the rest is the stream. */
#include <stdlib.h>

#include <isa-l/crc.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "proto/frame.h"
#include "proto/message.h"
#include "tests/fuzz/fuzz.h"

/* A frame at the end of the input may promise a payload that is not in it:
 * zeros follow, enough for one that needs a sink, and then the input again. */
#define STREAM_MAX ((size_t)320 << 10)

enum { CHECKSUMS_AS_THEY_ARE = 1, HEADS_PUT_OFF = 2, PIECES_TINY = 4 };

struct side {
    struct frame_reader reader;
    struct message message;
    unsigned char *sink;
    uint64_t trace; /* Of all that was said; equal for equal streams. */
    uint64_t random;
    unsigned how;
    size_t frames;
};

static unsigned char blocks[2][MESSAGE_SCRATCH_SIZE]
    __attribute__((aligned(64)));

/* --- Messages ------------------------------------------------------------ */

static size_t pack(const struct message *m, unsigned char out[KV_META_MAX])
{
    size_t size;

    KV_CHECK(message_pack(m, out, KV_META_MAX, &size) == KV_OK);
    return size;
}

/* What message.h promises of a batch: no run crosses the end of the slots, and
 * the sizes sum up to the payload's. */
static void check_batch(const struct message_batch *b, size_t payload_size)
{
    uint64_t entries = 0, bytes = 0;

    KV_CHECK(b->run_count >= 1 && b->run_count <= KV_BATCH_RUNS_MAX);
    for (uint32_t i = 0; i < b->run_count; i++) {
        const struct run *r = &b->runs[i];

        KV_CHECK(r->count >= 1 && r->slot < KV_SLOTS_MAX &&
                 r->count <= KV_SLOTS_MAX - r->slot);
        entries += r->count;
        bytes += (uint64_t)r->count * r->size;
    }
    KV_CHECK(entries <= KV_BATCH_ENTRIES_MAX && bytes == payload_size);
}

static void check_shape(const struct message *m)
{
    uint64_t count = 1;

    KV_CHECK(m->key.dims <= KV_DIMS_MAX);
    for (uint32_t i = 0; i < m->key.dims; i++) {
        KV_CHECK(m->key.shape[i] >= 1 &&
                 m->key.shape[i] <= KV_COUNT_MAX / count);
        count *= m->key.shape[i];
    }
}

static void check_limits(const struct message *m, size_t payload_size)
{
    switch (m->kind) {
    case MESSAGE_PUSH:
    case MESSAGE_PULL:
    case MESSAGE_ANSWER:
    case MESSAGE_AGAIN:
        check_batch(&m->batch, payload_size);
        break;
    case MESSAGE_KEY:
        check_shape(m);
        KV_CHECK(m->key.name == NULL || strlen(m->key.name) <= KV_KEY_NAME_MAX);
        break;
    case MESSAGE_ERROR:
        KV_CHECK(strlen(m->error.text) <= KV_TEXT_MAX);
        break;
    case MESSAGE_JOINED:
        KV_CHECK(m->joined.server_count <= KV_SERVERS_MAX);
        break;
    default:
        break;
    }
}

/* What was taken can be said again, and then means the same. */
static void try_message(const struct message *m, size_t payload_size)
{
    static unsigned char first[KV_META_MAX], second[KV_META_MAX];
    struct scratch scratch;
    struct message same;
    size_t size = pack(m, first);

    scratch_init(&scratch, blocks[1], sizeof blocks[1]);
    memset(&same, 0, sizeof same);
    KV_CHECK(message_unpack(&scratch, first, size, payload_size, &same, NULL) ==
             KV_OK);
    KV_CHECK(same.kind == m->kind && pack(&same, second) == size);
    KV_CHECK(memcmp(first, second, size) == 0);
}

/* --- The reader's events, as a link has them ----------------------------- */

static uint64_t random_next(struct side *s)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return s->random >> 33;
}

static void record(struct side *s, const void *data, size_t size)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < size && i < 256; i++) {
        s->trace = (s->trace ^ p[i]) * UINT64_C(0x100000001b3);
    }
    if (size > 256) {
        s->trace = (s->trace ^ p[size - 1]) * UINT64_C(0x100000001b3);
    }
}

static enum kv_status on_head(void *ctx, const struct frame_head *head,
                              const void *meta, void **sink)
{
    struct side *s = ctx;
    struct scratch scratch;
    const char *reason = NULL;

    if ((s->how & HEADS_PUT_OFF) && random_next(s) % 2 == 0) {
        return KV_EAGAIN;
    }
    scratch_init(&scratch, blocks[0], sizeof blocks[0]);
    memset(&s->message, 0, sizeof s->message);
    if (message_unpack(&scratch, meta, head->meta_size, head->payload_size,
                       &s->message, &reason) != KV_OK) {
        KV_CHECK(reason != NULL);
        return KV_EPROTO;
    }
    check_limits(&s->message, head->payload_size);
    try_message(&s->message, head->payload_size);
    if (message_direct(&s->message) != NULL) {
        KV_CHECK(head->payload_size == message_direct(&s->message)->size);
        s->sink = malloc(head->payload_size);
        KV_CHECK(s->sink != NULL);
        *sink = s->sink;
    }
    return KV_OK;
}

static enum kv_status on_frame(void *ctx, const struct frame_head *head,
                               const void *meta, const void *payload)
{
    struct side *s = ctx;

    KV_CHECK(s->sink == NULL || payload == s->sink);
    record(s, &head->request_id, sizeof head->request_id);
    record(s, meta, head->meta_size);
    record(s, payload, head->payload_size);
    free(s->sink);
    s->sink = NULL;
    s->frames++;
    return KV_OK;
}

/* --- The stream ---------------------------------------------------------- */

/* A fuzzer cannot guess a CRC: make those right that the sizes lead to. Returns
 * where the last whole frame ends, zeros behind the input counted. */
static size_t seal(unsigned char *stream, size_t size, size_t room)
{
    size_t at = 0;

    while (at <= size && size - at >= FRAME_PREFIX_SIZE) {
        unsigned char *head = stream + at;
        uint32_t meta = bytes_get_u32(head + 16);
        uint32_t payload = bytes_get_u32(head + 20);
        unsigned crc;

        at += FRAME_PREFIX_SIZE;
        if (meta > size - at || payload > room - at - meta) {
            return size;
        }
        if (bytes_get_u16(head + 6) & FRAME_FLAG_PAYLOAD_CRC) {
            bytes_put_u32(head + 24,
                          ~crc32_iscsi(stream + at + meta, (int)payload, ~0u));
        }
        crc = crc32_iscsi(head, 28, ~0u);
        bytes_put_u32(head + 28, ~crc32_iscsi(stream + at, (int)meta, crc));
        at += meta + payload;
    }
    return at > size ? at : size;
}

static size_t make_stream(unsigned char *stream, const uint8_t *input,
                          size_t size)
{
    size_t end;

    memcpy(stream, input, size);
    end = seal(stream, size, STREAM_MAX);
    if (end == size || size > STREAM_MAX - end) {
        return end;
    }
    memcpy(stream + end, input, size);
    return end + seal(stream + end, size, STREAM_MAX - end);
}

static size_t piece(struct side *s, size_t most)
{
    size_t size = 1 + random_next(s) % (s->how & PIECES_TINY ? 8 : 4096);

    return s->how == 0 || size > most ? most : size;
}

static enum kv_status feed(struct side *s, const unsigned char *stream,
                           size_t size)
{
    enum kv_status status = KV_OK;
    size_t at = 0;

    while (status == KV_OK && at < size) {
        size_t want, take;
        void *to = frame_reader_want(&s->reader, &want);

        if (frame_reader_blocked(&s->reader)) {
            KV_CHECK(want == 0);
            status = frame_reader_resume(&s->reader);
            continue;
        }
        KV_CHECK(want > 0);
        take = piece(s, want < size - at ? want : size - at);
        memcpy(to, stream + at, take);
        at += take;
        status = frame_reader_fed(&s->reader, take);
    }
    while (status == KV_OK && frame_reader_blocked(&s->reader)) {
        status = frame_reader_resume(&s->reader);
    }
    return status;
}

static enum kv_status receive(struct side *s, const unsigned char *stream,
                              size_t size)
{
    enum kv_status status;

    KV_CHECK(frame_reader_init(&s->reader, s, on_head, on_frame) == KV_OK);
    status = feed(s, stream, size);
    frame_reader_fini(&s->reader);
    free(s->sink);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char stream[STREAM_MAX]; /* Zeros, but while in use. */
    struct fuzz_input in = {data, size};
    unsigned how = (unsigned)fuzz_take(&in, 1);
    struct side whole = {.how = 0}, cut = {.random = fuzz_take(&in, 2)};
    size_t given = in.left < STREAM_MAX ? in.left : STREAM_MAX;

    if (how & CHECKSUMS_AS_THEY_ARE) {
        memcpy(stream, in.at, given);
    } else {
        given = make_stream(stream, in.at, given);
    }
    cut.how = how | 0x80;
    KV_CHECK(receive(&whole, stream, given) == receive(&cut, stream, given));
    KV_CHECK(whole.frames == cut.frames && whole.trace == cut.trace);
    memset(stream, 0, given);
    return 0;
}
