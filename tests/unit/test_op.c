/* op: taking, finishing and waiting, with a thread that plays the lane. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "worker/op.h"

enum { ROOM = 3 };

static struct op_pool pool;
static char text[OP_TEXT_MAX];
static uint64_t running;

static int set_up(void **state)
{
    (void)state;
    op_pool_init(&pool, ROOM);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    op_pool_fini(&pool);
    return 0;
}

static struct kvw_op *take(void)
{
    struct kvw_op *op = NULL;

    assert_int_equal(op_take(&pool, OP_TRANSFER, true, &op), KV_OK);
    return op;
}

static struct kvw_op *start(bool handle)
{
    struct kvw_op *op = take();

    op_start(&pool, op, handle);
    return op;
}

/* One that names a key. */
static struct kvw_op *start_key(const char *name, int64_t number)
{
    struct kvw_op *op = take();

    assert_int_equal(op_reserve(op, 1, 0, 0), KV_OK);
    memset(op->items, 0, sizeof *op->items);
    op->items->spec.name = name;
    op->items->spec.number = number;
    op->pulls = op->items;
    op->item_count = 1;
    op_start(&pool, op, false);
    return op;
}

static void finish(struct kvw_op *op, enum kv_status status)
{
    if (status != KV_OK) {
        op_fail(op, status, "why: %s", kv_strstatus(status));
    }
    op_finish(&pool, op);
}

static enum kv_status wait_for(struct kvw_op *op, int64_t timeout_ms)
{
    return op_wait(&pool, op, timeout_ms, text, sizeof text);
}

static enum kv_status wait_all(int64_t timeout_ms)
{
    return op_wait_all(&pool, NULL, timeout_ms, &running, text, sizeof text);
}

/* --- One ------------------------------------------------------------------ */

static void test_waiting_gives_status_and_sentence(void **state)
{
    struct kvw_op *op = start(true);

    (void)state;
    finish(op, KV_ENOSPC);
    assert_int_equal(wait_for(op, KVW_FOREVER), KV_ENOSPC);
    assert_string_equal(text, "why: no room left for state");
}

static void test_the_first_error_wins(void **state)
{
    struct kvw_op *op = start(true);

    (void)state;
    op_fail(op, KV_EINVAL, "first");
    op_fail(op, KV_ENOSPC, "second");
    op_finish(&pool, op);
    assert_int_equal(wait_for(op, 0), KV_EINVAL);
    assert_string_equal(text, "first");
}

static void test_after_a_timeout_it_can_be_waited_for_again(void **state)
{
    struct kvw_op *op = start(true);

    (void)state;
    assert_int_equal(wait_for(op, 0), KV_ETIMEOUT);
    assert_int_equal(wait_for(op, 5), KV_ETIMEOUT);
    finish(op, KV_OK);
    assert_int_equal(wait_for(op, 0), KV_OK);
    assert_string_equal(text, "");
}

static void test_an_op_is_used_again(void **state)
{
    struct kvw_op *op = start(true);

    (void)state;
    finish(op, KV_EINVAL);
    (void)wait_for(op, 0);
    assert_ptr_equal(take(), op);
    assert_int_equal(op->status, KV_OK);
    assert_string_equal(op->text, "");
    op_drop(&pool, op);
}

static void test_a_forgotten_op_is_used_again_once_it_is_done(void **state)
{
    struct kvw_op *early = start(true), *late = start(true);

    (void)state;
    finish(early, KV_OK);
    op_forget(&pool, early);
    op_forget(&pool, late);
    assert_ptr_equal(pool.idle, early);
    finish(late, KV_OK);
    assert_ptr_equal(pool.idle, late);
}

static void test_the_steady_state_allocates_nothing(void **state)
{
    uint64_t before = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        struct kvw_op *op = take();

        assert_int_equal(op_reserve(op, 10, 20, 300), KV_OK);
        assert_non_null(op_copy_room(&pool, op, 10000));
        op_start(&pool, op, true);
        finish(op, KV_OK);
        assert_int_equal(wait_for(op, 0), KV_OK);
        if (i == 0) {
            before = mem_allocations();
        }
    }
    assert_int_equal(mem_allocations(), before);
}

/* --- Callbacks ------------------------------------------------------------ */

static struct {
    int calls, status;
    char text[64];
    bool room;
} called;

static void on_done(void *arg, int status, const char *error)
{
    struct kvw_op *op = NULL;

    called.calls++;
    called.status = status;
    snprintf(called.text, sizeof called.text, "%s:%s", (char *)arg, error);
    called.room = op_take(&pool, OP_TRANSFER, false, &op) == KV_OK;
    if (called.room) {
        op_drop(&pool, op);
    }
}

static void test_a_callback_gets_status_sentence_and_argument(void **state)
{
    struct kvw_op *op = take();

    (void)state;
    memset(&called, 0, sizeof called);
    op->done = on_done;
    op->arg = "mine";
    op_start(&pool, op, false);
    finish(op, KV_EBUSY);
    assert_int_equal(called.calls, 1);
    assert_int_equal(called.status, KV_EBUSY);
    assert_string_equal(called.text, "mine:why: in use");
    assert_true(called.room);
    assert_int_equal(wait_all(0), KV_OK); /* The callback was told. */
}

/* --- Many ----------------------------------------------------------------- */

static void test_room_is_limited(void **state)
{
    struct kvw_op *ops[ROOM], *more;

    (void)state;
    for (int i = 0; i < ROOM; i++) {
        ops[i] = start(false);
    }
    assert_int_equal(op_take(&pool, OP_TRANSFER, false, &more), KV_EBUSY);
    /* The library's own errands always find room. */
    assert_int_equal(op_take(&pool, OP_STATS, false, &more), KV_OK);
    op_drop(&pool, more);
    finish(ops[1], KV_OK);
    assert_int_equal(op_take(&pool, OP_TRANSFER, false, &more), KV_OK);
    op_drop(&pool, more);
    finish(ops[0], KV_OK);
    finish(ops[2], KV_OK);
}

static void test_wait_all_names_one_that_still_runs(void **state)
{
    struct kvw_op *first = start(false), *second = start(false);
    uint64_t number = second->number;

    (void)state;
    finish(first, KV_OK);
    assert_int_equal(wait_all(1), KV_ETIMEOUT);
    assert_int_equal(running, number);
    finish(second, KV_OK);
    assert_int_equal(wait_all(KVW_FOREVER), KV_OK);
}

static void test_wait_all_tells_the_first_error_once(void **state)
{
    struct kvw_op *held = start(true);

    (void)state;
    finish(start(false), KV_OK);
    finish(start(false), KV_EINVAL);
    finish(start(false), KV_ENOSPC);
    finish(held, KV_ECONN); /* Told to who waits for it. */
    assert_int_equal(wait_all(0), KV_EINVAL);
    assert_string_equal(text, "why: invalid argument");
    assert_int_equal(wait_all(0), KV_OK);
    assert_int_equal(wait_for(held, 0), KV_ECONN);
}

static void test_an_error_of_a_forgotten_op_is_told_to_wait_all(void **state)
{
    struct kvw_op *op = start(true);

    (void)state;
    op_forget(&pool, op);
    finish(op, KV_EINVAL);
    assert_int_equal(wait_all(0), KV_EINVAL);
}

static void test_waiting_for_a_key_leaves_the_others_alone(void **state)
{
    struct key_spec a = {.name = "a"}, one = {.number = 1}, two = {.number = 2};
    struct kvw_op *ops[] = {start_key("b", 0), start_key("a", 0),
                            start_key(NULL, 1)};
    struct kvw_op *b = ops[0];

    (void)state;
    assert_int_equal(op_wait_all(&pool, &two, 0, &running, text, sizeof text),
                     KV_OK);
    assert_int_equal(op_wait_all(&pool, &a, 0, &running, text, sizeof text),
                     KV_ETIMEOUT);
    assert_int_equal(running, ops[1]->number);
    finish(ops[1], KV_OK);
    assert_int_equal(op_wait_all(&pool, &a, 0, &running, text, sizeof text),
                     KV_OK);
    assert_int_equal(op_wait_all(&pool, &one, 0, &running, text, sizeof text),
                     KV_ETIMEOUT);
    finish(ops[2], KV_OK);
    finish(b, KV_OK);
}

/* --- Threads -------------------------------------------------------------- */

struct lane {
    pthread_t thread;
    struct kvw_op *ops[ROOM];
    int count;
};

static void *play_lane(void *arg)
{
    struct lane *l = arg;

    for (int i = 0; i < l->count; i++) {
        op_finish(&pool, l->ops[i]);
    }
    return NULL;
}

static void test_a_waiting_thread_is_woken(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct kvw_op *op = start(true);
        struct lane l = {.ops = {op}, .count = 1};

        assert_int_equal(pthread_create(&l.thread, NULL, play_lane, &l), 0);
        assert_int_equal(wait_for(op, KVW_FOREVER), KV_OK);
        pthread_join(l.thread, NULL);
    }
}

static void test_a_thread_that_waits_for_room_is_woken(void **state)
{
    struct lane l = {.count = ROOM};

    (void)state;
    for (int i = 0; i < ROOM; i++) {
        l.ops[i] = start(false);
    }
    assert_int_equal(pthread_create(&l.thread, NULL, play_lane, &l), 0);
    op_drop(&pool, take());
    assert_int_equal(wait_all(KVW_FOREVER), KV_OK);
    pthread_join(l.thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waiting_gives_status_and_sentence),
        TEST(test_the_first_error_wins),
        TEST(test_after_a_timeout_it_can_be_waited_for_again),
        TEST(test_an_op_is_used_again),
        TEST(test_a_forgotten_op_is_used_again_once_it_is_done),
        TEST(test_the_steady_state_allocates_nothing),
        TEST(test_a_callback_gets_status_sentence_and_argument),
        TEST(test_room_is_limited),
        TEST(test_wait_all_names_one_that_still_runs),
        TEST(test_wait_all_tells_the_first_error_once),
        TEST(test_an_error_of_a_forgotten_op_is_told_to_wait_all),
        TEST(test_waiting_for_a_key_leaves_the_others_alone),
        TEST(test_a_waiting_thread_is_woken),
        TEST(test_a_thread_that_waits_for_room_is_woken),
    };

    return cmocka_run_group_tests_name("op", tests, NULL, NULL);
}
