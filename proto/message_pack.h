/**
 * message_pack - from our structs to generated ones.
 *
 * The inside of message_pack().
 *
 * Thread:  pure.
 * Memory:  what is filled in borrows from the message.
 */
#ifndef KV_PROTO_MESSAGE_PACK_H
#define KV_PROTO_MESSAGE_PACK_H

#include "kv.pb-c.h"
#include "proto/message.h"

/* What an envelope points to while it is being packed; on the stack. */
struct parts {
    union {
        Kv__Welcome welcome;
        Kv__Error error;
        Kv__Ok ok;
        Kv__Join join;
        Kv__Joined joined;
        Kv__Enlist enlist;
        Kv__Waiting waiting;
        Kv__Key key;
        Kv__Placed placed;
        Kv__Barrier barrier;
        Kv__Leave leave;
        Kv__Open open;
        Kv__Opened opened;
        Kv__Push push;
        Kv__Pull pull;
        Kv__Answer answer;
        Kv__Again again;
        Kv__Optimizer optimizer;
        Kv__Hyper hyper;
        Kv__Stalled stalled;
        Kv__Norms norms;
        Kv__Member member;
        Kv__Rounds rounds;
        Kv__Dead dead;
        Kv__DeadCount dead_count;
        Kv__Ping ping;
        Kv__Skipped skipped;
        Kv__List list;
        Kv__Delete delete;
        Kv__Drop drop;
        Kv__Version version;
        Kv__Versioned versioned;
    };
    uint32_t slot[KV_BATCH_RUNS_MAX], count[KV_BATCH_RUNS_MAX];
    uint32_t size[KV_BATCH_RUNS_MAX];
    uint64_t round[KV_BATCH_RUNS_MAX];
    protobuf_c_boolean connected[KV_MISSING_MAX];
};

typedef void (*pack_fn)(const struct message *m, struct parts *p,
                        Kv__Envelope *env);

/* NULL: none, the key is a number. */
void pack_name(const char *name, ProtobufCBinaryData *out);

/* KV_ETOOBIG: it does not fit. */
enum kv_status pack_envelope(const Kv__Envelope *env, void *out,
                             size_t capacity, size_t *size);

/* --- message_pack_data.c: what data links carry ----------------------------
 */

void pack_open(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_opened(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_push(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_pull(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_answer(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_again(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_optimizer(const struct message *m, struct parts *p,
                    Kv__Envelope *env);
void pack_hyper(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_stalled(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_norms(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_skipped(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_member(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_rounds(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_drop(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_version(const struct message *m, struct parts *p, Kv__Envelope *env);
void pack_versioned(const struct message *m, struct parts *p,
                    Kv__Envelope *env);

/* --- message_pack_keys.c -------------------------------------------------- */

/* A LISTED. Apart: what is packed for each frame has no large locals. */
enum kv_status pack_listed(const struct message *m, void *out, size_t capacity,
                           size_t *size);

#endif
