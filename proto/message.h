/**
 * message - typed metadata of one frame; only message*.c see kv.pb-c.h.
 *
 * Many small slices travel in one frame as runs, so that a batch of a thousand
 * consecutive slices costs a few bytes of metadata. message_add() extends the
 * last run where it can.
 *
 * Thread:  pure.
 * Memory:  unpacked strings and arrays live in the scratch, until its reset;
 *          strings are NUL-terminated. Packing borrows.
 * Result:  what message_unpack() returns is validated: enums known, counts
 *          within limits.h, no run crosses KV_SLOTS_MAX, the sizes of the runs
 *          sum up to the payload's size, strings without control characters.
 */
#ifndef KV_PROTO_MESSAGE_H
#define KV_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/scratch.h"
#include "common/base/status.h"
#include "proto/limits.h"

/* The oneof's field numbers. */
enum message_kind {
    MESSAGE_NONE,
    MESSAGE_WELCOME,
    MESSAGE_ERROR,
    MESSAGE_OK,
    MESSAGE_JOIN,
    MESSAGE_JOINED,
    MESSAGE_ENLIST,
    MESSAGE_KEY,
    MESSAGE_PLACED,
    MESSAGE_BARRIER,
    MESSAGE_LEAVE,
    MESSAGE_OPEN,
    MESSAGE_OPENED,
    MESSAGE_PUSH,
    MESSAGE_PULL,
    MESSAGE_ANSWER,
    MESSAGE_AGAIN,
    MESSAGE_OPTIMIZER,
    MESSAGE_HYPER,
    MESSAGE_STALLED,
    MESSAGE_NORMS,
    MESSAGE_TOTALS,
    MESSAGE_LIST,
    MESSAGE_LISTED,
    MESSAGE_DELETE,
    MESSAGE_DROP,
    MESSAGE_VERSION,
    MESSAGE_VERSIONED,
    MESSAGE_MEMBER,
    MESSAGE_ROUNDS,
    MESSAGE_DEAD,
    MESSAGE_DEAD_COUNT,
    MESSAGE_PING,
    MESSAGE_SKIPPED,
    MESSAGE_WAITING,
    MESSAGE_KINDS /* Beyond the last one. */
};

/* When a round ends; stated by each worker, the same for the whole job. Any
 * number but 0: what a server makes of it is in its policies, and one that it
 * lacks is refused in a sentence. */
enum kv_policy_id { KV_POLICY_SYNC = 1, KV_POLICY_ASYNC = 2 };

/* How a value is stored, cut and sent. */
enum kv_storage {
    KV_DENSE,
    KV_ROW_SPARSE /* Slices hold whole rows; these travel one by one. */
};

/* How a key is deleted: which one is it, from now on it is doomed, and none of
 * its slices is left. */
enum kv_delete_step { KV_DELETE_ASK, KV_DELETE_BEGIN, KV_DELETE_END };

/* A key of the job. */
struct message_listing {
    uint32_t id, slices;
    const char *name; /* NULL: the key is `number`. */
    int64_t number;
    uint32_t dtype, dims;
    enum kv_storage storage;
    uint64_t shape[KV_DIMS_MAX];
};

/* Slots slot .. slot+count-1, of the same round and the same size each. */
struct run {
    uint32_t slot, count;
    uint64_t round;
    uint32_t size; /* Bytes of each; 0 where the message has no payload. */
};

/* How many rounds of its slice that is, for people. */
static inline uint64_t message_rounds(uint64_t round)
{
    return round & ((UINT64_C(1) << KV_ROUND_BITS) - 1);
}

struct message_batch { /* PUSH, PULL, ANSWER, AGAIN, ROUNDS */
    struct run *runs;
    uint32_t run_count;
    uint32_t codec; /* PUSH only. */
    bool rows;      /* PUSH, PULL: some rows of each slice; see kv.proto. */
    bool reset;     /* PUSH only: values to begin anew from, or none. */
};

struct message {
    enum message_kind kind;
    union {
        struct {
            uint64_t arena_id;
            uint32_t rank;
        } welcome;
        struct {
            enum kv_status status;
            const char *text;
            bool about_slot, pull;
            uint32_t slot;
            uint64_t round;
        } error;
        struct {
            uint32_t policy; /* enum kv_policy_id, or another. */
        } join;
        struct {
            uint32_t rank, workers, server_count;
            const char **address; /* server_count of each. */
            uint32_t *shards;
            uint64_t barrier;
            uint32_t slice_bytes;
        } joined;
        struct {
            uint32_t index, shards;
            const char *address;
            uint64_t state; /* Not 0. */
            bool used;
        } enlist;
        struct {
            const char *name; /* NULL: the key is `number`. */
            int64_t number;
            uint32_t dtype; /* A known enum kv_dtype. */
            uint32_t dims;
            enum kv_storage storage;
            uint64_t shape[KV_DIMS_MAX]; /* Product within KV_COUNT_MAX. */
        } key;
        struct {
            uint32_t key_id;
            bool doomed;
            uint64_t slice_count, deletions;
        } placed;
        struct {
            uint64_t generation;
        } barrier;
        struct {
            uint32_t key_id, slice, dtype;
            uint64_t count;
            uint64_t row_length; /* 0, or divides count. */
            uint32_t slices;     /* More than `slice`. */
            bool plain;
            uint64_t width; /* 0, or divides count. */
            uint64_t deletions;
        } open;
        struct {
            uint32_t slot;
            uint64_t round;
            bool reset;
        } opened;
        struct message_batch batch;
        struct {
            const char *name, *params;
            bool check; /* Could it be set? */
        } optimizer;
        struct {
            const char *param;
            double value; /* Finite. */
            uint64_t round;
            bool one;
            uint32_t key_id, slice; /* 0 unless `one`. */
        } hyper;
        struct {
            uint32_t slot, seconds, listed, missing_count;
            uint64_t round;
            uint32_t missing[KV_MISSING_MAX];
            bool connected[KV_MISSING_MAX];
            uint32_t left; /* Ranks that rounds do not wait for. */
        } stalled;
        struct {
            uint32_t slot, pass;
            uint64_t round;
            double sum[KV_NORMS_MAX];
        } norms; /* NORMS and TOTALS. */
        struct {
            uint32_t slot, rank; /* Rank 0 unless `blames`. */
            uint64_t round;
            bool blames, fails;
        } skipped;
        struct {
            bool in;
        } member;
        struct {
            uint32_t node, seconds;
        } dead;
        struct {
            uint32_t count;
        } dead_count;
        struct {
            const char *what; /* Who or what must come first. */
            uint32_t seconds;
        } waiting;
        struct {
            uint64_t from;
        } list;
        struct {
            const struct message_listing *keys;
            uint32_t count; /* At most KV_LISTED_MAX. */
            uint64_t next;  /* 0: that was all. */
        } listed;
        struct {
            enum kv_delete_step step;
            uint32_t key_id;
            const char *name; /* NULL: the key is `number`. */
            int64_t number;
        } delete;
        struct {
            uint32_t key_id, slice;
            uint64_t deletion;
        } drop;
        struct {
            uint32_t key_id, slice;
        } version;
        struct {
            uint64_t rounds;
        } versioned;
    };
};

/* A bound of what message_pack() needs for a batch of KV_BATCH_RUNS_MAX runs.
 */
#define MESSAGE_BATCH_META_MAX 4096

/* Enough scratch to unpack any valid message. */
#define MESSAGE_SCRATCH_SIZE (256u << 10)

/* KV_EPROTO for anything malformed or beyond a limit; `reason`, when not NULL,
 * is set to a static sentence. payload_size is the frame's. */
KV_MUST_CHECK enum kv_status
message_unpack(struct scratch *scratch, const void *meta, size_t meta_size,
               size_t payload_size, struct message *out, const char **reason);

/* Bytes written to `out`. KV_ETOOBIG when they exceed `capacity`. */
KV_MUST_CHECK enum kv_status message_pack(const struct message *m, void *out,
                                          size_t capacity, size_t *size);

const char *message_kind_name(enum message_kind kind);

/* Append a slice to a batch of at most KV_BATCH_RUNS_MAX runs; false when a
 * new run would be needed and there is no room for one, or when there are
 * KV_BATCH_ENTRIES_MAX slices already. */
bool message_add(struct message_batch *batch, uint32_t slot, uint64_t round,
                 uint32_t size);

/* The same for `count` slices, slot .. slot+count-1: all of them or none. */
bool message_add_run(struct message_batch *batch, uint32_t slot, uint32_t count,
                     uint64_t round, uint32_t size);

/* The single slice of a batch that has just one, and KV_DIRECT_MIN bytes or
 * more of payload; else NULL. Such a payload goes straight to its tensor. */
const struct run *message_direct(const struct message *m);

#endif
