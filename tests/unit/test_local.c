/* A local store: what it is, its keys, order, and whose memory is whose. */
#include "tests/unit/local_fixture.h"

#include <semaphore.h>
#include <unistd.h>

#include "common/base/check.h"

static void test_one_process_is_all_of_the_job(void **state)
{
    (void)state;
    assert_int_equal(kvw_rank(kv), 0);
    assert_int_equal(kvw_num_workers(kv), 1);
    assert_int_equal(kvw_num_servers(kv), 0);
    assert_int_equal(kvw_num_dead_node(kv, 4, 60), 0);
    assert_int_equal(kvw_is_capable(kv, "Optimizer"), 1);
    expect_error(kvw_is_capable(kv, "flight"), KVW_EINVAL, "flight",
                 "optimizer");
    expect_ok(kvw_barrier(kv, 0x7fffffff));
    expect_ok(kvw_set_barrier_before_exit(kv, 1)); /* And close all the same. */
}

static void test_the_kind_is_told_as_it_was_asked_for(void **state)
{
    struct kvw *other;

    (void)state;
    expect_ok(kvw_open(&other, "Local_Update_CPU", "log=error,threads=1"));
    assert_string_equal(kvw_type(other), "local_update_cpu");
    kvw_close(other);
}

static void test_kinds_for_gpus_say_what_to_use_instead(void **state)
{
    struct kvw *other;

    (void)state;
    assert_int_equal(kvw_open(&other, "device", NULL), KVW_EDEVICE);
    assert_non_null(strstr(kvw_error(NULL), "CUDA"));
    assert_non_null(strstr(kvw_error(NULL), "local"));
}

static void test_there_is_nothing_to_compress(void **state)
{
    struct kvw *other;

    (void)state;
    expect_error(kvw_set_gradient_compression(kv, "type=fp16"), KVW_ENOTSUP,
                 "compression", "local");
    assert_int_equal(kvw_open(&other, "local", "compression=type=fp16"),
                     KVW_ENOTSUP);
    assert_non_null(strstr(kvw_error(NULL), "compression"));
}

/* --- Keys ----------------------------------------------------------------- */

static void test_a_second_init_names_the_key_and_keeps_the_value(void **state)
{
    (void)state;
    init(kvw_str("w"), 1);
    expect_error(try_init(kvw_str("w"), 5), KVW_EEXIST, "duplicate init",
                 "'w'");
    expect_pull(kvw_str("w"), 1, 1);
    another_store();
    init(kvw_int(7), 2);
    expect_error(try_init(kvw_int(7), 5), KVW_EEXIST, "duplicate init",
                 "key 7");
    expect_pull(kvw_int(7), 1, 2);
}

static void test_an_init_that_fails_registers_none_of_its_keys(void **state)
{
    float data[EACH] = {0};
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item items[] = {
        {kvw_str("1"), &t, 1}, {kvw_str("x"), &t, 1}, {kvw_str("w"), &t, 1}};
    struct kvw_item twice[] = {{kvw_str("y"), &t, 1}, {kvw_str("y"), &t, 1}};

    (void)state;
    init(kvw_str("w"), 1);
    expect_error(kvw_init(kv, items, 3), KVW_EEXIST, "'w'", NULL);
    expect_error(kvw_init(kv, twice, 2), KVW_EINVAL, "'y'", "twice");
    expect_error(try_push(kvw_str("1"), 1, 1), KVW_ENOTFOUND, "'1'", NULL);
    init(kvw_str("1"), 3);
    init(kvw_str("x"), 4);
    expect_pull(kvw_str("1"), 1, 3);
    expect_pull(kvw_str("x"), 1, 4);
}

/* As MXNet refuses them: one of the two is a slip. */
static void test_integers_and_strings_do_not_go_into_one_call(void **state)
{
    float data[EACH] = {0};
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item items[] = {{kvw_str("w"), &t, 1}, {kvw_int(7), &t, 1}};
    struct kvw_key keys[] = {kvw_int(7), kvw_str("w")};

    (void)state;
    expect_error(kvw_init(kv, items, 2), KVW_EINVAL, "key 7", "'w'");
    init(kvw_str("w"), 1); /* Neither was registered. */
    expect_error(kvw_push(kv, items, 2, NULL, NULL), KVW_EINVAL, "key 7",
                 "'w'");
    expect_error(kvw_pull(kv, items, 2, NULL, NULL), KVW_EINVAL, "key 7",
                 "'w'");
    expect_error(kvw_pushpull(kv, items, items + 1, 1, NULL, NULL), KVW_EINVAL,
                 "key 7", "'w'");
    expect_error(kvw_reset(kv, items, 2), KVW_EINVAL, "key 7", "'w'");
    expect_error(kvw_delete(kv, keys, 2), KVW_EINVAL, "key 7", "'w'");
    expect_error(try_init(kvw_int(7), 2), KVW_EINVAL, "key 7", "strings");
    expect_pull(kvw_str("w"), 1, 1);
}

static void test_another_shape_is_named_with_both_and_changes_nothing(void **s)
{
    float data[6] = {0};
    struct kvw_tensor t = {data, KVW_F32, 2, {2, 3}, KVW_DENSE, NULL, 0};
    struct kvw_item items[] = {{kvw_str("v"), &t, 1}, {kvw_str("w"), &t, 1}};

    (void)s;
    expect_ok(kvw_init(kv, items, 1));
    init(kvw_str("w"), 1);
    data[0] = 9;
    expect_ok(kvw_push(kv, items, 2, NULL, NULL));
    expect_error(kvw_wait_all(kv, KVW_FOREVER), KVW_EMISMATCH, "(16)", "(2,3)");
    expect_ok(kvw_pull(kv, items, 1, NULL, NULL));
    wait_all();
    assert_true(data[0] == 0);
}

static void test_a_key_may_stand_in_a_call_once(void **state)
{
    float data[EACH] = {0};
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item items[] = {{kvw_int(1), &t, 1}, {kvw_int(1), &t, 1}};

    (void)state;
    init(kvw_int(1), 5);
    expect_ok(kvw_push(kv, items, 2, NULL, NULL));
    expect_error(kvw_wait_all(kv, KVW_FOREVER), KVW_EINVAL, "key 1", "twice");
    expect_pull(kvw_int(1), 1, 5);
}

/* --- Whose memory --------------------------------------------------------- */

/* MXNet's store keeps the pushed array itself. */
static void test_a_pushed_tensor_may_change_afterwards(void **state)
{
    float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {kvw_str("w"), &t, 1};

    (void)state;
    fill(data, EACH, 1);
    expect_ok(kvw_init(kv, &item, 1));
    fill(data, EACH, 2);
    expect_pull(kvw_str("w"), 1, 1);
    expect_ok(kvw_push(kv, &item, 1, NULL, NULL));
    wait_all();
    fill(data, EACH, 3);
    expect_pull(kvw_str("w"), 1, 2);
}

static void test_a_pulled_tensor_may_change_afterwards(void **state)
{
    float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {kvw_str("w"), &t, 1};

    (void)state;
    init(kvw_str("w"), 1);
    expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
    wait_all();
    fill(data, EACH, 3);
    expect_pull(kvw_str("w"), 1, 1);
}

/* --- Order ---------------------------------------------------------------- */

static sem_t gate, at_gate;
static char order[8];

static void note(void *arg, struct kvw_key key,
                 const struct kvw_tensor *received,
                 const struct kvw_tensor *stored)
{
    size_t used = strlen(order);

    (void)arg;
    if (strcmp(key.name, "gate") == 0) {
        KV_CHECK(sem_post(&at_gate) == 0);
        while (sem_wait(&gate) != 0) {
        }
        return;
    }
    snprintf(order + used, sizeof order - used, "%s", key.name);
    memcpy(stored->data, received->data, EACH * sizeof(float));
}

static void push_later(const char *name, int priority)
{
    static float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {kvw_str(name), &t, 1};
    struct kvw_call call = {.priority = priority};

    expect_ok(kvw_push(kv, &item, 1, &call, NULL));
}

static void wait_at_gate(void)
{
    while (sem_wait(&at_gate) != 0) {
    }
}

/* The store is busy with the gate until all stand in line. */
static void test_higher_priority_goes_first_but_never_past_its_key(void **state)
{
    static const char *const names[] = {"gate", "a", "b", "c"};

    (void)state;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&at_gate, 0, 0), 0);
    order[0] = '\0';
    for (size_t i = 0; i < 4; i++) {
        init(kvw_str(names[i]), 0);
    }
    expect_ok(kvw_set_updater(kv, note, NULL));
    push_later("gate", 0);
    wait_at_gate();
    push_later("a", -1);
    push_later("b", -2);
    push_later("c", 5);
    push_later("a", 7); /* Past b, not past the first a. */
    assert_int_equal(sem_post(&gate), 0);
    wait_all();
    assert_string_equal(order, "caab");
    sem_destroy(&gate);
    sem_destroy(&at_gate);
}

/* More than is done before the next look at the mail. */
static void test_large_values_in_line_are_all_done(void **state)
{
    enum { LARGE = 1 << 19 };
    static const char *const names[] = {"x", "y", "z"};
    float *large = calloc(LARGE, sizeof *large);
    struct kvw_tensor t = kvw_f32(large, LARGE);

    (void)state;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&at_gate, 0, 0), 0);
    order[0] = '\0';
    init(kvw_str("gate"), 0);
    expect_ok(kvw_set_updater(kv, note, NULL));
    for (size_t i = 0; i < 3; i++) {
        struct kvw_item item = {kvw_str(names[i]), &t, 1};

        expect_ok(kvw_init(kv, &item, 1));
    }
    push_later("gate", 0);
    wait_at_gate();
    for (size_t i = 0; i < 3; i++) {
        struct kvw_item item = {kvw_str(names[i]), &t, 1};

        expect_ok(kvw_push(kv, &item, 1, NULL, NULL));
    }
    assert_int_equal(sem_post(&gate), 0);
    expect_ok(kvw_wait_all(kv, 20000));
    assert_string_equal(order, "xyz");
    sem_destroy(&gate);
    sem_destroy(&at_gate);
    free(large);
}

static void on_done(void *arg, int status, const char *error)
{
    KV_CHECK(status == KVW_OK && error[0] == '\0');
    KV_CHECK(kvw_push(kv, arg, 1, NULL, NULL) == KVW_OK);
    KV_CHECK(kvw_wait_all(kv, KVW_FOREVER) == KVW_EBUSY);
    KV_CHECK(sem_post(&gate) == 0);
}

static void test_a_callback_may_go_on_but_not_wait(void **state)
{
    static float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {kvw_str("w"), &t, 1};
    struct kvw_call call = {.done = on_done, .arg = &item};

    (void)state;
    init(kvw_str("w"), 0);
    expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&at_gate, 0, 0), 0);
    fill(data, EACH, 1);
    expect_ok(kvw_push(kv, &item, 1, &call, NULL));
    while (sem_wait(&gate) != 0) {
    }
    expect_pull(kvw_str("w"), 1, 2);
    sem_destroy(&gate);
    sem_destroy(&at_gate);
}

static void test_figures_count_keys(void **state)
{
    struct kvw_stats stats;

    (void)state;
    init(kvw_int(1), 0);
    push(kvw_int(1), 2, 1);
    push(kvw_int(1), 2, 1);
    expect_pull(kvw_int(1), 3, 2);
    expect_ok(kvw_get_stats(kv, &stats, sizeof stats));
    assert_int_equal(stats.pushes, 2);
    assert_int_equal(stats.pulls, 1);
    assert_int_equal(stats.bytes_sent + stats.bytes_received, 0);
}

/* What opening a store writes to stderr. */
static void open_and_read(const char *options, char *said, size_t size)
{
    int before = dup(STDERR_FILENO), ends[2];
    struct kvw *other = NULL;
    ssize_t got;
    int status;

    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    status = kvw_open(&other, "local", options);
    dup2(before, STDERR_FILENO);
    close(before);
    close(ends[1]);
    kvw_close(other);
    got = read(ends[0], said, size - 1);
    close(ends[0]);
    expect_ok(status);
    said[got > 0 ? got : 0] = '\0';
}

static void test_workers_of_a_job_are_told_that_they_train_apart(void **state)
{
    char said[1024];

    (void)state;
    open_and_read("log=warn,workers=4", said, sizeof said);
    assert_non_null(strstr(said, "the 4 workers of this job"));
    open_and_read("log=warn,workers=1", said, sizeof said);
    assert_string_equal(said, "");
    open_and_read("log=error", said, sizeof said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_process_is_all_of_the_job),
        TEST(test_the_kind_is_told_as_it_was_asked_for),
        TEST(test_kinds_for_gpus_say_what_to_use_instead),
        TEST(test_there_is_nothing_to_compress),
        TEST(test_a_second_init_names_the_key_and_keeps_the_value),
        TEST(test_an_init_that_fails_registers_none_of_its_keys),
        TEST(test_integers_and_strings_do_not_go_into_one_call),
        TEST(test_another_shape_is_named_with_both_and_changes_nothing),
        TEST(test_a_key_may_stand_in_a_call_once),
        TEST(test_a_pushed_tensor_may_change_afterwards),
        TEST(test_a_pulled_tensor_may_change_afterwards),
        TEST(test_higher_priority_goes_first_but_never_past_its_key),
        TEST(test_large_values_in_line_are_all_done),
        TEST(test_a_callback_may_go_on_but_not_wait),
        TEST(test_figures_count_keys),
        TEST(test_workers_of_a_job_are_told_that_they_train_apart),
    };

    return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
