/**
 * message_fixture - a valid message of each kind, and steps to try it.
 */
#ifndef KV_TESTS_UNIT_MESSAGE_FIXTURE_H
#define KV_TESTS_UNIT_MESSAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/message.h"

struct fixture {
    struct scratch scratch;
    struct message message, got; /* Sent, and what came of it. */
    size_t payload_size;
    unsigned char meta[KV_META_MAX];
    size_t meta_size;
    struct run runs[KV_BATCH_RUNS_MAX];
    const char *address[KV_SERVERS_MAX];
    uint32_t shards[KV_SERVERS_MAX];
    struct message_listing listings[KV_LISTED_MAX];
    char text[KV_TEXT_MAX + 2];
    unsigned char block[MESSAGE_SCRATCH_SIZE] __attribute__((aligned(64)));
};

static inline int set_up(void **state)
{
    struct fixture *f = aligned_alloc(64, (sizeof *f + 63) / 64 * 64);

    memset(f, 0, sizeof *f);
    scratch_init(&f->scratch, f->block, sizeof f->block);
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    free(*state);
    return 0;
}

/* Numbers have gaps. */
static inline bool exists(int kind)
{
    return strcmp(message_kind_name((enum message_kind)kind), "unknown") != 0;
}

/* --- A valid message of each kind ---------------------------------------- */

static inline void fill_batch(struct fixture *f, uint32_t run_count,
                              uint32_t size)
{
    f->message.batch.runs = f->runs;
    f->message.batch.run_count = run_count;
    f->message.batch.codec = f->message.kind == MESSAGE_PUSH ? 3 : 0;
    f->payload_size = 0;
    for (uint32_t i = 0; i < run_count; i++) {
        f->runs[i] = (struct run){i * 1000, 1 + i % 3, 1000000 + i, size + i};
        if (size == 0) {
            f->runs[i].size = 0;
        }
        f->payload_size += (size_t)f->runs[i].count * f->runs[i].size;
    }
}

static inline void fill_servers(struct fixture *f, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        f->address[i] = i % 2 == 0 ? "10.0.0.1:9700" : "[::1]:9";
        f->shards[i] = 1 + i % KV_SHARDS_MAX;
    }
    f->message.joined.server_count = count;
    f->message.joined.address = f->address;
    f->message.joined.shards = f->shards;
}

static inline void fill_key(struct fixture *f)
{
    f->message.key.name = "layer1.weight";
    f->message.key.number = -5;
    f->message.key.dtype = 2;
    f->message.key.dims = 3;
    f->message.key.shape[0] = 1;
    f->message.key.shape[1] = UINT64_C(1) << 20;
    f->message.key.shape[2] = UINT64_C(1) << 20;
}

static inline void fill_listed(struct fixture *f)
{
    f->listings[0] =
        (struct message_listing){0, 1, "layer1.weight", 0, 2, 1, KV_DENSE, {5}};
    f->listings[1] =
        (struct message_listing){3, 1, NULL, -7, 0, 0, KV_DENSE, {0}};
    f->listings[2] = (struct message_listing){
        9, 70000, "table", 0, 12, 2, KV_ROW_SPARSE, {UINT64_C(1) << 36, 16}};
    f->message.listed.keys = f->listings;
    f->message.listed.count = 3;
    f->message.listed.next = 10;
}

static inline void fill_stalled(struct fixture *f)
{
    f->message.stalled.slot = KV_SLOTS_MAX - 1;
    f->message.stalled.round = 77;
    f->message.stalled.seconds = 30;
    f->message.stalled.listed = 2;
    f->message.stalled.missing[0] = 0;
    f->message.stalled.missing[1] = KV_RANKS_MAX - 1;
    f->message.stalled.connected[1] = true;
    f->message.stalled.missing_count = 900;
    f->message.stalled.left = 3;
}

static inline void fill_optimizer(struct fixture *f)
{
    f->message.optimizer.name = "sgd";
    f->message.optimizer.params = "lr=0.1,momentum=0";
    f->message.optimizer.check = true;
}

/* Of the life of keys and rounds. */
static inline void fill_life(struct fixture *f)
{
    struct message *m = &f->message;

    switch (m->kind) {
    case MESSAGE_LIST:
        m->list.from = UINT64_C(1) << 32;
        return;
    case MESSAGE_LISTED:
        fill_listed(f);
        return;
    case MESSAGE_DELETE:
        m->delete.step = KV_DELETE_END;
        m->delete.key_id = 5;
        m->delete.name = "layer1.weight";
        m->delete.number = -5;
        return;
    case MESSAGE_DROP:
        m->drop.key_id = 6;
        m->drop.slice = 2;
        m->drop.deletion = KV_DELETIONS_MAX;
        return;
    case MESSAGE_VERSION:
        m->version.key_id = 6;
        m->version.slice = 2;
        return;
    case MESSAGE_VERSIONED:
        m->versioned.rounds = UINT64_C(1) << 35;
        return;
    case MESSAGE_SKIPPED:
        m->skipped.slot = KV_SLOTS_MAX - 1;
        m->skipped.rank = KV_RANKS_MAX - 1;
        m->skipped.round = UINT64_C(1) << 40;
        m->skipped.blames = true;
        m->skipped.fails = true;
        return;
    default: /* Ok and Leave say it all. */
        return;
    }
}

static inline void fill_control(struct fixture *f)
{
    struct message *m = &f->message;

    switch (m->kind) {
    case MESSAGE_WELCOME:
        m->welcome.arena_id = UINT64_MAX;
        m->welcome.rank = KV_RANKS_MAX - 1;
        return;
    case MESSAGE_ERROR:
        m->error.status = KV_EMISMATCH;
        m->error.text = "key 'w': rank 3 says f16, rank 0 said f32";
        m->error.about_slot = true;
        m->error.slot = 12;
        m->error.round = 5;
        m->error.pull = true;
        return;
    case MESSAGE_JOIN:
        m->join.policy = KV_POLICY_ASYNC;
        return;
    case MESSAGE_JOINED:
        m->joined.rank = 3;
        m->joined.workers = 4;
        m->joined.barrier = 9;
        m->joined.slice_bytes = KV_SLICE_BYTES_DEFAULT;
        fill_servers(f, 3);
        return;
    case MESSAGE_WAITING:
        m->waiting.what = "rank 2";
        m->waiting.seconds = 7;
        break;
    case MESSAGE_ENLIST:
        m->enlist.index = 1;
        m->enlist.shards = KV_SHARDS_MAX;
        m->enlist.address = "example.org:9700";
        m->enlist.state = 77;
        m->enlist.used = true;
        return;
    case MESSAGE_KEY:
        fill_key(f);
        return;
    case MESSAGE_PLACED:
        m->placed.key_id = 6;
        m->placed.slice_count = 131072;
        m->placed.deletions = 3;
        m->placed.doomed = true;
        f->payload_size = 12;
        return;
    case MESSAGE_BARRIER:
        m->barrier.generation = 8;
        return;
    default:
        fill_life(f);
    }
}

static inline void fill_hyper(struct message *m)
{
    m->hyper.param = "lr";
    m->hyper.value = -0.25;
    m->hyper.round = UINT64_C(1) << 40;
    m->hyper.one = true;
    m->hyper.key_id = UINT32_MAX;
    m->hyper.slice = 7;
}

static inline void fill(struct fixture *f, enum message_kind kind)
{
    struct message *m = &f->message;

    memset(m, 0, sizeof *m);
    m->kind = kind;
    f->payload_size = 0;
    switch (kind) {
    case MESSAGE_OPEN:
        m->open.key_id = 6;
        m->open.slice = 2;
        m->open.dtype = 1;
        m->open.count = 4096;
        m->open.slices = 3;
        m->open.deletions = 7;
        f->payload_size = 16384;
        return;
    case MESSAGE_OPENED:
        m->opened.slot = 4;
        m->opened.round = UINT64_C(1) << 40;
        m->opened.reset = true;
        return;
    case MESSAGE_PUSH:
    case MESSAGE_ANSWER:
        fill_batch(f, 4, 1024);
        return;
    case MESSAGE_PULL:
    case MESSAGE_AGAIN:
    case MESSAGE_ROUNDS:
        fill_batch(f, 4, 0);
        return;
    case MESSAGE_DEAD:
        m->dead.node = KV_NODE_MAX - 1;
        m->dead.seconds = 60;
        return;
    case MESSAGE_DEAD_COUNT:
        m->dead_count.count = 5;
        return;
    case MESSAGE_MEMBER:
        m->member.in = true;
        return;
    case MESSAGE_OPTIMIZER:
        fill_optimizer(f);
        return;
    case MESSAGE_HYPER:
        fill_hyper(m);
        return;
    case MESSAGE_STALLED:
        fill_stalled(f);
        return;
    case MESSAGE_NORMS:
    case MESSAGE_TOTALS:
        m->norms.slot = 9;
        m->norms.round = 4;
        m->norms.pass = 1;
        m->norms.sum[0] = 0.5;
        return;
    default:
        fill_control(f);
    }
}

/* --- Steps --------------------------------------------------------------- */

static inline void pack(struct fixture *f)
{
    assert_int_equal(
        message_pack(&f->message, f->meta, sizeof f->meta, &f->meta_size),
        KV_OK);
}

static inline enum kv_status unpack(struct fixture *f)
{
    const char *reason = NULL;
    enum kv_status status;

    scratch_reset(&f->scratch);
    memset(&f->got, 0, sizeof f->got);
    status = message_unpack(&f->scratch, f->meta, f->meta_size, f->payload_size,
                            &f->got, &reason);
    assert_true((reason != NULL) == (status != KV_OK));
    return status;
}

static inline void expect_refused(struct fixture *f)
{
    pack(f);
    assert_string_equal(kv_strstatus(unpack(f)), kv_strstatus(KV_EPROTO));
}

static inline void expect_taken(struct fixture *f)
{
    pack(f);
    assert_string_equal(kv_strstatus(unpack(f)), kv_strstatus(KV_OK));
}

/* Packing is a function of what the message means: compare by that. */
static inline void expect_same(struct fixture *f)
{
    unsigned char again[KV_META_MAX];
    size_t size;

    assert_int_equal(f->got.kind, f->message.kind);
    assert_int_equal(message_pack(&f->got, again, sizeof again, &size), KV_OK);
    assert_int_equal(size, f->meta_size);
    assert_memory_equal(again, f->meta, size);
}

#endif
