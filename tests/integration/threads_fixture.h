/**
 * threads_fixture - actors: threads that do as they like with a store, and what
 * all of them check.
 *
 * Two keys are everybody's; what is pushed to them is counted, and in the end
 * their values are that. cast() the actors of a test, then run(). An actor's
 * checks end the process, with the sentence of kvw_error(): the assertions of
 * cmocka are for the main thread.
 */
#ifndef KV_TESTS_INTEGRATION_THREADS_FIXTURE_H
#define KV_TESTS_INTEGRATION_THREADS_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/integration/worker_fixture.h"
#include "tests/unit/chance.h"

#define SMALL 10
#define LARGE 3000

enum { KEYS = 2, ACTORS_MAX = 10 };

/* Adds what is pushed, negated; and has numbers that may change, for nothing is
 * made of them. */
#define OPTIMIZER "lr=1,wd=0"

/* What all ranks push. */
static const struct shared {
    const char *name;
    size_t count;
} shared[KEYS] = {{"small", SMALL}, {"large", LARGE}};

static atomic_uint pushed[KEYS]; /* By pushes that were done. */
static atomic_bool over;

/* One thread. Its own key is its store's alone ("own 3"), or, of rank 1, that
 * of the thread of rank 0 which has the same number: a guest. */
struct actor {
    pthread_t thread;
    void (*part)(struct actor *a);
    struct kvw *kv;
    uint64_t chance;
    unsigned rank, number;
    int steps;
    char name[16];   /* Of its own key. */
    bool has;        /* It is registered. */
    float sum;       /* Its value, */
    uint64_t rounds; /* and its version. */
    unsigned mine[KEYS];
    uint64_t versions[KEYS], done;
    float data[LARGE], got[LARGE], seen[KEYS][LARGE];
};

/* --- Checks --------------------------------------------------------------- */

static inline void check_that(const struct actor *a, bool right,
                              const char *what)
{
    if (!right) {
        fprintf(stderr, "rank %u thread %u: %s: %s\n", a->rank, a->number, what,
                kvw_error(a->kv));
    }
    KV_CHECK(right);
}

static inline void check(const struct actor *a, int status)
{
    check_that(a, status == KVW_OK, kvw_strstatus(status));
}

/* The key may be gone, for it is another one's. */
static inline void check_or(const struct actor *a, int status, int other)
{
    check_that(a, status == KVW_OK || status == other, kvw_strstatus(status));
}

static inline unsigned below(struct actor *a, unsigned limit)
{
    return (unsigned)chance(&a->chance, limit);
}

/* --- Pushing and pulling -------------------------------------------------- */

/* One of the ways to wait for it. */
static inline int wait_op(struct actor *a, struct kvw_key key,
                          struct kvw_op *op)
{
    int status = KVW_ETIMEOUT;

    switch (below(a, 4)) {
    case 0:
        kvw_forget(a->kv, op);
        return kvw_wait_key(a->kv, key, PATIENCE);
    case 1:
        while (status == KVW_ETIMEOUT && below(a, 4) > 0) {
            status = kvw_wait(a->kv, op, (int64_t)below(a, 2));
        }
        break;
    default:
        break;
    }
    return status == KVW_ETIMEOUT ? kvw_wait(a->kv, op, PATIENCE) : status;
}

enum how { PUSH, PULL, PUSHPULL };

static inline struct kvw_op *start(struct actor *a, struct kvw_key key,
                                   size_t count, enum how how)
{
    struct kvw_tensor from = kvw_f32(a->data, count);
    struct kvw_tensor to = kvw_f32(a->got, count);
    struct kvw_item in = item(key, &from), out = item(key, &to);
    struct kvw_call call = {.priority = (int)below(a, 3),
                            .flags = below(a, 2) == 0 ? KVW_COPY : 0};
    struct kvw_op *op;

    check(a, how == PULL   ? kvw_pull(a->kv, &out, 1, &call, &op)
             : how == PUSH ? kvw_push(a->kv, &in, 1, &call, &op)
                           : kvw_pushpull(a->kv, &in, &out, 1, &call, &op));
    return op;
}

static inline void move(struct actor *a, struct kvw_key key, size_t count,
                        enum how how)
{
    check(a, wait_op(a, key, start(a, key, count, how)));
}

/* A push, and behind it, at once, a pull. */
static inline void push_and_pull(struct actor *a, struct kvw_key key,
                                 size_t count)
{
    struct kvw_op *push = start(a, key, count, PUSH);
    struct kvw_op *pull = start(a, key, count, PULL);

    check(a, wait_op(a, key, pull));
    check(a, wait_op(a, key, push));
}

/* A value never goes back, and has all that this thread has pushed: in some
 * elements of each slice. */
static inline void look_at_shared(struct actor *a, unsigned k)
{
    size_t count = shared[k].count;

    for (size_t i = 0; i < count; i += 1 + count / 100) {
        check_that(a, a->got[i] >= a->seen[k][i], "a value went back");
        check_that(a, a->got[i] >= (float)a->mine[k], "a push is not there");
    }
    memcpy(a->seen[k], a->got, count * sizeof a->got[0]);
}

static inline void push_shared(struct actor *a, unsigned k)
{
    struct kvw_key key = kvw_str(shared[k].name);
    unsigned value = 1 + below(a, 3), way = below(a, 4);

    fill(a->data, shared[k].count, -(float)value);
    if (way == 0) {
        push_and_pull(a, key, shared[k].count);
    } else {
        move(a, key, shared[k].count, way == 1 ? PUSHPULL : PUSH);
    }
    atomic_fetch_add(&pushed[k], value);
    a->mine[k] += value;
    if (way <= 1) {
        look_at_shared(a, k);
    }
}

static inline void pull_shared(struct actor *a, unsigned k)
{
    move(a, kvw_str(shared[k].name), shared[k].count, PULL);
    look_at_shared(a, k);
}

/* --- A run ---------------------------------------------------------------- */

static struct actor actors[ACTORS_MAX];
static unsigned actor_count;
static uint64_t seed;

static inline void *play(void *arg)
{
    struct actor *a = arg;

    a->part(a);
    return NULL;
}

static inline void cast(unsigned rank, unsigned number,
                        void (*part)(struct actor *), int steps)
{
    struct actor *a = &actors[actor_count++];

    memset(a, 0, sizeof *a);
    a->part = part;
    a->kv = c.kv[rank];
    a->chance = (seed + actor_count) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    a->rank = rank;
    a->number = number;
    a->steps = steps;
    snprintf(a->name, sizeof a->name, "own %u", number);
}

/* Calls without a deadline have this one. */
static inline void expect_end(struct actor *a)
{
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE / 1000;
    if (pthread_timedjoin_np(a->thread, NULL, &deadline) != 0) {
        (void)kvw_wait_all(a->kv, 1);
        check_that(a, false, "it has not come to an end");
    }
}

static inline void run(void)
{
    atomic_store(&over, false);
    for (unsigned i = 0; i < actor_count; i++) {
        KV_CHECK(pthread_create(&actors[i].thread, NULL, play, &actors[i]) ==
                 0);
    }
    for (unsigned i = 0; i < actor_count; i++) {
        expect_end(&actors[i]);
    }
    wait_all();
    for (unsigned k = 0; k < KEYS; k++) {
        for (unsigned rank = 0; rank < c.workers; rank++) {
            pull(rank, kvw_str(shared[k].name), g[rank], shared[k].count);
            wait_all();
            expect_all(g[rank], shared[k].count,
                       (float)atomic_load(&pushed[k]));
        }
    }
}

#endif
