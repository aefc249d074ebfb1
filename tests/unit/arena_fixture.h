/**
 * arena_fixture - an arena in a directory of its own, removed afterwards.
 */
#ifndef KV_TESTS_UNIT_ARENA_FIXTURE_H
#define KV_TESTS_UNIT_ARENA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "server/arena.h"

#define ARENA_NAME "shard-0.arena"

struct home {
    char dir[64];
    char path[96]; /* Of the file. */
    struct arena_config config;
    struct arena *arena;
    char error[512];
};

static inline void home_make(struct home *h)
{
    memset(h, 0, sizeof *h);
    snprintf(h->dir, sizeof h->dir, "/tmp/kv-test-XXXXXX");
    KV_CHECK(mkdtemp(h->dir) != NULL);
    snprintf(h->path, sizeof h->path, "%s/" ARENA_NAME, h->dir);
    h->config.dir = h->dir;
    h->config.name = ARENA_NAME;
    h->config.identity.job[0] = 7;
    h->config.identity.shards = 1;
    h->config.identity.workers = 2;
    h->config.size_max = (size_t)64 << 20;
    h->config.size_initial = 64 << 10;
}

static inline enum kv_status home_try(struct home *h)
{
    h->error[0] = '\0';
    return arena_open(&h->config, &h->arena, h->error, sizeof h->error);
}

static inline void home_open(struct home *h)
{
    enum kv_status status = home_try(h);

    if (status != KV_OK) {
        fprintf(stderr, "%s\n", h->error);
    }
    KV_CHECK(status == KV_OK);
}

/* As after a kill: nothing is put in order first. */
static inline void home_drop(struct home *h)
{
    if (h->arena != NULL) {
        arena_close(h->arena);
        h->arena = NULL;
    }
}

static inline void home_remove(struct home *h)
{
    home_drop(h);
    (void)unlink(h->path);
    (void)rmdir(h->dir);
}

#endif
