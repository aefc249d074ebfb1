/**
 * worker_fixture - a job of at most two workers in one test, and its steps.
 *
 * Each rank has one weight and one gradient array, as long as the longest key.
 */
#ifndef KV_TESTS_INTEGRATION_WORKER_FIXTURE_H
#define KV_TESTS_INTEGRATION_WORKER_FIXTURE_H

#include "tests/integration/cluster.h"

#define BIG 300000     /* Elements: three slices, on several shards. */
#define PATIENCE 60000 /* Milliseconds: who waits longer is stuck. */

static struct cluster c;
static float w[2][BIG], g[2][BIG];

static inline int set_up_with(unsigned servers, unsigned workers,
                              const char *kind)
{
    cluster_no_environment();
    cluster_start(&c, servers, workers);
    cluster_open_all(&c, kind);
    return 0;
}

static inline int set_up(void **state)
{
    (void)state;
    return set_up_with(2, 2, "dist_sync");
}

static inline int set_up_alone(void **state)
{
    (void)state;
    return set_up_with(1, 1, "dist_sync");
}

static inline int set_up_async(void **state)
{
    (void)state;
    return set_up_with(2, 2, "dist_async");
}

static inline int tear_down(void **state)
{
    (void)state;
    cluster_stop(&c);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static inline struct kvw_item item(struct kvw_key key,
                                   const struct kvw_tensor *t)
{
    struct kvw_item i = {key, t, 1};

    return i;
}

static inline void init(unsigned rank, struct kvw_key key, float *data,
                        size_t count)
{
    struct kvw_tensor t = kvw_f32(data, count);
    struct kvw_item i = item(key, &t);

    expect_ok(c.kv[rank], kvw_init(c.kv[rank], &i, 1));
}

static inline void init_all(struct kvw_key key, size_t count, float value)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        fill(w[rank], count, value);
        init(rank, key, w[rank], count);
    }
}

static inline void push(unsigned rank, struct kvw_key key, float *data,
                        size_t count)
{
    struct kvw_tensor t = kvw_f32(data, count);
    struct kvw_item i = item(key, &t);

    expect_ok(c.kv[rank], kvw_push(c.kv[rank], &i, 1, NULL, NULL));
}

static inline void pull(unsigned rank, struct kvw_key key, float *data,
                        size_t count)
{
    struct kvw_tensor t = kvw_f32(data, count);
    struct kvw_item i = item(key, &t);

    expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &i, 1, NULL, NULL));
}

static inline void wait_all(void)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], PATIENCE));
    }
}

static inline struct kvw_stats stats_of(unsigned rank)
{
    struct kvw_stats stats;

    expect_ok(c.kv[rank], kvw_get_stats(c.kv[rank], &stats, sizeof stats));
    return stats;
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, tear_down)

#endif
