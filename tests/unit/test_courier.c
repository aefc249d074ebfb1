#include "tests/unit/courier_fixture.h"

/* --- Order on one slice --------------------------------------------------- */

static void test_a_push_is_done_when_its_round_is_committed(void **state)
{
    struct fixture *f = *state;
    struct part *p;

    f->slices[2].pushed = 7; /* As the server said. */
    p = push(f, 2, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 2, 8);
    assert_int_equal(f->done_count, 0);
    assert_int_equal(courier_pending(f->courier), 1);
    assert_ptr_equal(courier_oldest(f->courier), p);
    committed(f, 2, 8);
    expect_done(f, 1, p, KV_OK);
    assert_int_equal(f->done_version, 8);
    assert_int_equal(courier_pending(f->courier), 0);
    assert_null(courier_oldest(f->courier));
}

static void test_a_pull_travels_right_behind_its_push(void **state)
{
    struct fixture *f = *state;

    push(f, 1, 0, 1);
    pull(f, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 1);
    expect_one(f, MESSAGE_PULL, 1, 1);
    expect_no_more(f);
}

static void test_a_push_waits_for_the_pulls_before_it(void **state)
{
    struct fixture *f = *state;

    pull(f, 1);
    pull(f, 1);
    push(f, 1, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PULL, 1, 0);
    expect_no_more(f);
    assert_int_equal(answer(f, 1, 0, tensor[0], SMALL * 4), KV_OK);
    pump(f);
    expect_one(f, MESSAGE_PULL, 1, 0);
    expect_no_more(f);
    assert_int_equal(answer(f, 1, 0, tensor[0], SMALL * 4), KV_OK);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 1);
}

static void test_one_push_of_a_slice_is_unanswered_at_a_time(void **state)
{
    struct fixture *f = *state;

    push(f, 1, 0, 1);
    push(f, 1, 9, 1);
    pull(f, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 1);
    expect_no_more(f);
    committed(f, 1, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 2);
    expect_one(f, MESSAGE_PULL, 1, 2); /* Sees both. */
}

static void test_a_part_submitted_by_a_callback_goes_last(void **state)
{
    struct fixture *f = *state;
    struct part *b, *c;

    push(f, 1, 0, 1);
    b = push(f, 1, 0, 1);
    c = next_part(f, 1);
    c->inputs = inputs;
    c->input_count = 1;
    f->submit_when_done = c;
    pump(f);
    committed(f, 1, 1);
    pump(f);
    committed(f, 1, 2);
    expect_done(f, 2, b, KV_OK);
    pump(f);
    committed(f, 1, 3);
    expect_done(f, 3, c, KV_OK);
}

/* --- Order between slices ------------------------------------------------- */

static void test_higher_priority_goes_first(void **state)
{
    struct fixture *f = *state;

    f->slices[0].count = f->slices[1].count = f->slices[2].count = LARGE;
    f->slices[0].size = f->slices[1].size = f->slices[2].size = LARGE * 4;
    push(f, 0, -5, 1);
    push(f, 1, 3, 1);
    push(f, 2, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 1);
    expect_one(f, MESSAGE_PUSH, 2, 1);
    expect_one(f, MESSAGE_PUSH, 0, 1);
}

static void test_pulls_and_requests_go_before_pushes(void **state)
{
    struct fixture *f = *state;

    push(f, 0, 100, 1);
    pull(f, 1);
    request(f, 0);
    pump(f);
    assert_int_equal(f->frames[0].kind, MESSAGE_HYPER);
    f->seen = 1;
    expect_one(f, MESSAGE_PULL, 1, 0);
    expect_one(f, MESSAGE_PUSH, 0, 1);
}

#define WIDE 6

static struct slice wide[WIDE]; /* 1 MiB each. */

static void pull_wide(struct fixture *f, const struct part_rows *rows)
{
    memset(wide, 0, sizeof wide);
    for (unsigned i = 0; i < WIDE; i++) {
        struct part *p = next_part(f, 0);

        wide[i].slot = 100 + i;
        wide[i].dtype = KV_F32;
        wide[i].count = (1 << 20) / 4;
        assert_int_equal(courier_add_slice(f->courier, &wide[i]), KV_OK);
        p->slice = &wide[i];
        p->pull = true;
        p->rows = rows;
        p->outs = outs;
        courier_submit(f->courier, p);
    }
    pump(f);
}

static void expect_pull_of(struct fixture *f, uint32_t slices)
{
    const struct frame *frame = &f->frames[f->seen++];
    uint32_t count = 0;

    assert_true(f->seen <= f->frame_count);
    assert_int_equal(frame->kind, MESSAGE_PULL);
    for (uint32_t i = 0; i < frame->run_count; i++) {
        count += frame->runs[i].count;
    }
    assert_int_equal(count, slices);
}

static void test_a_frame_asks_for_no_more_than_it_may(void **state)
{
    struct fixture *f = *state;

    pull_wide(f, NULL);
    expect_pull_of(f, 4);
    expect_pull_of(f, 2);
    expect_no_more(f);
}

static void test_a_frame_asks_for_no_more_rows_than_it_may(void **state)
{
    static int64_t rows[1024];
    const struct part_rows all = {.rows = rows, .count = 1024, .length = 256};
    struct fixture *f = *state;

    pull_wide(f, &all);
    expect_pull_of(f, 4);
    expect_pull_of(f, 2);
    expect_no_more(f);
}

static void test_the_window_is_kept(void **state)
{
    struct fixture *f = *state;

    push(f, SLICES - 1, 0, 1);
    push(f, 0, 0, 1);
    assert_int_equal(courier_pump(f->courier, 0, 1), 0);
    expect_no_more(f);
    assert_int_equal(courier_pump(f->courier, 1, 1), LARGE * 4);
    expect_one(f, MESSAGE_PUSH, SLICES - 1, 1);
    expect_no_more(f);
    assert_int_equal(courier_pump(f->courier, 1, 1), SMALL * 4);
}

/* --- Payloads ------------------------------------------------------------- */

static void test_small_pushes_share_a_frame(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 5; i++) {
        push(f, i, 0, 1);
    }
    pump(f);
    assert_int_equal(f->frame_count, 1);
    assert_int_equal(f->frames[0].run_count, 1);
    assert_int_equal(f->frames[0].runs[0].count, 5);
    assert_int_equal(f->frames[0].size, 5 * SMALL * 4);
}

static void test_a_large_push_is_sent_from_its_tensor(void **state)
{
    struct fixture *f = *state;

    push(f, SLICES - 1, 0, 1);
    pump(f);
    assert_ptr_equal(expect_one(f, MESSAGE_PUSH, SLICES - 1, 1)->payload,
                     tensor[0]);
}

static void test_a_large_value_goes_straight_to_its_tensor(void **state)
{
    struct fixture *f = *state;
    struct run run = {SLICES - 1, 1, 0, LARGE * 4};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {&run, 1, 0}};
    struct part *p;
    void *sink = NULL;

    p = pull(f, SLICES - 1);
    pump(f);
    assert_int_equal(courier_head(f->courier, &m, LARGE * 4, &sink), KV_OK);
    assert_ptr_equal(sink, value);
    assert_int_equal(courier_frame(f->courier, 0, &m, sink, LARGE * 4), KV_OK);
    expect_done(f, 1, p, KV_OK);
}

static void test_small_values_of_one_frame_are_copied_out(void **state)
{
    struct fixture *f = *state;
    struct run run = {1, 2, 0, SMALL * 4};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {&run, 1, 0}};
    float bytes[2 * SMALL] = {0};
    struct part *b;

    pull(f, 1);
    b = pull(f, 2);
    b->offset = SMALL * 4;
    bytes[3] = 4;
    bytes[SMALL + 5] = 6;
    pump(f);
    assert_int_equal(answer_frame(f, &m, bytes, sizeof bytes), KV_OK);
    assert_memory_equal(value, bytes, sizeof bytes);
    expect_done(f, 2, b, KV_OK);
}

static void test_tensors_of_several_devices_are_summed(void **state)
{
    struct fixture *f = *state;

    tensor[0][0] = 1;
    tensor[1][0] = 2;
    push(f, 0, 0, 2);
    push(f, SLICES - 1, 0, 2);
    pump(f);
    assert_true(expect_one(f, MESSAGE_PUSH, 0, 1)->first == 3);
    assert_true(expect_one(f, MESSAGE_PUSH, SLICES - 1, 1)->first == 3);
    reconnect(f);
    pump(f);
    assert_true(expect_one(f, MESSAGE_PUSH, 0, 1)->first == 3);
    assert_true(expect_one(f, MESSAGE_PUSH, SLICES - 1, 1)->first == 3);
}

static void test_a_codec_is_for_pushes_submitted_after_it(void **state)
{
    struct fixture *f = *state;
    const struct kv_codec *fp16 = kv_codec_find("fp16");

    assert_non_null(fp16);
    push(f, 0, 0, 1);
    courier_codec(f->courier, fp16);
    push(f, 1, 0, 2);
    push(f, SLICES - 1, 0, 1);
    pump(f);
    assert_int_equal(expect_one(f, MESSAGE_PUSH, 0, 1)->size, SMALL * 4);
    assert_int_equal(f->frames[f->seen].codec, fp16->id);
    assert_int_equal(expect_one(f, MESSAGE_PUSH, 1, 1)->size, SMALL * 2);
    assert_int_equal(expect_one(f, MESSAGE_PUSH, SLICES - 1, 1)->size,
                     LARGE * 2);
    courier_codec(f->courier, NULL);
    reconnect(f);
    pump(f);
    f->seen++;
    assert_int_equal(f->frames[f->seen].codec, fp16->id);
    assert_int_equal(expect_one(f, MESSAGE_PUSH, 1, 1)->size, SMALL * 2);
}

static void test_the_steady_state_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t before = 0;

    for (uint64_t round = 1; round <= 20; round++) {
        if (round == 3) {
            before = mem_allocations();
        }
        for (uint32_t i = 0; i < SLICES; i++) {
            push(f, i, -(int)i, 2);
            pull(f, i);
        }
        pump(f);
        for (uint32_t i = 0; i < SLICES; i++) {
            committed(f, i, round);
            assert_int_equal(answer(f, i, round, tensor[0], f->slices[i].size),
                             KV_OK);
        }
        f->frame_count = 0;
    }
    assert_int_equal(mem_allocations(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_push_is_done_when_its_round_is_committed),
        TEST(test_a_pull_travels_right_behind_its_push),
        TEST(test_a_push_waits_for_the_pulls_before_it),
        TEST(test_one_push_of_a_slice_is_unanswered_at_a_time),
        TEST(test_a_part_submitted_by_a_callback_goes_last),
        TEST(test_higher_priority_goes_first),
        TEST(test_pulls_and_requests_go_before_pushes),
        TEST(test_a_frame_asks_for_no_more_than_it_may),
        TEST(test_a_frame_asks_for_no_more_rows_than_it_may),
        TEST(test_the_window_is_kept),
        TEST(test_small_pushes_share_a_frame),
        TEST(test_a_large_push_is_sent_from_its_tensor),
        TEST(test_a_large_value_goes_straight_to_its_tensor),
        TEST(test_small_values_of_one_frame_are_copied_out),
        TEST(test_tensors_of_several_devices_are_summed),
        TEST(test_a_codec_is_for_pushes_submitted_after_it),
        TEST(test_the_steady_state_allocates_nothing),
    };

    return cmocka_run_group_tests_name("courier", tests, NULL, NULL);
}
