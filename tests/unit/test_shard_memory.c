/* A shard that runs out of heap memory refuses, loses nothing, and goes on. */
#include "tests/fakes/fault_mem.h"
#include "tests/unit/shard_fixture.h"

#define SLICES 600 /* More than entries are allocated for at a time. */

static int count_and_tear_down(void **state)
{
    fault_mem_fail(0);
    tear_down(state);
    assert_int_equal(fault_mem_live(), 0);
    return 0;
}

/* Call until it succeeds, with the first, second, ... allocation failing. */
static unsigned until_ok(struct fixture *f,
                         enum kv_status (*call)(struct fixture *, uint32_t),
                         uint32_t number)
{
    for (unsigned nth = 1;; nth++) {
        enum kv_status status;

        fault_mem_fail(nth);
        status = call(f, number);
        fault_mem_fail(0);
        if (status == KV_OK) {
            return nth - 1;
        }
        assert_string_equal(kv_strstatus(status), kv_strstatus(KV_ENOMEM));
        assert_true(nth < 100);
    }
}

static enum kv_status open_one(struct fixture *f, uint32_t key_id)
{
    struct slice_desc d = f32_slice(key_id, 16);
    float value[16] = {(float)key_id};
    enum kv_status status;

    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    status = next_seen(f)->status;
    expect_silence(f);
    return status;
}

static void test_opening_a_slice_fails_cleanly(void **state)
{
    struct fixture *f = *state;
    unsigned failed = 0;

    for (uint32_t i = 0; i < SLICES; i++) {
        failed += until_ok(f, open_one, i);
    }
    assert_true(failed > 3);
    for (uint32_t i = 0; i < SLICES; i++) {
        expect_state(f, i, (float)i);
    }
    crash(f);
    for (uint32_t i = 0; i < SLICES; i++) {
        expect_state(f, i, (float)i);
    }
}

/* KV_OK when nothing was said: it waits. */
static enum kv_status await_one(struct fixture *f, uint32_t key_id)
{
    struct slice_desc d = f32_slice(key_id, 16);
    enum kv_status status = KV_OK;

    shard_open(f->shard, 1, key_id, &d, NULL, 0);
    if (f->seen_next < f->seen_count) {
        status = next_seen(f)->status;
    }
    expect_silence(f);
    return status;
}

static void test_waiting_for_a_slice_fails_cleanly(void **state)
{
    struct fixture *f = *state;
    float value[16] = {0};

    for (uint32_t i = 0; i < 50; i++) {
        assert_true(until_ok(f, await_one, i) >= 2);
    }
    for (uint32_t i = 0; i < 50; i++) {
        struct slice_desc d = f32_slice(i, 16);

        shard_open(f->shard, 0, 1, &d, value, sizeof value);
        assert_int_equal(next_seen(f)->rank, 0);
        assert_int_equal(next_seen(f)->request_id, i);
        expect_silence(f);
    }
}

static enum kv_status push_one(struct fixture *f, uint32_t slot)
{
    enum kv_status status = KV_OK;

    push(f, 1, slot, 1, slot % 2 == 0 ? 16 : 20000, 1);
    if (f->seen_next < f->seen_count) {
        status = next_seen(f)->status;
    }
    expect_silence(f);
    return status;
}

static void test_a_push_that_finds_no_memory_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    unsigned failed = 0;

    for (uint32_t i = 0; i < 20; i++) {
        create(f, i, i % 2 == 0 ? 16 : 20000, 0);
    }
    expect_silence(f);
    for (uint32_t i = 0; i < 20; i++) {
        failed += until_ok(f, push_one, i);
    }
    assert_true(failed >= 10);
    for (uint32_t i = 0; i < 20; i++) {
        push(f, 0, i, 1, i % 2 == 0 ? 16 : 20000, 2);
        expect_ack(f, 0, i, 1);
        expect_ack(f, 1, i, 1);
        expect_state(f, i, 3);
    }
}

static enum kv_status pull_one(struct fixture *f, uint32_t slot)
{
    enum kv_status status = KV_OK;

    shard_pull(f->shard, 1, slot, 1);
    if (f->seen_next < f->seen_count) {
        status = next_seen(f)->status;
    }
    expect_silence(f);
    return status;
}

static void test_a_pull_that_finds_no_memory_can_be_repeated(void **state)
{
    struct fixture *f = *state;

    create(f, 1, 16, 0);
    expect_silence(f);
    assert_int_equal(until_ok(f, pull_one, 0), 1);
    push(f, 0, 0, 1, 16, 1);
    push(f, 1, 0, 1, 16, 1);
    expect_ack(f, 0, 0, 1);
    expect_ack(f, 1, 0, 1);
    expect_pulled(f, 1, 0, 1, 2);
}

static enum kv_status restart(struct fixture *f, uint32_t unused)
{
    enum kv_status status;

    (void)unused;
    status =
        arena_open(&f->home.config, &f->home.arena, f->error, sizeof f->error);
    if (status != KV_OK) {
        return status;
    }
    status = try_start(f);
    if (status != KV_OK) {
        f->shard = NULL;
        home_drop(&f->home);
    }
    return status;
}

static void test_a_start_that_finds_no_memory_can_be_repeated(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < SLICES; i++) {
        create(f, i, 16, (float)i);
        expect_silence(f);
    }
    shard_free(f->shard);
    f->shard = NULL;
    home_drop(&f->home);
    assert_true(until_ok(f, restart, 0) > 8);
    for (uint32_t i = 0; i < SLICES; i++) {
        expect_state(f, i, (float)i);
    }
}

#define COUNTED(name)                                                          \
    cmocka_unit_test_setup_teardown(name, set_up_pair, count_and_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COUNTED(test_opening_a_slice_fails_cleanly),
        COUNTED(test_waiting_for_a_slice_fails_cleanly),
        COUNTED(test_a_push_that_finds_no_memory_can_be_repeated),
        COUNTED(test_a_pull_that_finds_no_memory_can_be_repeated),
        COUNTED(test_a_start_that_finds_no_memory_can_be_repeated),
    };

    return cmocka_run_group_tests_name("shard_memory", tests, NULL, NULL);
}
