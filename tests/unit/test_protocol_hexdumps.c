/* Every ```hex block of PROTOCOL.md is what this code sends, byte for byte, and
 * reads back; and every message kind has one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/frame.h"
#include "proto/handshake.h"
#include "proto/message.h"

#define DOCUMENT "proto/PROTOCOL.md"
#define SIZE_MAX_OF_DUMP 512

struct bytes {
    size_t size;
    unsigned char at[SIZE_MAX_OF_DUMP];
};

/* --- The example of the document -------------------------------------------
 */

static void count_up(uint8_t *out, size_t size, uint8_t first)
{
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(first + i);
    }
}

static void shake(unsigned char hello[HANDSHAKE_HELLO_SIZE],
                  unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE],
                  unsigned char proof[HANDSHAKE_PROOF_SIZE])
{
    uint8_t key[HANDSHAKE_KEY_SIZE];
    struct challenge c = {.version = 1, .epoch = 5, .server = 1};
    struct hello h = {.version_min = 1,
                      .version_max = 1,
                      .role = HANDSHAKE_WORKER,
                      .target = 2,
                      .rank = 3,
                      .policy = KV_POLICY_SYNC,
                      .server = 1,
                      .incarnation = 1,
                      .token = UINT64_C(0x1122334455667788)};

    count_up(key, sizeof key, 0);
    count_up(h.job, sizeof h.job, 0xa0);
    count_up(h.nonce, sizeof h.nonce, 0x40);
    count_up(c.nonce, sizeof c.nonce, 0x80);
    handshake_pack_hello(&h, hello);
    handshake_pack_challenge(&c, key, hello, challenge);
    handshake_pack_proof(key, hello, challenge, proof);
}

static void fill_batch(struct message *m, struct run *runs, uint32_t count)
{
    m->batch.runs = runs;
    m->batch.run_count = count;
}

/* Slots 4 and 5 of 4 bytes, slot 9 of 8: a batch of three slices. */
static struct run batch_runs[] = {{4, 2, 7, 4}, {9, 1, 3, 8}};
static struct run value_run[] = {{0, 1, 1, 16}};
static struct run bare_run[] = {{0, 1, 1, 0}};
static struct run rounds_run[] = {{0, 3, 9, 0}};
static const char *addresses[] = {"10.0.0.1:9700", "10.0.0.2:9700"};
static uint32_t shards[] = {2, 2};
static const float values[] = {1.0f, 2.0f, -0.5f, 0.25f};
/* A rank that does not bring the value. */
static struct run reset_run[] = {{0, 1, 2, 0}};
/* One row, 5, of two f32; and rows 1 and 5. */
static struct run rows_run[] = {{2, 1, 1, 16}};
static struct run wanted_run[] = {{2, 1, 1, 8}};
static const unsigned char rows[] = {1, 0, 0,    0,    5, 0, 0,    0,
                                     0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0};
static const unsigned char wanted[] = {1, 0, 0, 0, 5, 0, 0, 0};
static const unsigned char placement[] = {3, 0, 0, 0, 0, 0, 0, 0};

static const struct message_listing listings[] = {
    {1, 2, "w", 0, 0, 2, KV_DENSE, {400, 500}},
    {3, 1, NULL, 7, 2, 1, KV_DENSE, {10}}};

static struct message messages[] = {
    {.kind = MESSAGE_WELCOME,
     .welcome = {.arena_id = UINT64_C(0x0123456789abcdef), .rank = 3}},
    {.kind = MESSAGE_ERROR,
     .error = {.status = KV_EINVAL,
               .text = "its next is 3",
               .about_slot = true,
               .slot = 9,
               .round = 5}},
    {.kind = MESSAGE_OK},
    {.kind = MESSAGE_JOIN, .join = {.policy = KV_POLICY_SYNC}},
    {.kind = MESSAGE_JOINED,
     .joined = {.rank = 3,
                .workers = 4,
                .server_count = 2,
                .address = addresses,
                .shards = shards,
                .slice_bytes = 524288}},
    {.kind = MESSAGE_ENLIST,
     .enlist = {.index = 1,
                .shards = 2,
                .address = "10.0.0.2:9700",
                .state = 0x0123456789abcdef}},
    {.kind = MESSAGE_KEY, .key = {.name = "w", .dims = 2, .shape = {400, 500}}},
    {.kind = MESSAGE_PLACED, .placed = {.key_id = 0, .slice_count = 131072}},
    {.kind = MESSAGE_BARRIER, .barrier = {.generation = 1}},
    {.kind = MESSAGE_LEAVE},
    {.kind = MESSAGE_OPEN,
     .open = {.key_id = 1, .slice = 0, .count = 4, .slices = 1}},
    {.kind = MESSAGE_OPENED, .opened = {.slot = 0, .round = 0}},
    {.kind = MESSAGE_PUSH},
    {.kind = MESSAGE_PULL},
    {.kind = MESSAGE_ANSWER},
    {.kind = MESSAGE_AGAIN},
    {.kind = MESSAGE_OPTIMIZER,
     .optimizer = {.name = "sgd", .params = "lr=0.5,momentum=0"}},
    {.kind = MESSAGE_HYPER, .hyper = {"lr_mult", 0.25, 100, true, 3, 1}},
    {.kind = MESSAGE_STALLED,
     .stalled = {.slot = 9,
                 .round = 3,
                 .seconds = 10,
                 .listed = 2,
                 .missing = {1, 2},
                 .connected = {true, false},
                 .missing_count = 2}},
    {.kind = MESSAGE_NORMS, .norms = {.slot = 9, .round = 3, .sum = {0.25, 4}}},
    {.kind = MESSAGE_TOTALS, .norms = {.slot = 9, .round = 3, .sum = {1, 6}}},
    {.kind = MESSAGE_MEMBER, .member = {.in = true}},
    {.kind = MESSAGE_ROUNDS},
    {.kind = MESSAGE_WAITING, .waiting = {.what = "rank 2", .seconds = 7}},
    {.kind = MESSAGE_DEAD, .dead = {.node = 4, .seconds = 60}},
    {.kind = MESSAGE_DEAD_COUNT, .dead_count = {.count = 1}},
    {.kind = MESSAGE_PING},
    {.kind = MESSAGE_SKIPPED,
     .skipped = {.slot = 9, .rank = 2, .round = 17, .blames = true}},
    {.kind = MESSAGE_LIST},
    {.kind = MESSAGE_LISTED,
     .listed = {.keys = listings, .count = 2, .next = 4}},
    {.kind = MESSAGE_DELETE,
     .delete = {.step = KV_DELETE_BEGIN, .key_id = 3, .name = "w"}},
    {.kind = MESSAGE_DROP, .drop = {.key_id = 3, .slice = 1, .deletion = 2}},
    {.kind = MESSAGE_VERSION, .version = {.key_id = 3, .slice = 1}},
    {.kind = MESSAGE_VERSIONED, .versioned = {.rounds = 200}},
};

/* Name in the document, message, request id, payload. */
static const struct dump {
    const char *name;
    enum message_kind kind;
    struct run *runs;
    uint32_t run_count;
    uint64_t id;
    const void *payload;
    size_t payload_size;
    bool checksum;
} dumps[] = {
    {"welcome", MESSAGE_WELCOME, NULL, 0, 0, NULL, 0, false},
    {"error", MESSAGE_ERROR, NULL, 0, 0, NULL, 0, false},
    {"ok", MESSAGE_OK, NULL, 0, 3, NULL, 0, false},
    {"join", MESSAGE_JOIN, NULL, 0, 1, NULL, 0, false},
    {"joined", MESSAGE_JOINED, NULL, 0, 1, NULL, 0, false},
    {"enlist", MESSAGE_ENLIST, NULL, 0, 1, NULL, 0, false},
    {"key", MESSAGE_KEY, NULL, 0, 2, NULL, 0, false},
    {"placed", MESSAGE_PLACED, NULL, 0, 2, placement, 8, false},
    {"barrier", MESSAGE_BARRIER, NULL, 0, 3, NULL, 0, false},
    {"leave", MESSAGE_LEAVE, NULL, 0, 4, NULL, 0, false},
    {"open", MESSAGE_OPEN, NULL, 0, 1, values, 16, false},
    {"opened", MESSAGE_OPENED, NULL, 0, 1, NULL, 0, false},
    {"push", MESSAGE_PUSH, value_run, 1, 0, values, 16, true},
    {"push-batch", MESSAGE_PUSH, batch_runs, 2, 0, values, 16, false},
    {"push-rows", MESSAGE_PUSH, rows_run, 1, 0, rows, 16, false},
    {"push-reset", MESSAGE_PUSH, reset_run, 1, 0, NULL, 0, false},
    {"pull", MESSAGE_PULL, bare_run, 1, 0, NULL, 0, false},
    {"pull-rows", MESSAGE_PULL, wanted_run, 1, 0, wanted, 8, false},
    {"answer-push", MESSAGE_ANSWER, bare_run, 1, 0, NULL, 0, false},
    {"answer-pull", MESSAGE_ANSWER, value_run, 1, 0, values, 16, false},
    {"again", MESSAGE_AGAIN, bare_run, 1, 0, NULL, 0, false},
    {"optimizer", MESSAGE_OPTIMIZER, NULL, 0, 2, NULL, 0, false},
    {"hyper", MESSAGE_HYPER, NULL, 0, 3, NULL, 0, false},
    {"stalled", MESSAGE_STALLED, NULL, 0, 0, NULL, 0, false},
    {"norms", MESSAGE_NORMS, NULL, 0, 0, NULL, 0, false},
    {"totals", MESSAGE_TOTALS, NULL, 0, 0, NULL, 0, false},
    {"member", MESSAGE_MEMBER, NULL, 0, 4, NULL, 0, false},
    {"rounds", MESSAGE_ROUNDS, rounds_run, 1, 0, NULL, 0, false},
    {"waiting", MESSAGE_WAITING, NULL, 0, 3, NULL, 0, false},
    {"dead", MESSAGE_DEAD, NULL, 0, 5, NULL, 0, false},
    {"dead-count", MESSAGE_DEAD_COUNT, NULL, 0, 5, NULL, 0, false},
    {"ping", MESSAGE_PING, NULL, 0, 0, NULL, 0, false},
    {"skipped", MESSAGE_SKIPPED, NULL, 0, 0, NULL, 0, false},
    {"list", MESSAGE_LIST, NULL, 0, 5, NULL, 0, false},
    {"listed", MESSAGE_LISTED, NULL, 0, 5, NULL, 0, false},
    {"delete", MESSAGE_DELETE, NULL, 0, 6, NULL, 0, false},
    {"drop", MESSAGE_DROP, NULL, 0, 4, NULL, 0, false},
    {"version", MESSAGE_VERSION, NULL, 0, 5, NULL, 0, false},
    {"versioned", MESSAGE_VERSIONED, NULL, 0, 5, NULL, 0, false},
};

#define DUMP_COUNT (sizeof dumps / sizeof dumps[0])

static struct message message_of(enum message_kind kind)
{
    size_t i = 0;

    while (messages[i].kind != kind) {
        i++;
        KV_CHECK(i < sizeof messages / sizeof messages[0]);
    }
    return messages[i];
}

static void build_frame(const struct dump *d, struct bytes *out)
{
    struct message m = message_of(d->kind);
    size_t meta_size;

    assert_int_equal(m.kind, d->kind);
    if (d->runs != NULL) {
        fill_batch(&m, d->runs, d->run_count);
        m.batch.rows = d->payload == rows || d->payload == wanted;
        m.batch.reset = d->runs == reset_run;
    }
    assert_int_equal(
        message_pack(&m, out->at + FRAME_PREFIX_SIZE, 256, &meta_size), KV_OK);
    frame_seal(out->at, d->id, meta_size, d->payload, d->payload_size,
               d->checksum);
    out->size = FRAME_PREFIX_SIZE + meta_size;
    if (d->payload_size > 0) {
        memcpy(out->at + out->size, d->payload, d->payload_size);
    }
    out->size += d->payload_size;
}

/* False when the document means something that this test does not know. */
static bool build(const char *name, struct bytes *out)
{
    unsigned char hello[HANDSHAKE_HELLO_SIZE];
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    unsigned char proof[HANDSHAKE_PROOF_SIZE];

    shake(hello, challenge, proof);
    if (strcmp(name, "hello") == 0) {
        out->size = sizeof hello;
        memcpy(out->at, hello, sizeof hello);
        return true;
    }
    if (strcmp(name, "challenge") == 0) {
        out->size = sizeof challenge;
        memcpy(out->at, challenge, sizeof challenge);
        return true;
    }
    if (strcmp(name, "proof") == 0) {
        out->size = sizeof proof;
        memcpy(out->at, proof, sizeof proof);
        return true;
    }
    for (size_t i = 0; i < DUMP_COUNT; i++) {
        if (strcmp(name, dumps[i].name) == 0) {
            build_frame(&dumps[i], out);
            return true;
        }
    }
    return false;
}

/* --- Reading the document --------------------------------------------------
 */

struct block {
    char name[32];
    struct bytes bytes;
};

/* "4b 56 46 31  # comment"; false at the closing fence. */
static bool read_line(FILE *file, struct bytes *bytes)
{
    char line[256];
    char *at = line, *end;

    assert_non_null(fgets(line, sizeof line, file));
    if (strncmp(line, "```", 3) == 0) {
        return false;
    }
    line[strcspn(line, "#\n")] = '\0';
    for (;;) {
        unsigned long byte = strtoul(at, &end, 16);

        if (end == at) {
            assert_int_equal(strspn(at, " "), strlen(at));
            return true;
        }
        assert_in_range(byte, 0, 255);
        assert_in_range(bytes->size, 0, SIZE_MAX_OF_DUMP - 1);
        bytes->at[bytes->size++] = (unsigned char)byte;
        at = end;
    }
}

/* The next block; false at the end of the document. */
static bool read_block(FILE *file, struct block *b)
{
    char line[256];

    memset(b, 0, sizeof *b);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "```hex %31s", b->name) == 1) {
            while (read_line(file, &b->bytes)) {
            }
            return true;
        }
    }
    return false;
}

static FILE *open_document(void)
{
    FILE *file = fopen(DOCUMENT, "r");

    if (file == NULL) {
        fail_msg("%s is not there: run from the repository's root", DOCUMENT);
    }
    return file;
}

/* --- Tests -----------------------------------------------------------------
 */

static void test_every_dump_is_what_we_send(void **state)
{
    FILE *file = open_document();
    struct block b;

    (void)state;
    while (read_block(file, &b)) {
        struct bytes ours = {0};

        if (!build(b.name, &ours)) {
            fail_msg("a dump called %s, which this test does not know", b.name);
        }
        print_message("%s\n", b.name);
        assert_int_equal(b.bytes.size, ours.size);
        assert_memory_equal(b.bytes.at, ours.at, ours.size);
    }
    fclose(file);
}

static void test_everything_has_a_dump(void **state)
{
    uint64_t found = 0;
    struct block b;
    FILE *file;

    (void)state;
    for (size_t i = 0; i < DUMP_COUNT; i++) {
        bool there = false;

        file = open_document();
        while (read_block(file, &b)) {
            there = there || strcmp(b.name, dumps[i].name) == 0;
        }
        fclose(file);
        if (!there) {
            fail_msg("no dump of %s", dumps[i].name);
        }
        found |= UINT64_C(1) << dumps[i].kind;
    }
    for (int kind = MESSAGE_WELCOME; kind < MESSAGE_KINDS; kind++) {
        const char *name = message_kind_name((enum message_kind)kind);

        if ((found >> kind & 1) == 0) {
            fail_msg("no dump of %s", name);
        }
    }
}

struct reading {
    struct scratch scratch;
    struct message message;
    unsigned frames;
    char block[16384] __attribute__((aligned(64)));
};

static enum kv_status on_head(void *ctx, const struct frame_head *head,
                              const void *meta, void **sink)
{
    struct reading *r = ctx;
    const char *reason;

    (void)sink;
    scratch_reset(&r->scratch);
    return message_unpack(&r->scratch, meta, head->meta_size,
                          head->payload_size, &r->message, &reason);
}

static enum kv_status on_frame(void *ctx, const struct frame_head *head,
                               const void *meta, const void *payload)
{
    struct reading *r = ctx;

    (void)head;
    (void)meta;
    (void)payload;
    r->frames++;
    return KV_OK;
}

static void read_frame(const struct block *b)
{
    struct frame_reader reader;
    struct reading r = {.frames = 0};
    size_t size;

    scratch_init(&r.scratch, r.block, sizeof r.block);
    assert_int_equal(frame_reader_init(&reader, &r, on_head, on_frame), KV_OK);
    memcpy(frame_reader_want(&reader, &size), b->bytes.at, b->bytes.size);
    assert_int_equal(frame_reader_fed(&reader, b->bytes.size), KV_OK);
    assert_int_equal(r.frames, 1);
    assert_false(frame_reader_midway(&reader));
    assert_int_equal(strncmp(b->name, message_kind_name(r.message.kind),
                             strlen(message_kind_name(r.message.kind))),
                     0);
    frame_reader_fini(&reader);
}

static void test_every_dump_can_be_read_back(void **state)
{
    struct bytes hello = {0}, challenge = {0};
    uint8_t key[HANDSHAKE_KEY_SIZE];
    FILE *file = open_document();
    struct challenge c;
    struct hello h;
    struct block b;

    (void)state;
    count_up(key, sizeof key, 0);
    while (read_block(file, &b)) {
        if (strcmp(b.name, "hello") == 0) {
            hello = b.bytes;
            assert_int_equal(handshake_unpack_hello(hello.at, &h), KV_OK);
        } else if (strcmp(b.name, "challenge") == 0) {
            challenge = b.bytes;
            assert_int_equal(
                handshake_check_challenge(challenge.at, key, hello.at, &c),
                KV_OK);
        } else if (strcmp(b.name, "proof") == 0) {
            assert_int_equal(
                handshake_check_proof(b.bytes.at, key, hello.at, challenge.at),
                KV_OK);
        } else {
            read_frame(&b);
        }
    }
    fclose(file);
    assert_in_range(challenge.size, 1, SIZE_MAX_OF_DUMP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dump_is_what_we_send),
        cmocka_unit_test(test_everything_has_a_dump),
        cmocka_unit_test(test_every_dump_can_be_read_back),
    };

    return cmocka_run_group_tests_name("protocol_hexdumps", tests, NULL, NULL);
}
