/**
 * op - one call in flight, and how callers wait for it.
 *
 *   FREE -> MADE -> RUNNING -> DONE -> FREE
 *            |                  ^ only while the caller has a handle
 *            +------------------------> FREE   (refused before it started)
 *
 * A caller takes an op from the pool, fills it in, starts it and mails it to
 * the lane, which alone writes it from then on, until op_finish(). Ops and what
 * they have allocated are used again, so the steady state allocates nothing.
 *
 * Thread:  any; the pool's lock is inside. Fields belong to the caller while
 *          MADE, to the lane while RUNNING.
 * Memory:  ops belong to the pool. Arrays inside an op grow and stay with it;
 *          copied tensors come from a buffer pool that all ops share.
 * Result:  an op is finished exactly once, and a callback runs before anyone
 *          who waits for the op is told.
 */
#ifndef KV_WORKER_OP_H
#define KV_WORKER_OP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bufpool.h"
#include "common/base/fsm.h"
#include "common/base/list.h"
#include "common/base/mailbox.h"
#include "common/base/status.h"
#include "common/optim/optim.h"
#include "proto/limits.h"
#include "worker/keys.h"
#include "worker/kvworker.h"

#define OP_IN_FLIGHT_MAX 4096
#define OP_TEXT_MAX 1024

enum op_kind {
    OP_OPEN,
    OP_INIT,
    OP_TRANSFER, /* push, pull, pushpull */
    OP_MOVES,    /* The same with row_sparse tensors; moves.h. */
    OP_BARRIER,
    OP_OPTIMIZER,
    OP_HYPER,
    OP_UPDATER,
    OP_MEMBER, /* Of rounds, or no longer. */
    OP_LIST,
    OP_VERSION,
    OP_DELETE,
    OP_RESET,
    /* Between the library and its lane; nobody waits for them in wait_all. */
    OP_CODEC,
    OP_STATS,
    OP_DESCRIBE,
    OP_DEAD, /* Its text is the number. */
    OP_LEAVE
};

/* One key of a call and its tensors. */
struct op_item {
    struct key_spec spec; /* Its name is in the op's names. */
    void **data;          /* data_count base addresses, in the op's data. */
    uint32_t data_count;
    struct key *key; /* Once the lane has looked it up. */
};

/* Some keys of the job, in order. */
struct op_page {
    uint64_t from; /* The least id that is wanted; then that of the next page,
                      0 when there is none. */
    uint32_t count;
    struct op_listing {
        char name[KV_KEY_NAME_MAX + 1]; /* "": the key is `number`. */
        int64_t number;
        enum kv_dtype dtype;
        enum kv_storage storage;
        uint32_t dims, slices;
        uint64_t shape[KV_DIMS_MAX];
    } keys[KV_LISTED_MAX];
};

struct op_pool;
struct piece; /* engine_transfer.c */
struct move;  /* moves.h */
struct key_norms;

struct kvw_op {
    struct mail mail;          /* On its way to the lane. */
    struct list_link by_age;   /* In pool->running. */
    struct list_link on_lane;  /* In a list of the engine. */
    struct kvw_op *next_idle;  /* In pool->idle, or pool->late. */
    struct kvw_op *next_owned; /* In pool->owned. */
    enum op_kind kind;
    uint64_t number; /* Grows from op to op, as callers start them. */

    /* What to do. */
    int priority;
    kvw_done_fn done; /* May be NULL. */
    void *arg;
    struct op_item *pushes, *pulls; /* NULL, or item_count each. */
    size_t item_count;
    struct key_norms *norms; /* The lane's; engine_norms.c. */
    struct move *moves;      /* In the copy room. */
    size_t move_count;
    struct kv_optim_spec optimizer;
    bool in;                         /* OP_MEMBER */
    const struct kvw_hyper *changes; /* Kept until done. */
    size_t change_count;
    kvw_updater_fn updater; /* With `arg`. */
    const struct kv_codec *codec;
    struct kvw_stats *stats; /* Kept until done... */
    struct op_page *page;
    uint64_t *version;      /* ...as these. */
    uint64_t about;         /* OP_DESCRIBE: the number of an op. */
    uint32_t node, seconds; /* OP_DEAD */

    /* The lane's. */
    uint64_t turn; /* Grows from op to op, as the lane comes to them: callers
                      may overtake each other on the way. */
    size_t left;   /* Pieces not done. */
    size_t piece_count;
    enum kv_status status;
    char text[OP_TEXT_MAX];

    /* The pool's, under its lock. */
    struct fsm fsm;
    bool handle; /* The caller may still ask. */
    struct buffer *copy;
    /* Arrays that grow. */
    struct piece *pieces; /* The lane's. */
    struct op_item *items;
    void **data;
    char *names;
    size_t items_capacity, data_capacity, names_capacity; /* Bytes. */
    size_t pieces_capacity;
};

struct op_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    struct list running; /* Oldest first. */
    unsigned in_flight;  /* Taken and not finished. */
    unsigned in_flight_max;
    unsigned waiting; /* Threads that `changed` may wake. */
    uint64_t next_number;
    struct kvw_op *idle;
    struct kvw_op *late;  /* Kept, oldest first. */
    struct kvw_op *owned; /* All there are. */
    struct bufpool copies;
    enum kv_status error; /* Of the first that nobody was told of. */
    char error_text[OP_TEXT_MAX];
};

void op_pool_init(struct op_pool *p, unsigned in_flight_max);
void op_pool_fini(struct op_pool *p); /* Nothing is running. */

/* --- Callers -------------------------------------------------------------- */

/* With `block`, waits for room; else KV_EBUSY when there is none. KV_ENOMEM. */
KV_MUST_CHECK enum kv_status op_take(struct op_pool *p, enum op_kind kind,
                                     bool block, struct kvw_op **out);

/* Room for items, tensors and bytes of names; contents undefined. */
KV_MUST_CHECK enum kv_status op_reserve(struct kvw_op *op, size_t items,
                                        size_t tensors, size_t name_bytes);

/* Room for copies of tensors, until the op is done; NULL: out of memory. */
void *op_copy_room(struct op_pool *p, struct kvw_op *op, size_t size);

/* It was never started. */
void op_drop(struct op_pool *p, struct kvw_op *op);

/* From here on it is running; mail it. With `handle` it stays after it is done
 * until op_wait() or op_forget(). */
void op_start(struct op_pool *p, struct kvw_op *op, bool handle);

/* KV_ETIMEOUT: it goes on, and the handle stays. Otherwise its own status and
 * sentence; the handle is gone. timeout_ms below 0: for ever. */
KV_MUST_CHECK enum kv_status op_wait(struct op_pool *p, struct kvw_op *op,
                                     int64_t timeout_ms, char *text,
                                     size_t text_size);
void op_forget(struct op_pool *p, struct kvw_op *op);

/* Keep an op that goes on, with its handle, for who waits for it next; the
 * oldest of those that are kept, or NULL. */
void op_keep(struct op_pool *p, struct kvw_op *op);
struct kvw_op *op_kept(struct op_pool *p);

/* Wait for all that run now, or for those of them that name the key (`spec` not
 * NULL). KV_ETIMEOUT with the number of one that still runs; otherwise
 * *running is 0, and the status is the first error that nobody was told of.
 * op_wait_all() with spec NULL forgets it. */
KV_MUST_CHECK enum kv_status op_wait_all(struct op_pool *p,
                                         const struct key_spec *spec,
                                         int64_t timeout_ms, uint64_t *running,
                                         char *text, size_t text_size);

/* The same for pushes and pulls, whatever becomes of them: 0, or the number of
 * one that still runs. */
uint64_t op_wait_transfers(struct op_pool *p, int64_t timeout_ms);

/* Does it push anything? */
bool op_pushes(const struct kvw_op *op);

/* --- The lane ------------------------------------------------------------- */

/* First error wins. */
__attribute__((format(printf, 3, 4))) void
op_fail(struct kvw_op *op, enum kv_status status, const char *fmt, ...);

/* Run the callback, then wake who waits. The op may be gone after this. */
void op_finish(struct op_pool *p, struct kvw_op *op);

#endif
