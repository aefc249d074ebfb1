/* Kinds compared: what ends with the same bits, and what only one kind has. */
#include "tests/integration/worker_fixture.h"

#include <pthread.h>
#include <time.h>

#include "tests/unit/optim_fixture.h"

enum { COUNT = 5000, STEPS = 3, TABLE_ROWS = 500, TABLE_LENGTH = 10 };

static void number(float *to, size_t count, unsigned salt)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = (float)((i * 2654435761u + salt) % 20011) / 20011 - 0.5f;
    }
}

/* Two devices a step, then the weights into `out`. */
static void train(struct kvw *kv, const char *optimizer, const char *params,
                  float *out)
{
    struct kvw_tensor t[] = {kvw_f32(g[0], COUNT), kvw_f32(g[1], COUNT)};
    struct kvw_tensor value = kvw_f32(out, COUNT);
    struct kvw_item grads = {kvw_str("w"), t, 2};
    struct kvw_item weights = {kvw_str("w"), &value, 1};

    number(out, COUNT, 1);
    expect_ok(kv, kvw_broadcast(kv, &weights, NULL, 1));
    expect_ok(kv, kvw_set_optimizer(kv, optimizer, params));
    for (unsigned step = 0; step < STEPS; step++) {
        number(g[0], COUNT, 2 + step);
        number(g[1], COUNT, 20 + step);
        expect_ok(kv, kvw_pushpull(kv, &grads, &weights, 1, NULL, NULL));
        expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
    }
}

static int set_up_device(void **state)
{
    (void)state;
    return set_up_with(1, 1, "Dist_Device_Sync");
}

static bool same_bits(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

static void expect_same_bits(const char *optimizer, const char *params)
{
    struct kvw *local;

    assert_int_equal(kvw_open(&local, "local", "log=error"), KVW_OK);
    train(local, optimizer, params, w[0]);
    train(c.kv[0], optimizer, params, w[1]);
    assert_memory_equal(w[0], w[1], COUNT * sizeof(float));
    kvw_close(local);
}

static void test_adam_ends_with_the_same_bits_here_and_there(void **state)
{
    (void)state;
    assert_string_equal(kvw_type(c.kv[0]), "dist_device_sync");
    expect_same_bits("adam", "lr=0.1,wd=0.01");
}

static void test_sgd_ends_with_the_same_bits_here_and_there(void **state)
{
    (void)state;
    expect_same_bits("sgd", "lr=0.1,momentum=0.9,clip_gradient=0.4");
}

static void test_accumulate_works_on_servers(void **state)
{
    (void)state;
    expect_same_bits("accumulate", "");
}

/* 5000 elements are three blocks of sums. */
static void test_norms_end_with_the_same_bits_here_and_there(void **state)
{
    (void)state;
    expect_same_bits("lars", "lr=1,wd=0.01,momentum=0.9");
}

static void test_lambs_norms_are_the_same_here_and_there(void **state)
{
    (void)state;
    expect_same_bits("lamb", "lr=0.1,wd=0.01");
}

static void test_lans_two_passes_are_the_same_here_and_there(void **state)
{
    (void)state;
    expect_same_bits("lans", "lr=0.1,wd=0.01");
}

static void test_noise_is_the_same_here_and_there(void **state)
{
    (void)state;
    expect_same_bits("sgld", "lr=0.1,wd=0.01,seed=5");
}

/* Every third row or so from each of two devices, and at last none. */
static void train_rows(struct kvw *kv, struct kvw_key key, const char *params,
                       const char *optimizer, float *out)
{
    static int64_t rows[2][TABLE_ROWS];
    struct kvw_tensor value =
        kvw_f32_rows(out, NULL, TABLE_ROWS, TABLE_ROWS, TABLE_LENGTH);
    struct kvw_tensor t[2];
    struct kvw_item grads = {key, t, 2}, table = {key, &value, 1};

    number(out, COUNT, 1);
    expect_ok(kv, kvw_init(kv, &table, 1));
    expect_ok(kv, kvw_set_optimizer(kv, optimizer, params));
    for (unsigned step = 0; step <= STEPS; step++) {
        for (unsigned d = 0; d < 2; d++) {
            uint64_t count = 0;

            for (unsigned row = 0; row < TABLE_ROWS && step < STEPS; row++) {
                if ((row * 7 + step * 3 + d) % 20 < 6) {
                    rows[d][count++] = row;
                }
            }
            number(g[d], count * TABLE_LENGTH, 2 + step + 20 * d);
            t[d] = kvw_f32_rows(g[d], rows[d], count, TABLE_ROWS, TABLE_LENGTH);
        }
        expect_ok(kv, kvw_push(kv, &grads, 1, NULL, NULL));
        expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
    }
    expect_ok(kv, kvw_pull(kv, &table, 1, NULL, NULL));
    expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
}

static const struct optim_recipe others[] = {
    {"sgld", "lr=0.1,wd=0.01"}, {"groupadagrad", "lr=0.1"},
    {"lamb", "lr=0.1,wd=0.01"}, {"lans", "lr=0.1,wd=0.01"},
    {"lars", "lr=1,wd=0.01"},   {"lars", "lr=1,wd=0.01,momentum=0.9"},
};

#define OTHERS (sizeof others / sizeof *others)

static void expect_same_rows(struct kvw *local, const struct optim_recipe *r,
                             int64_t number, bool lazy)
{
    struct kvw_key key = kvw_int(number);
    char params[64];

    snprintf(params, sizeof params, "%s%slazy_update=%d", r->params,
             *r->params != '\0' ? "," : "", lazy);
    if (kv_optim_find(r->name)->lazy != KV_OPTIM_LAZY_CHOICE) {
        snprintf(params, sizeof params, "%s", r->params);
    }
    train_rows(local, key, params, r->name, w[0]);
    train_rows(c.kv[0], key, params, r->name, w[1]);
    if (!same_bits(w[0], w[1], COUNT * sizeof(float))) {
        fail_msg("%s %s: rows differ", r->name, params);
    }
}

static void test_rows_end_with_the_same_bits_here_and_there(void **state)
{
    struct kvw *local;

    (void)state;
    assert_int_equal(kvw_open(&local, "local", "log=error"), KVW_OK);
    for (size_t i = 0; i < RECIPE_COUNT + OTHERS; i++) {
        const struct optim_recipe *r =
            i < OTHERS ? &others[i] : &recipes[i - OTHERS];

        expect_same_rows(local, r, (int64_t)(2 * i), false);
        expect_same_rows(local, r, (int64_t)(2 * i) + 1, true);
    }
    kvw_close(local);
}

static void test_servers_refuse_an_updater_and_say_so(void **state)
{
    (void)state;
    expect_error(c.kv[0], kvw_set_updater(c.kv[0], NULL, NULL), KVW_ENOTSUP,
                 "updater", "local", "kvw_set_optimizer", NULL);
    assert_int_equal(kvw_is_capable(c.kv[0], "optimizer"), 1);
    expect_error(c.kv[0], kvw_is_capable(c.kv[0], "flight"), KVW_EINVAL,
                 "flight", "optimizer", NULL);
}

static void expect_dead(int node, int count)
{
    time_t deadline = time(NULL) + 30;
    int dead;

    do {
        dead = kvw_num_dead_node(c.kv[0], node, 1);
    } while (dead >= 0 && dead != count && time(NULL) < deadline);
    if (dead != count) {
        fail_msg("%d dead of %d instead of %d: %s", dead, node, count,
                 kvw_error(c.kv[0]));
    }
}

static void test_the_root_knows_who_is_dead(void **state)
{
    (void)state;
    expect_dead(7, 0);
    cluster_kill(&c, 1);
    expect_dead(2, 1);
    expect_dead(8 + 2 * 1, 1);
    expect_dead(4, 0); /* Idle, but they answer. */
    cluster_restart(&c, 1);
    expect_dead(6, 0);
    cluster_pause(&c, 1); /* Connected, and yet not heard of. */
    expect_dead(2, 1);
    expect_dead(8 + 2 * 1, 1);
    expect_dead(4, 0);
    kill(c.pid[1], SIGCONT);
    expect_dead(2, 0);
    cluster_close(&c, 1);
    expect_dead(4, 0);
    expect_error(c.kv[0], kvw_num_dead_node(c.kv[0], 0, 1), KVW_EINVAL, "node",
                 NULL);
    expect_error(c.kv[0], kvw_num_dead_node(c.kv[0], 13, 1), KVW_EINVAL,
                 "2 workers", NULL);
    cluster_kill(&c, 0);
    expect_dead(1, 1);
    expect_error(c.kv[0], kvw_num_dead_node(c.kv[0], 4, 1), KVW_ETIMEOUT,
                 "server 0", NULL);
}

static void *come_to_the_barrier(void *status)
{
    *(int *)status = kvw_barrier(c.kv[1], 20000);
    return NULL;
}

/* Rank 1 is let through by rank 0, which closes. */
static void test_a_barrier_before_exit_is_one_that_others_wait_for(void **state)
{
    int status = KVW_ETIMEOUT;
    pthread_t other;

    (void)state;
    expect_ok(c.kv[0], kvw_set_barrier_before_exit(c.kv[0], 1));
    assert_int_equal(pthread_create(&other, NULL, come_to_the_barrier, &status),
                     0);
    cluster_close(&c, 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    expect_ok(c.kv[1], status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_adam_ends_with_the_same_bits_here_and_there, set_up_device),
        TEST(test_sgd_ends_with_the_same_bits_here_and_there, set_up_device),
        TEST(test_accumulate_works_on_servers, set_up_device),
        TEST(test_norms_end_with_the_same_bits_here_and_there, set_up_device),
        TEST(test_lambs_norms_are_the_same_here_and_there, set_up_device),
        TEST(test_lans_two_passes_are_the_same_here_and_there, set_up_device),
        TEST(test_noise_is_the_same_here_and_there, set_up_device),
        TEST(test_rows_end_with_the_same_bits_here_and_there, set_up_device),
        TEST(test_servers_refuse_an_updater_and_say_so, set_up_device),
        TEST(test_the_root_knows_who_is_dead, set_up),
        TEST(test_a_barrier_before_exit_is_one_that_others_wait_for, set_up),
    };

    return cmocka_run_group_tests_name("kinds", tests, NULL, NULL);
}
