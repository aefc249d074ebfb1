/* What a session stops, and what ends its link. */
#include "tests/unit/session_fixture.h"

/* --- Limits --------------------------------------------------------------- */

static void test_a_rank_that_holds_much_has_to_wait(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = 0;

    create_many(f, 8, KV_SLICE_BYTES_MAX / 4);
    while (push(f, 0, slot, 1, 1, KV_SLICE_BYTES_MAX / 4, 1) == KV_OK) {
        slot++;
    }
    assert_int_equal(slot, KV_HELD_BYTES_MAX / KV_SLICE_BYTES_MAX);
    assert_true(f->session[0].blocked);
    /* The other one holds nothing: nobody stops it. */
    assert_int_equal(push(f, 1, 0, 1, 1, KV_SLICE_BYTES_MAX / 4, 1), KV_OK);
    assert_int_equal(push(f, 0, slot, 1, 1, KV_SLICE_BYTES_MAX / 4, 1), KV_OK);
    assert_false(f->session[0].blocked);
}

static void test_what_is_put_back_is_told_in_one_frame(void **state)
{
    const bool blocked[] = {false, true};
    struct fixture *f = *state;

    create_many(f, 40, 64);
    push(f, 0, 0, 1, 1, 64, 1);
    push(f, 1, 1, 39, 1, 64, 1);
    shard_untangle(f->shard, blocked);
    flush(f);
    expect_run(next_sent(f, MESSAGE_AGAIN, 1), 0, 1, 39, 1, 0);
    expect_silence(f);
}

static void test_a_full_push_and_pull_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t before = 0;

    create_many(f, 60, 256);
    create(f, 1000, LARGE);
    for (uint64_t round = 1; round < 30; round++) {
        if (round == 4) {
            before = mem_allocations();
        }
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            push(f, rank, 0, 60, round, 256, 1);
            push(f, rank, 60, 1, round, LARGE, 1);
            pull(f, rank, 0, 61, round);
        }
        flush(f);
        assert_int_equal(f->sent_count, 6); /* Each: acks, values, large. */
        let_go(f);
    }
    assert_int_equal(mem_allocations(), before);
}

/* --- Broken protocol ------------------------------------------------------ */

static void test_what_a_worker_never_sends_ends_the_link(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_JOIN};

    expect_broken(f, 1, 5, &m, 0,
                  "a message that a worker does not send to a shard");
    expect_broken(f, 1, 5, &m, 8, "a payload where none belongs");
    m.kind = MESSAGE_OPEN;
    m.open.count = 4;
    m.open.slices = 1;
    expect_broken(f, 1, 0, &m, 0, "a request without an id");
    expect_broken(f, 1, 5, &m, 16, "a rank other than 0 brings a first value");
}

static void test_a_batch_beyond_the_limit_ends_the_link(void **state)
{
    struct fixture *f = *state;
    struct run run = {0, 100, 1, 4096};
    struct message m = {.kind = MESSAGE_PUSH};

    m.batch.runs = &run;
    m.batch.run_count = 1;
    expect_broken(f, 1, 0, &m, 409600, "a batch of pushes is too large");
}

/* Each slice is below what travels alone: its answer is a copy. */
static void test_a_pull_beyond_the_limit_ends_the_link(void **state)
{
    const uint32_t count = KV_DIRECT_MIN / 4 - 64;
    const uint32_t slices = 2 * (KV_PULLED_BYTES_MAX / KV_DIRECT_MIN);
    struct run run = {0, slices / 2, 0, 0};
    struct message m = {.kind = MESSAGE_PULL};
    struct fixture *f = *state;

    create_many(f, slices, count);
    m.batch.runs = &run;
    m.batch.run_count = 1;
    assert_int_equal(feed(f, 0, 0, &m, NULL, 0), KV_OK);
    let_go(f);
    run.count = slices;
    assert_int_equal(feed(f, 0, 0, &m, NULL, 0), KV_EPROTO);
    assert_string_equal(f->session[0].text,
                        "a pull of more than one frame may ask for");
    flush(f);
    let_go(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_rank_that_holds_much_has_to_wait),
        TEST(test_what_is_put_back_is_told_in_one_frame),
        TEST(test_a_full_push_and_pull_allocates_nothing),
        TEST(test_what_a_worker_never_sends_ends_the_link),
        TEST(test_a_batch_beyond_the_limit_ends_the_link),
        TEST(test_a_pull_beyond_the_limit_ends_the_link),
    };

    return cmocka_run_group_tests_name("session_limits", tests, NULL, NULL);
}
