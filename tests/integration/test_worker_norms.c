/* lamb, lars and lans over real servers: norms are those of the whole key,
 * however it is cut, and whatever happens to servers on the way. */
#include <pthread.h>

#include "common/optim/optim.h"
#include "tests/integration/worker_fixture.h"

enum { ROUNDS = 4, LENGTH = 10, ROWS = BIG / LENGTH };

static float state[KV_OPTIM_SLOTS_MAX][BIG],
    next_state[KV_OPTIM_SLOTS_MAX][BIG];
static float want[BIG], next_want[BIG], sum[BIG];

static void gradients(unsigned round)
{
    for (size_t i = 0; i < BIG; i++) {
        g[0][i] = (float)((i * 7 + round) % 13) * 0.25f - 1.5f;
        g[1][i] = (float)((i + round * 5) % 9) * 0.125f - 0.25f;
        sum[i] = g[0][i] + g[1][i];
    }
}

/* Elements of a slice of a key of BIG floats, as the servers cut it. */
static size_t slice;

static size_t slice_at(size_t first)
{
    return BIG - first < slice ? BIG - first : slice;
}

/* Blocks, in order, are the slice's sums. */
static void add_slice(const struct kv_optim *optim,
                      const struct kv_optim_args *key, unsigned pass,
                      size_t first, double *total)
{
    double sums[KV_OPTIM_NORMS_MAX] = {0};
    size_t end = first + slice_at(first);

    for (; first < end; first += KV_OPTIM_BLOCK) {
        double block[KV_OPTIM_NORMS_MAX] = {0};
        struct kv_optim_args args = *key;

        args.count =
            end - first < KV_OPTIM_BLOCK ? end - first : KV_OPTIM_BLOCK;
        args.weight = (const float *)args.weight + first;
        args.gradient = (const float *)args.gradient + first;
        for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
            args.slot[i] = (const float *)args.slot[i] + first;
        }
        optim->measure(&args, pass, block);
        for (unsigned i = 0; i < KV_OPTIM_NORMS_MAX; i++) {
            sums[i] += block[i];
        }
    }
    for (unsigned i = 0; i < KV_OPTIM_NORMS_MAX; i++) {
        total[i] += sums[i];
    }
}

/* One update with the rule itself, its sums taken slice by slice. */
static void reference(const struct kv_optim_spec *spec, uint64_t t)
{
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_args args = {.count = BIG,
                                 .weight = want,
                                 .new_weight = next_want,
                                 .gradient = sum,
                                 .step = step};

    kv_optim_prepare(spec, KV_F32, NULL, t, step);
    for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
        args.slot[i] = state[i];
        args.new_slot[i] = next_state[i];
    }
    for (unsigned pass = 0; pass < spec->optim->passes; pass++) {
        double total[KV_OPTIM_NORMS_MAX] = {0};

        for (size_t first = 0; first < BIG; first += slice_at(first)) {
            add_slice(spec->optim, &args, pass, first, total);
        }
        spec->optim->absorb(step, pass, total);
    }
    spec->optim->update(&args);
    memcpy(want, next_want, sizeof want);
    memcpy(state, next_state, sizeof state);
}

static struct kv_optim_spec begin(const char *optimizer, const char *params)
{
    char error[KV_OPTIM_ERROR_MAX];
    struct kv_optim_spec spec;

    assert_int_equal(
        kv_optim_parse(optimizer, params, &spec, error, sizeof error), KV_OK);
    memcpy(want, w[0], sizeof want);
    memset(state, 0, sizeof state);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], optimizer, params));
    return spec;
}

/* What was pushed and pulled arrives, in spite of a kill. */
static void expect_round(unsigned round, bool kill)
{
    if (kill) {
        cluster_kill(&c, round % 2);
        cluster_restart(&c, round % 2);
    }
    wait_all();
    assert_memory_equal(w[0], want, sizeof want);
    assert_memory_equal(w[1], want, sizeof want);
}

static void train(const char *optimizer, const char *params, bool kill)
{
    struct kv_optim_spec spec;

    slice = (512u << 10) / sizeof(float);
    init_all(kvw_str("w"), BIG, 0.5f);
    spec = begin(optimizer, params);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        gradients(round);
        reference(&spec, round);
        for (unsigned rank = 0; rank < 2; rank++) {
            push(rank, kvw_str("w"), g[rank], BIG);
            pull(rank, kvw_str("w"), w[rank], BIG);
        }
        expect_round(round, kill);
    }
}

/* --- Rows ----------------------------------------------------------------- */

static int64_t rows[2][ROWS];
static uint64_t row_count[2];

/* Of each rank a third of the rows, side by side; their sum over the whole. */
static void row_gradients(unsigned round)
{
    memset(sum, 0, sizeof sum);
    for (unsigned rank = 0; rank < 2; rank++) {
        row_count[rank] = 0;
        for (size_t row = 0; row < ROWS; row++) {
            float *to = g[rank] + row_count[rank] * LENGTH;

            if ((row * 7 + round + rank) % 3 != 0) {
                continue;
            }
            rows[rank][row_count[rank]++] = (int64_t)row;
            for (size_t i = 0; i < LENGTH; i++) {
                to[i] = (float)((row + i * 5 + round) % 11 + 1) * 0.125f;
                sum[row * LENGTH + i] += to[i];
            }
        }
    }
}

static void train_rows(const char *optimizer, const char *params, bool kill)
{
    struct kv_optim_spec spec;

    slice = (512u << 10) / (LENGTH * sizeof(float) + sizeof(uint32_t)) * LENGTH;
    for (unsigned rank = 0; rank < 2; rank++) {
        struct kvw_tensor t = kvw_f32_rows(w[rank], NULL, ROWS, ROWS, LENGTH);
        struct kvw_item all = item(kvw_str("t"), &t);

        fill(w[rank], BIG, 0.5f);
        expect_ok(c.kv[rank], kvw_init(c.kv[rank], &all, 1));
    }
    spec = begin(optimizer, params);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        row_gradients(round);
        reference(&spec, round);
        for (unsigned rank = 0; rank < 2; rank++) {
            struct kvw_tensor t = kvw_f32_rows(g[rank], rows[rank],
                                               row_count[rank], ROWS, LENGTH);
            struct kvw_tensor all =
                kvw_f32_rows(w[rank], NULL, ROWS, ROWS, LENGTH);
            struct kvw_item to = item(kvw_str("t"), &t);
            struct kvw_item from = item(kvw_str("t"), &all);

            expect_ok(c.kv[rank], kvw_push(c.kv[rank], &to, 1, NULL, NULL));
            expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &from, 1, NULL, NULL));
        }
        expect_round(round, kill);
    }
}

static void test_rows_count_in_the_norms_of_the_whole_table(void **unused)
{
    (void)unused;
    train_rows("lamb", "lr=0.1,wd=0.01", false);
}

static void test_lans_measures_tables_twice(void **unused)
{
    (void)unused;
    train_rows("lans", "lr=0.1,wd=0.01", false);
}

static void test_lars_moves_all_rows_if_told_so(void **unused)
{
    (void)unused;
    train_rows("lars", "lr=0.1,momentum=0.9,wd=0.01,lazy_update=0", false);
}

static void test_killed_servers_change_no_norm_of_rows(void **unused)
{
    (void)unused;
    train_rows("lans", "lr=0.1,wd=0.01", true);
}

/* --- Large keys ----------------------------------------------------------- */

/* All weights are 1 and all gradients alike: lamb moves each by lr of it. */
static void test_a_key_may_be_larger_than_a_rank_may_hold(void **unused)
{
    size_t count = (size_t)10 << 20; /* 40 MiB: 20 on each shard. */
    float *weights = calloc(count, sizeof *weights);
    float *gradient = calloc(count, sizeof *gradient);

    (void)unused;
    fill(weights, count, 1);
    fill(gradient, count, 0.5f);
    for (unsigned rank = 0; rank < 2; rank++) {
        init(rank, kvw_str("large"), weights, count);
    }
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "lamb", "lr=0.5"));
    for (unsigned rank = 0; rank < 2; rank++) {
        push(rank, kvw_str("large"), gradient, count);
    }
    pull(1, kvw_str("large"), weights, count);
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], 120000));
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(weights[i] > 0.499f && weights[i] < 0.501f);
    }
    free(weights);
    free(gradient);
}

static void *set_lamb(void *unused)
{
    (void)unused;
    KV_CHECK(kvw_set_optimizer(c.kv[1], "lamb", "lr=0.5") == KVW_OK);
    return NULL;
}

/* Rank 1 sets an optimizer while slices of a push are committed on server 0 and
 * others on their way to server 1. */
static void set_in_between(void)
{
    uint64_t before = stats_of(1).bytes_sent;
    pthread_t thread;

    while (stats_of(0).pushes == 0) {
    }
    KV_CHECK(pthread_create(&thread, NULL, set_lamb, NULL) == 0);
    while (stats_of(1).bytes_sent == before) {
    }
    KV_CHECK(kill(c.pid[1], SIGCONT) == 0);
    KV_CHECK(pthread_join(thread, NULL) == 0);
}

/* A rank that has left may set an optimizer at any time, and so while a push is
 * on its way: the slices that came before it have been summed without norms.
 * The others go on without them, and with all of them in the next round. */
static void
test_an_optimizer_may_come_between_the_slices_of_a_push(void **unused)
{
    size_t count = (size_t)10 << 20;
    float *weights = calloc(count, sizeof *weights);
    float *gradient = calloc(count, sizeof *gradient);

    (void)unused;
    fill(gradient, count, 1);
    for (unsigned rank = 0; rank < 2; rank++) {
        init(rank, kvw_str("large"), weights, count);
    }
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    cluster_pause(&c, 1);
    push(0, kvw_str("large"), gradient, count);
    set_in_between();
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], PATIENCE));
    push(0, kvw_str("large"), gradient, count);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], PATIENCE));
    free(weights);
    free(gradient);
}

static int set_up_one_server(void **unused)
{
    (void)unused;
    return set_up_with(1, 2, "dist_sync");
}

/* --- Tests ---------------------------------------------------------------- */

static void test_lamb_has_the_norms_of_the_whole_key(void **unused)
{
    (void)unused;
    train("lamb", "lr=0.1,wd=0.01", false);
}

static void test_lars_has_the_norms_of_the_whole_key(void **unused)
{
    (void)unused;
    train("lars", "lr=0.1,momentum=0.9,wd=0.01", false);
}

static void test_lans_measures_twice(void **unused)
{
    (void)unused;
    train("lans", "lr=0.1,wd=0.01", false);
}

static void test_killed_servers_change_no_norm(void **unused)
{
    (void)unused;
    train("lans", "lr=0.1,wd=0.01", true);
}

static void test_async_has_no_norms_of_several_slices(void **unused)
{
    struct kvw_tensor t = kvw_f32(g[0], BIG);
    struct kvw_item i = {kvw_str("w"), &t, 1};
    struct kvw_op *op;

    (void)unused;
    init_all(kvw_str("w"), BIG, 1);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "lamb", "lr=0.1"));
    expect_ok(c.kv[0], kvw_push(c.kv[0], &i, 1, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, 60000), KVW_ENOTSUP, "lamb",
                 "slices", "dist_sync", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lamb_has_the_norms_of_the_whole_key, set_up),
        TEST(test_lars_has_the_norms_of_the_whole_key, set_up),
        TEST(test_lans_measures_twice, set_up),
        TEST(test_killed_servers_change_no_norm, set_up),
        TEST(test_rows_count_in_the_norms_of_the_whole_table, set_up),
        TEST(test_lans_measures_tables_twice, set_up),
        TEST(test_lars_moves_all_rows_if_told_so, set_up),
        TEST(test_killed_servers_change_no_norm_of_rows, set_up),
        TEST(test_a_key_may_be_larger_than_a_rank_may_hold, set_up_one_server),
        TEST(test_an_optimizer_may_come_between_the_slices_of_a_push, set_up),
        TEST(test_async_has_no_norms_of_several_slices, set_up_async),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
