/* What tests of the life of keys share. */
#ifndef KV_TESTS_INTEGRATION_KEYS_FIXTURE_H
#define KV_TESTS_INTEGRATION_KEYS_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/integration/worker_fixture.h"

/* --- Steps ---------------------------------------------------------------- */

static inline void delete_key(unsigned rank, struct kvw_key key)
{
    expect_ok(c.kv[rank], kvw_delete(c.kv[rank], &key, 1));
}

static inline uint64_t version(unsigned rank, struct kvw_key key)
{
    uint64_t rounds = 12345;

    expect_ok(c.kv[rank], kvw_get_version(c.kv[rank], key, &rounds));
    return rounds;
}

static inline void expect_gone(unsigned rank, struct kvw_key key)
{
    struct kvw_tensor t = kvw_f32(g[rank], 3);
    struct kvw_item i = item(key, &t);
    uint64_t rounds;

    expect_ok(c.kv[rank], kvw_push(c.kv[rank], &i, 1, NULL, NULL));
    expect_error(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER),
                 KVW_ENOTFOUND, "key", NULL);
    expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &i, 1, NULL, NULL));
    expect_error(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER),
                 KVW_ENOTFOUND, "key", NULL);
    expect_error(c.kv[rank], kvw_get_version(c.kv[rank], key, &rounds),
                 KVW_ENOTFOUND, "key", NULL);
}

static inline void round_of(struct kvw_key key, size_t count, float gradient)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        fill(g[rank], count, gradient);
        push(rank, key, g[rank], count);
        pull(rank, key, w[rank], count);
    }
    wait_all();
}

struct listed {
    size_t count;
    char text[4096];
};

static inline void note(void *arg, const struct kvw_key_info *info)
{
    struct listed *l = arg;
    size_t used = strlen(l->text);

    l->count++;
    if (info->key.name != NULL) {
        snprintf(l->text + used, sizeof l->text - used, "'%s'", info->key.name);
    } else {
        snprintf(l->text + used, sizeof l->text - used, "%lld",
                 (long long)info->key.number);
    }
    used = strlen(l->text);
    snprintf(l->text + used, sizeof l->text - used, ":%d/%d[%u:%llu]x%u ",
             (int)info->dtype, (int)info->storage, info->dims,
             (unsigned long long)info->shape[0], info->slices);
}

static inline void expect_list(unsigned rank, const char *text)
{
    struct listed l = {0};

    expect_ok(c.kv[rank], kvw_list_keys(c.kv[rank], note, &l));
    assert_string_equal(l.text, text);
}

/* --- Kills ---------------------------------------------------------------- */

struct killer {
    pthread_t thread;
    atomic_bool over;
    atomic_uint steps; /* Of who is disturbed. */
};

/* Kills that come faster than a worker can connect would end all progress. */
static inline void await_step(struct killer *k, unsigned before)
{
    struct timespec pause = {0, 1000000};

    while (atomic_load(&k->steps) == before && !atomic_load(&k->over)) {
        nanosleep(&pause, NULL);
    }
}

static inline void *keep_killing(void *arg)
{
    struct killer *k = arg;

    for (int time = 0; !atomic_load(&k->over); time++) {
        struct timespec pause = {0, (10 + time * 7919 % 97) * 1000000};
        unsigned step = atomic_load(&k->steps);

        cluster_kill(&c, (unsigned)time % c.servers);
        cluster_restart(&c, (unsigned)time % c.servers);
        await_step(k, step);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

#endif
