#include "worker/team.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/compute/denormals.h"

/* The semaphores order all that is not atomic: what the lane wrote before
 * `begin` the helpers see, and what they wrote before `end` the lane sees. */
struct team {
    team_fn fn;
    const void *arg;
    size_t pieces;
    atomic_size_t next;
    bool leaving;
    sem_t begin, end; /* One post a helper and task. */
    unsigned helpers;
    pthread_t threads[]; /* `helpers` of them. */
};

static void take_pieces(struct team *t)
{
    size_t piece;

    while ((piece = atomic_fetch_add(&t->next, 1)) < t->pieces) {
        t->fn(t->arg, piece);
    }
}

static void sleep_on(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
        KV_CHECK(errno == EINTR);
    }
}

static void *help(void *arg)
{
    struct team *t = arg;

    kv_flush_denormals();
    for (;;) {
        sleep_on(&t->begin);
        if (t->leaving) {
            return NULL;
        }
        take_pieces(t);
        KV_CHECK(sem_post(&t->end) == 0);
    }
}

void team_run(struct team *t, team_fn fn, const void *arg, size_t pieces)
{
    unsigned called = t->helpers;

    if (called >= pieces) {
        called = pieces == 0 ? 0 : (unsigned)(pieces - 1);
    }
    t->fn = fn;
    t->arg = arg;
    t->pieces = pieces;
    atomic_store(&t->next, 0);
    for (unsigned i = 0; i < called; i++) {
        KV_CHECK(sem_post(&t->begin) == 0);
    }
    take_pieces(t);
    for (unsigned i = 0; i < called; i++) {
        sleep_on(&t->end);
    }
}

unsigned team_processors(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1; /* More than a set has room for: rather too few. */
    }
    return (unsigned)CPU_COUNT(&set);
}

/* Signals are the process's own business. */
static int add_helper(struct team *t)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    KV_CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    error = pthread_create(&t->threads[t->helpers], NULL, help, t);
    KV_CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return error;
}

enum kv_status team_new(struct team **out, unsigned threads)
{
    struct team *t;

    KV_CHECK(threads > 0);
    t = mem_zalloc(1, sizeof *t + (threads - 1) * sizeof t->threads[0]);
    if (t == NULL) {
        return KV_ENOMEM;
    }
    KV_CHECK(sem_init(&t->begin, 0, 0) == 0);
    KV_CHECK(sem_init(&t->end, 0, 0) == 0);
    while (t->helpers + 1 < threads) {
        if (add_helper(t) != 0) {
            team_free(t);
            return KV_EAGAIN;
        }
        t->helpers++;
    }
    *out = t;
    return KV_OK;
}

void team_free(struct team *t)
{
    if (t == NULL) {
        return;
    }
    t->leaving = true;
    for (unsigned i = 0; i < t->helpers; i++) {
        KV_CHECK(sem_post(&t->begin) == 0);
    }
    for (unsigned i = 0; i < t->helpers; i++) {
        KV_CHECK(pthread_join(t->threads[i], NULL) == 0);
    }
    sem_destroy(&t->begin);
    sem_destroy(&t->end);
    mem_free(t);
}
