/* libkvworker: whatever a user can do wrong has a status and a sentence, and
 * changes nothing. */
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>

#include "tests/integration/cluster.h"

static struct cluster c;
static float data[64];

static int set_up_with(unsigned workers, const char *extra)
{
    cluster_no_environment();
    c.extra = extra;
    cluster_start(&c, 1, workers);
    return 0;
}

static int set_up_two(void **state)
{
    (void)state;
    set_up_with(2, NULL);
    cluster_open_all(&c, "dist_sync");
    return 0;
}

static int set_up_alone(void **state)
{
    (void)state;
    set_up_with(1, NULL);
    cluster_open_all(&c, "dist_sync");
    return 0;
}

static int set_up_servers(void **state)
{
    (void)state;
    return set_up_with(2, NULL);
}

static int set_up_nothing(void **state)
{
    (void)state;
    cluster_no_environment();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cluster_stop(&c);
    c.extra = NULL;
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static struct kvw_tensor tensor;

/* One item of a tensor that lives until the next call. */
static struct kvw_item item(struct kvw_key key, uint64_t count)
{
    struct kvw_item i = {key, &tensor, 1};

    tensor = kvw_f32(data, count);
    return i;
}

static int init(unsigned rank, struct kvw_key key, uint64_t count)
{
    struct kvw_item i = item(key, count);

    return kvw_init(c.kv[rank], &i, 1);
}

static int push(unsigned rank, struct kvw_key key, uint64_t count)
{
    struct kvw_item i = item(key, count);
    struct kvw_op *op;
    int status = kvw_push(c.kv[rank], &i, 1, NULL, &op);

    return status == KVW_OK ? kvw_wait(c.kv[rank], op, KVW_FOREVER) : status;
}

static int pull(unsigned rank, struct kvw_key key, uint64_t count)
{
    struct kvw_item i = item(key, count);

    if (kvw_pull(c.kv[rank], &i, 1, NULL, NULL) != KVW_OK) {
        return KVW_EPROTO;
    }
    return kvw_wait_all(c.kv[rank], KVW_FOREVER);
}

/* Of kvw_open(). */
static void expect_open(unsigned rank, const char *kind, const char *more,
                        int status, const char *word, const char *word2)
{
    int got = cluster_try_open(&c, rank, kind, more);

    if (got == KVW_OK) {
        cluster_close(&c, rank);
    }
    expect_error(NULL, got, status, word, word2, NULL);
}

/* --- Keys ----------------------------------------------------------------- */

static void test_an_unknown_key_is_named(void **state)
{
    (void)state;
    expect_error(c.kv[0], push(0, kvw_str("w9"), 4), KVW_ENOTFOUND, "key 'w9'",
                 "rank 0", "kvw_init", NULL);
    expect_error(c.kv[0], pull(0, kvw_int(-9), 4), KVW_ENOTFOUND, "key -9",
                 NULL);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], 0)); /* It was told. */
}

static void test_the_same_key_twice_is_refused(void **state)
{
    (void)state;
    expect_ok(c.kv[0], init(0, kvw_str("w"), 4));
    expect_error(c.kv[0], init(0, kvw_str("w"), 4), KVW_EEXIST, "key 'w'",
                 "rank 0", NULL);
    expect_ok(c.kv[0], push(0, kvw_str("w"), 4));
}

static void test_a_key_stands_once_in_a_call(void **state)
{
    struct kvw_item items[] = {item(kvw_int(1), 4), item(kvw_int(1), 4)};
    struct kvw_op *op;

    (void)state;
    expect_error(c.kv[0], kvw_init(c.kv[0], items, 2), KVW_EINVAL, "key 1",
                 "twice", NULL);
    expect_ok(c.kv[0], kvw_init(c.kv[0], items, 1));
    expect_ok(c.kv[0], kvw_push(c.kv[0], items, 2, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, KVW_FOREVER), KVW_EINVAL,
                 "key 1", "twice", NULL);
    expect_ok(c.kv[0], push(0, kvw_int(1), 4)); /* Round 1, not 2. */
}

static void test_another_shape_or_dtype_is_named_with_both(void **state)
{
    uint16_t half[4] = {0};
    struct kvw_tensor t = {half, KVW_F16, 1, {4}, KVW_DENSE, NULL, 0};
    struct kvw_item i = {kvw_str("w"), &t, 1};
    struct kvw_op *op;

    (void)state;
    expect_ok(c.kv[0], init(0, kvw_str("w"), 4));
    expect_error(c.kv[0], push(0, kvw_str("w"), 5), KVW_EMISMATCH, "key 'w'",
                 "rank 0", "f32 (4)", "f32 (5)", NULL);
    expect_ok(c.kv[0], kvw_pull(c.kv[0], &i, 1, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, KVW_FOREVER), KVW_EMISMATCH,
                 "f32 (4)", "f16 (4)", NULL);
}

static void test_ranks_that_disagree_are_told_both_forms(void **state)
{
    (void)state;
    expect_ok(c.kv[0], init(0, kvw_str("w"), 4));
    expect_error(c.kv[1], init(1, kvw_str("w"), 5), KVW_EMISMATCH, "key 'w'",
                 "rank 1", "(4)", "(5)", NULL);
    /* It may try again, and rank 0 has noticed nothing. */
    expect_ok(c.kv[1], init(1, kvw_str("w"), 4));
    expect_ok(c.kv[0], pull(0, kvw_str("w"), 4));
    expect_ok(c.kv[1], pull(1, kvw_str("w"), 4));
}

static void test_a_failed_call_registers_none_of_its_keys(void **state)
{
    struct kvw_tensor four = kvw_f32(data, 4), five = kvw_f32(data, 5);
    struct kvw_item zero[] = {{kvw_int(1), &four, 1}, {kvw_int(2), &four, 1}};
    struct kvw_item one[] = {{kvw_int(1), &four, 1}, {kvw_int(2), &five, 1}};

    (void)state;
    expect_ok(c.kv[0], kvw_init(c.kv[0], zero, 2));
    expect_error(c.kv[1], kvw_init(c.kv[1], one, 2), KVW_EMISMATCH, "key 2",
                 NULL);
    expect_error(c.kv[1], push(1, kvw_int(1), 4), KVW_ENOTFOUND, "key 1", NULL);
    expect_ok(c.kv[1], kvw_init(c.kv[1], zero, 2));
}

/* --- Arguments ------------------------------------------------------------ */

static void expect_refused(struct kvw_item *i, const char *word)
{
    expect_error(c.kv[0], kvw_init(c.kv[0], i, 1), KVW_EINVAL, word, NULL);
    expect_error(c.kv[0], kvw_push(c.kv[0], i, 1, NULL, NULL), KVW_EINVAL, word,
                 NULL);
    expect_error(c.kv[0], kvw_pull(c.kv[0], i, 1, NULL, NULL), KVW_EINVAL, word,
                 NULL);
}

static void test_bad_keys_are_refused(void **state)
{
    char name[300];
    struct kvw_item i;

    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    i = item(kvw_str(name), 4);
    expect_refused(&i, "1 to 255 bytes");
    i = item(kvw_str(""), 4);
    expect_refused(&i, "1 to 255 bytes");
    i = item(kvw_str("a\nb"), 4);
    expect_refused(&i, "control character 0x0a");
    name[255] = '\0';
    expect_ok(c.kv[0], init(0, kvw_str(name), 4));
}

static void test_bad_tensors_are_refused(void **state)
{
    struct kvw_tensor two[2] = {kvw_f32(data, 4), kvw_f32(data, 5)};
    struct kvw_item i = item(kvw_str("w"), 4);

    (void)state;
    i.tensors = NULL;
    expect_refused(&i, "without a tensor");
    i = item(kvw_str("w"), 0);
    expect_refused(&i, "no dimension is 0");
    tensor.data = NULL;
    expect_refused(&i, "not NULL");
    tensor.data = (char *)data + 1;
    expect_refused(&i, "aligned");
    i = item(kvw_str("w"), 4);
    tensor.dtype = (enum kvw_dtype)7;
    expect_refused(&i, "dtype");
    i = item(kvw_str("w"), 4);
    tensor.dims = 9;
    expect_refused(&i, "1 to 8 dimensions");
    tensor.dims = 3;
    tensor.shape[1] = tensor.shape[2] = (uint64_t)1 << 32;
    expect_refused(&i, "2^40");
    i.tensors = two;
    i.tensor_count = 2;
    expect_refused(&i, "tensor 1");
}

static void test_bad_calls_are_refused(void **state)
{
    struct kvw_item i = item(kvw_str("w"), 4), other = item(kvw_int(1), 4);
    struct kvw_call call = {.flags = 4};

    (void)state;
    expect_error(c.kv[0], kvw_push(c.kv[0], &i, 1, &call, NULL), KVW_EINVAL,
                 "flags", NULL);
    expect_error(c.kv[0], kvw_push(c.kv[0], NULL, 1, NULL, NULL), KVW_EINVAL,
                 "items", NULL);
    expect_error(c.kv[0], kvw_push(c.kv[0], &i, 0, NULL, NULL), KVW_EINVAL,
                 "items", NULL);
    expect_error(c.kv[0], kvw_pushpull(c.kv[0], &i, &other, 1, NULL, NULL),
                 KVW_EINVAL, "key 'w'", "key 1", NULL);
    expect_error(c.kv[0], kvw_wait(c.kv[0], NULL, 0), KVW_EINVAL, "operation",
                 NULL);
    expect_error(c.kv[0], kvw_wait_key(c.kv[0], kvw_str(""), 0), KVW_EINVAL,
                 "bytes", NULL);
}

static void test_errors_belong_to_their_thread_and_store(void **state)
{
    (void)state;
    expect_error(c.kv[0], push(0, kvw_str("a"), 4), KVW_ENOTFOUND, "'a'", NULL);
    expect_error(c.kv[1], push(1, kvw_str("b"), 4), KVW_ENOTFOUND, "'b'", NULL);
    expect_text(kvw_error(c.kv[0]), "'a'");
    expect_text(kvw_error(c.kv[1]), "'b'");
    assert_int_equal(kvw_open(&c.kv[2], "x", NULL), KVW_EINVAL);
    expect_text(kvw_error(c.kv[0]), "'a'");
    expect_text(kvw_error(NULL), "'x'");
}

/* --- Optimizer and compression -------------------------------------------- */

static void test_optimizers_and_parameters_are_checked(void **state)
{
    struct kvw *kv = c.kv[0];

    (void)state;
    expect_error(kv, kvw_set_optimizer(kv, "sgdd", NULL), KVW_EINVAL, "sgdd",
                 "sgd", "adam", NULL);
    expect_error(kv, kvw_set_optimizer(kv, NULL, NULL), KVW_EINVAL, "name",
                 NULL);
    expect_error(kv, kvw_set_optimizer(kv, "sgd", "momentom=0.9"), KVW_EINVAL,
                 "momentom", "momentum", NULL);
    expect_error(kv, kvw_set_optimizer(kv, "sgd", "lr=fast"), KVW_EINVAL,
                 "fast", NULL);
    expect_error(kv, kvw_set_optimizer(kv, "sgd", "lr=nan"), KVW_EINVAL, "nan",
                 NULL);
    expect_error(kv, kvw_set_hyper(kv, NULL, "lr", (double)NAN, 0), KVW_EINVAL,
                 "nan", NULL);
    expect_error(kv, kvw_set_hyper(kv, NULL, "", 1, 0), KVW_EINVAL, "", NULL);
}

static void test_a_parameter_that_the_servers_lack_is_named(void **state)
{
    struct kvw *kv = c.kv[0];

    (void)state;
    assert_true(kvw_set_hyper(kv, NULL, "lr", 1, 0) !=
                KVW_OK); /* No optimizer. */
    expect_text(kvw_error(kv), "optimizer");
    expect_ok(kv, kvw_set_optimizer(kv, "sgd", "lr=0.1"));
    expect_error(kv, kvw_set_hyper(kv, NULL, "beta1", 1, 0), KVW_EINVAL,
                 "beta1", "server 0", NULL);
    expect_ok(kv, kvw_set_hyper(kv, NULL, "lr", 0.01, 0));
}

static void test_async_without_an_optimizer_is_refused(void **state)
{
    (void)state;
    cluster_open_all(&c, "dist_async");
    expect_ok(c.kv[0], init(0, kvw_str("w"), 4));
    assert_true(push(0, kvw_str("w"), 4) != KVW_OK);
    expect_text(kvw_error(c.kv[0]), "key 'w'");
    expect_text(kvw_error(c.kv[0]), "rank 0");
    expect_text(kvw_error(c.kv[0]), "optimizer");
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    expect_ok(c.kv[0], push(0, kvw_str("w"), 4));
}

static void test_unknown_compression_is_told_what_there_is(void **state)
{
    struct kvw *kv = c.kv[0];

    (void)state;
    expect_error(kv, kvw_set_gradient_compression(kv, "type=2b,x=1"),
                 KVW_EINVAL, "2b", "fp16", "none", NULL);
    expect_error(kv, kvw_set_gradient_compression(kv, "type=fp16,x=1"),
                 KVW_EINVAL, "fp16 has no parameter 'x'", NULL);
    expect_error(kv, kvw_set_gradient_compression(kv, "fp16"), KVW_EINVAL,
                 "fp16", NULL);
    expect_error(kv, kvw_set_gradient_compression(kv, NULL), KVW_EINVAL,
                 "type=", NULL);
    expect_ok(kv, kvw_set_gradient_compression(kv, "type=none"));
}

/* --- Opening -------------------------------------------------------------- */

static void test_kinds_and_options_are_checked_first(void **state)
{
    (void)state;
    expect_open(0, "dist_snc", NULL, KVW_EINVAL, "dist_snc", "dist_sync");
    expect_open(0, "nccl", NULL, KVW_EDEVICE, "nccl", "CUDA");
    expect_open(0, "dist_sync", "rnk=1", KVW_EINVAL, "rnk", NULL);
}

static void test_nobody_there_is_a_timeout_that_names_the_server(void **state)
{
    struct kvw *kv;

    (void)state;
    expect_error(
        NULL,
        kvw_open(&kv, "dist_sync", "root=127.0.0.1:1,timeout=0.2,log=error"),
        KVW_ETIMEOUT, "server 0 (127.0.0.1:1)", "not reachable", "refused",
        NULL);
}

static void test_a_server_that_is_missing_is_waited_for(void **state)
{
    (void)state;
    cluster_no_environment();
    c.extra = "--servers=2";
    cluster_start(&c, 1, 1); /* One of two. */
    expect_open(0, "dist_sync", "timeout=0.2", KVW_ETIMEOUT,
                "waits for the other servers", NULL);
}

static void test_the_job_has_room_for_its_ranks_only(void **state)
{
    char options[64];
    struct kvw *kv;

    (void)state;
    cluster_open_all(&c, "dist_sync");
    expect_open(2, "dist_sync", NULL, KVW_EINVAL, "server 0", "rank 2");
    snprintf(options, sizeof options, "root=127.0.0.1:%d,log=error", c.port[0]);
    expect_error(NULL, kvw_open(&kv, "dist_sync", options), KVW_EBUSY,
                 "server 0", NULL);
}

static void test_what_the_job_is_must_agree(void **state)
{
    (void)state;
    cluster_open(&c, 0, "dist_sync");
    expect_open(1, "dist_async", NULL, KVW_EMISMATCH, "sync", "async");
    expect_open(1, "dist_sync", "workers=3", KVW_EMISMATCH, "3 workers", "2");
    cluster_open(&c, 1, "dist_sync");
}

static void test_another_job_is_refused(void **state)
{
    (void)state;
    expect_open(0, "dist_sync", "job=00000000000000000000000000000001",
                KVW_ESTALE, "server 0", "another job");
}

static void test_an_older_life_is_refused(void **state)
{
    (void)state;
    assert_int_equal(cluster_try_open(&c, 0, "dist_sync", "incarnation=7"),
                     KVW_OK);
    cluster_close(&c, 0);
    expect_open(0, "dist_sync", "incarnation=6", KVW_ESTALE, "rank 0", NULL);
    assert_int_equal(cluster_try_open(&c, 0, "dist_sync", "incarnation=8"),
                     KVW_OK);
}

/* --- Keys of the job ------------------------------------------------------ */

static void write_key(const char *path, unsigned char first)
{
    unsigned char key[32] = {first};
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

    KV_CHECK(fd >= 0 && write(fd, key, sizeof key) == sizeof key);
    close(fd);
}

static void test_only_members_get_in(void **state)
{
    static char good[64], bad[64], option[80], argument[80];

    (void)state;
    cluster_no_environment();
    snprintf(good, sizeof good, "/tmp/kv-key-good.%d", getpid());
    snprintf(bad, sizeof bad, "/tmp/kv-key-bad.%d", getpid());
    write_key(good, 1);
    write_key(bad, 2);
    snprintf(argument, sizeof argument, "--key-file=%s", good);
    set_up_with(1, argument);
    expect_open(0, "dist_sync", NULL, KVW_EAUTH, "server 0", "KV_KEY_FILE");
    snprintf(option, sizeof option, "key_file=%s", bad);
    expect_open(0, "dist_sync", option, KVW_EAUTH, "server 0", "our key");
    snprintf(option, sizeof option, "key_file=%s", good);
    assert_int_equal(cluster_try_open(&c, 0, "dist_sync", option), KVW_OK);
    unlink(good);
    unlink(bad);
}

/* --- fork ----------------------------------------------------------------- */

static void test_a_child_may_not_use_the_store(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    expect_ok(c.kv[0], init(0, kvw_str("w"), 4));
    pid = fork();
    if (pid == 0) {
        bool good = push(0, kvw_str("w"), 4) == KVW_EINVAL &&
                    strstr(kvw_error(c.kv[0]), "fork") != NULL &&
                    kvw_wait_all(c.kv[0], 0) == KVW_EINVAL &&
                    kvw_barrier(c.kv[0], 0) == KVW_EINVAL;

        kvw_close(c.kv[0]);
        _exit(good ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    expect_ok(c.kv[0], push(0, kvw_str("w"), 4));
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, tear_down)
#define BARE(name) cmocka_unit_test_setup(name, set_up_nothing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_unknown_key_is_named, set_up_alone),
        TEST(test_the_same_key_twice_is_refused, set_up_alone),
        TEST(test_a_key_stands_once_in_a_call, set_up_alone),
        TEST(test_another_shape_or_dtype_is_named_with_both, set_up_alone),
        TEST(test_ranks_that_disagree_are_told_both_forms, set_up_two),
        TEST(test_a_failed_call_registers_none_of_its_keys, set_up_two),
        TEST(test_bad_keys_are_refused, set_up_alone),
        TEST(test_bad_tensors_are_refused, set_up_alone),
        TEST(test_bad_calls_are_refused, set_up_alone),
        TEST(test_errors_belong_to_their_thread_and_store, set_up_two),
        TEST(test_optimizers_and_parameters_are_checked, set_up_alone),
        TEST(test_a_parameter_that_the_servers_lack_is_named, set_up_alone),
        TEST(test_async_without_an_optimizer_is_refused, set_up_servers),
        TEST(test_unknown_compression_is_told_what_there_is, set_up_alone),
        BARE(test_kinds_and_options_are_checked_first),
        BARE(test_nobody_there_is_a_timeout_that_names_the_server),
        TEST(test_a_server_that_is_missing_is_waited_for, set_up_nothing),
        TEST(test_the_job_has_room_for_its_ranks_only, set_up_servers),
        TEST(test_what_the_job_is_must_agree, set_up_servers),
        TEST(test_another_job_is_refused, set_up_servers),
        TEST(test_an_older_life_is_refused, set_up_servers),
        TEST(test_only_members_get_in, set_up_nothing),
        TEST(test_a_child_may_not_use_the_store, set_up_alone),
    };

    return cmocka_run_group_tests_name("worker errors", tests, NULL, NULL);
}
