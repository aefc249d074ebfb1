/**
 * chance - seeds for randomized tests, and children to kill.
 *
 * SEED=n in the environment repeats a run.
 */
#ifndef KV_TESTS_UNIT_CHANCE_H
#define KV_TESTS_UNIT_CHANCE_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"

/* A state for chance(), never 0; printed. */
static inline uint64_t chance_seed(void)
{
    const char *given = getenv("SEED");
    unsigned long seed = given != NULL ? strtoul(given, NULL, 10)
                                       : (unsigned long)time(NULL) * 1000003 +
                                             (unsigned long)getpid();

    fprintf(stderr, "SEED=%lu\n", seed);
    return seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* Below `limit`. */
static inline uint64_t chance(uint64_t *x, uint64_t limit)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return (*x >> 11) % limit;
}

/* Run `work` in a child, which calls chance_ready() once it has begun, and kill
 * the child at some moment in the `span_us` after that. */
typedef void (*chance_work_fn)(void *arg, int ready);

static inline void chance_ready(int ready)
{
    KV_CHECK(write(ready, "!", 1) == 1);
}

static inline void chance_kill(uint64_t *x, unsigned span_us,
                               chance_work_fn work, void *arg)
{
    int fds[2];
    pid_t child;
    char byte;

    KV_CHECK(pipe(fds) == 0);
    child = fork();
    KV_CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        work(arg, fds[1]);
        _exit(1);
    }
    close(fds[1]);
    KV_CHECK(read(fds[0], &byte, 1) == 1);
    usleep((useconds_t)chance(x, span_us));
    KV_CHECK(kill(child, SIGKILL) == 0);
    KV_CHECK(waitpid(child, NULL, 0) == child);
    close(fds[0]);
}

#endif
