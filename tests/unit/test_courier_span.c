/* Several small slices in one part. */
#include "tests/unit/courier_fixture.h"

#define FIRST 100 /* Slot of the slices here. */
#define COUNT 10
#define FIT 8 /* So many fill a frame. */
#define SIZE ((size_t)KV_BATCH_PAYLOAD_MAX / FIT)
#define ELEMENTS (SIZE / sizeof(float))

static struct slice slices[COUNT];
static float from[2 * COUNT][ELEMENTS], to[2 * COUNT][ELEMENTS];
static const void *sources[COUNT];
static void *targets[COUNT];

/* Tensors `stride` times their size apart: 1 is side by side. */
static void lay_out(size_t stride)
{
    for (size_t i = 0; i < COUNT; i++) {
        sources[i] = from[i * stride];
        targets[i] = to[i * stride];
        for (size_t n = 0; n < ELEMENTS; n++) {
            size_t number = i * ELEMENTS + n;

            from[i * stride][n] = (float)number;
        }
    }
    memset(to, 0, sizeof to);
}

static int set_up_slices(void **state)
{
    struct fixture *f;

    if (set_up(state) != 0) {
        return -1;
    }
    f = *state;
    memset(slices, 0, sizeof slices);
    for (uint32_t i = 0; i < COUNT; i++) {
        slices[i].slot = FIRST + i;
        slices[i].dtype = KV_F32;
        slices[i].count = ELEMENTS;
        if (courier_add_slice(f->courier, &slices[i]) != KV_OK) {
            return -1;
        }
    }
    lay_out(2);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static struct part *span(struct fixture *f, uint32_t first, bool pulls,
                         unsigned count)
{
    struct part *p = next_part(f, 0);

    p->slice = &slices[first];
    p->pull = pulls;
    p->inputs = &sources[first];
    p->input_count = 1;
    p->outs = &targets[first];
    for (unsigned i = 1; i < count; i++) {
        assert_true(courier_extend(p, &slices[first + i]));
    }
    courier_submit(f->courier, p);
    return p;
}

static void expect_run(struct fixture *f, enum message_kind kind, uint32_t slot,
                       uint32_t count, uint64_t round)
{
    const struct frame *frame = &f->frames[f->seen++];

    assert_true(f->seen <= f->frame_count);
    assert_int_equal(frame->kind, kind);
    assert_int_equal(frame->run_count, 1);
    assert_int_equal(frame->runs[0].slot, slot);
    assert_int_equal(frame->runs[0].count, count);
    assert_int_equal(frame->runs[0].round, round);
}

static enum kv_status answer_run(struct fixture *f, uint32_t slot,
                                 uint32_t count, uint64_t round,
                                 const void *values)
{
    struct run run = {slot, count, round, values == NULL ? 0 : SIZE};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {&run, 1, 0}};

    return answer_frame(f, &m, values, values == NULL ? 0 : count * SIZE);
}

static void expect_values(unsigned first, unsigned count, const float *values)
{
    for (unsigned i = 0; i < count; i++) {
        assert_memory_equal(targets[first + i], values + i * ELEMENTS, SIZE);
    }
}

/* --- There and back ------------------------------------------------------- */

static void test_a_span_is_one_run_and_done_with_its_last_answer(void **state)
{
    struct fixture *f = *state;
    struct part *pushed = span(f, 0, false, 4), *pulled = span(f, 0, true, 4);

    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST, 4, 1);
    expect_run(f, MESSAGE_PULL, FIRST, 4, 1);
    expect_no_more(f);
    assert_int_equal(answer_run(f, FIRST + 1, 2, 1, NULL), KV_OK);
    assert_int_equal(answer_run(f, FIRST, 1, 1, NULL), KV_OK);
    assert_int_equal(f->done_count, 0);
    assert_int_equal(answer_run(f, FIRST, 4, 1, NULL), KV_OK); /* Some twice. */
    expect_done(f, 1, pushed, KV_OK);
    assert_int_equal(answer_run(f, FIRST + 2, 2, 1, from[0]), KV_OK);
    assert_int_equal(f->done_count, 1);
    assert_int_equal(answer_run(f, FIRST, 2, 1, from[2]), KV_OK);
    expect_done(f, 2, pulled, KV_OK);
    expect_values(2, 2, from[0]);
    expect_values(0, 2, from[2]);
}

static void test_scattered_tensors_are_gathered(void **state)
{
    struct fixture *f = *state;
    float first;

    span(f, 0, false, FIT);
    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST, FIT, 1);
    assert_int_equal(f->frames[0].size, FIT * SIZE);
    assert_ptr_not_equal(f->frames[0].payload, sources[0]);
    memcpy(&first, sources[0], sizeof first);
    assert_true(f->frames[0].first == first);
}

static void test_tensors_side_by_side_are_not_copied(void **state)
{
    struct fixture *f = *state;
    struct run run = {FIRST, FIT, 0, SIZE};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {&run, 1, 0}};
    void *sink = NULL;

    lay_out(1);
    span(f, 0, false, FIT);
    pump(f);
    assert_ptr_equal(f->frames[0].payload, sources[0]);
    assert_int_equal(f->frames[0].size, FIT * SIZE);
    assert_int_equal(answer_run(f, FIRST, FIT, 1, NULL), KV_OK);
    span(f, 0, true, FIT);
    pump(f);
    run.round = 1;
    assert_int_equal(courier_head(f->courier, &m, FIT * SIZE, &sink), KV_OK);
    assert_ptr_equal(sink, targets[0]);
    /* Half of it is one piece, too; two halves the wrong way round are not. */
    m.batch.run_count = 2;
    m.batch.runs = (struct run[]){{FIRST + 4, 4, 1, SIZE}, {FIRST, 4, 1, SIZE}};
    assert_int_equal(courier_head(f->courier, &m, FIT * SIZE, &sink), KV_OK);
    assert_null(sink);
    m.batch.runs = (struct run[]){{FIRST, 4, 1, SIZE}, {FIRST + 4, 4, 1, SIZE}};
    assert_int_equal(courier_head(f->courier, &m, FIT * SIZE, &sink), KV_OK);
    assert_ptr_equal(sink, targets[0]);
}

static void test_a_value_twice_in_a_frame_breaks_the_protocol(void **state)
{
    struct fixture *f = *state;
    struct run runs[] = {{FIRST, 3, 0, SIZE}, {FIRST + 2, 2, 0, SIZE}};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {runs, 2, 0}};

    span(f, 0, true, 4);
    pump(f);
    assert_int_equal(answer_frame(f, &m, from, 5 * SIZE), KV_EPROTO);
}

/* --- What goes together --------------------------------------------------- */

static void test_only_equals_side_by_side_go_together(void **state)
{
    struct fixture *f = *state;
    struct part *p = next_part(f, 0);

    p->slice = &slices[0];
    p->inputs = sources;
    p->input_count = 1;
    assert_false(courier_extend(p, &slices[2]));
    assert_false(courier_extend(p, &slices[0]));
    slices[1].size /= 2;
    assert_false(courier_extend(p, &slices[1]));
    slices[1].size *= 2;
    slices[1].dtype = KV_I32;
    assert_false(courier_extend(p, &slices[1]));
    slices[1].dtype = KV_F32;
    slices[1].pushed = 1;
    assert_false(courier_extend(p, &slices[1]));
    slices[1].pushed = 0;
    for (uint32_t i = 1; i < FIT; i++) {
        assert_true(courier_extend(p, &slices[i]));
    }
    assert_false(courier_extend(p, &slices[FIT])); /* Enough bytes. */
}

static void test_a_busy_slice_goes_alone(void **state)
{
    struct fixture *f = *state;
    struct part *p = next_part(f, 0);

    span(f, 1, false, 1);
    p->slice = &slices[0];
    p->inputs = sources;
    p->input_count = 1;
    assert_false(courier_extend(p, &slices[1]));
    p->pull = true;
    p->outs = targets;
    assert_false(courier_extend(p, &slices[1])); /* Behind different pushes. */
}

static void test_what_comes_later_for_one_slice_waits_for_the_span(void **state)
{
    struct fixture *f = *state;
    struct part *later;

    span(f, 0, false, 4);
    span(f, 0, true, 4);
    later = span(f, 2, false, 1);
    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST, 4, 1);
    expect_run(f, MESSAGE_PULL, FIRST, 4, 1);
    expect_no_more(f);
    assert_int_equal(answer_run(f, FIRST, 4, 1, NULL), KV_OK);
    pump(f);
    expect_no_more(f);
    assert_int_equal(answer_run(f, FIRST, 4, 1, from[0]), KV_OK);
    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST + 2, 1, 2);
    assert_int_equal(answer_run(f, FIRST + 2, 1, 2, NULL), KV_OK);
    expect_done(f, 3, later, KV_OK);
}

static void test_a_pull_of_one_slice_goes_once_its_push_is_sent(void **state)
{
    struct fixture *f = *state;

    span(f, 0, false, 4);
    span(f, 3, true, 1);
    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST, 4, 1);
    expect_run(f, MESSAGE_PULL, FIRST + 3, 1, 1);
}

/* --- Faults --------------------------------------------------------------- */

static void test_after_a_lost_link_what_is_unanswered_goes_again(void **state)
{
    struct fixture *f = *state;
    struct part *pulled;

    span(f, 0, false, 4);
    pulled = span(f, 0, true, 4);
    pump(f);
    assert_int_equal(answer_run(f, FIRST, 1, 1, NULL), KV_OK);
    assert_int_equal(answer_run(f, FIRST + 2, 2, 1, from[0]), KV_OK);
    reconnect(f);
    assert_int_equal(answer_run(f, FIRST + 1, 1, 1, from[0]), KV_EPROTO);
    pump(f);
    expect_run(f, MESSAGE_PULL, FIRST, 2, 1);
    expect_run(f, MESSAGE_PUSH, FIRST + 1, 3, 1);
    expect_no_more(f);
    assert_int_equal(courier_resent(f->courier), 5);
    assert_int_equal(answer_run(f, FIRST, 4, 1, NULL), KV_OK);
    assert_int_equal(answer_run(f, FIRST, 2, 1, from[4]), KV_OK);
    expect_done(f, 2, pulled, KV_OK);
    expect_values(0, 2, from[4]);
    expect_values(2, 2, from[0]);
}

static void test_slices_put_back_go_again_without_the_others(void **state)
{
    struct fixture *f = *state;
    struct part *pushed = span(f, 0, false, 6);
    const struct frame *frame;

    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST, 6, 1);
    assert_int_equal(again(f, FIRST + 1, 1), KV_OK);
    assert_int_equal(again(f, FIRST + 4, 1), KV_OK);
    assert_int_equal(again(f, FIRST + 4, 1), KV_OK); /* Harmless. */
    assert_int_equal(answer_run(f, FIRST, 6, 1, NULL), KV_OK);
    assert_int_equal(f->done_count, 0);
    pump(f);
    frame = &f->frames[f->seen++];
    assert_int_equal(frame->run_count, 2);
    assert_int_equal(frame->size, 2 * SIZE);
    assert_int_equal(frame->runs[0].slot, FIRST + 1);
    assert_int_equal(frame->runs[1].slot, FIRST + 4);
    assert_int_equal(answer_run(f, FIRST + 1, 1, 1, NULL), KV_OK);
    reconnect(f); /* While the other is on its way again. */
    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST + 4, 1, 1);
    assert_int_equal(answer_run(f, FIRST + 4, 1, 1, NULL), KV_OK);
    expect_done(f, 1, pushed, KV_OK);
}

static void test_a_link_lost_after_a_put_back_loses_nothing(void **state)
{
    struct fixture *f = *state;

    span(f, 0, false, 4);
    pump(f);
    assert_int_equal(again(f, FIRST + 1, 1), KV_OK);
    reconnect(f);
    pump(f);
    expect_run(f, MESSAGE_PUSH, FIRST, 4, 1);
    expect_no_more(f);
}

static void test_a_refused_slice_is_the_only_one(void **state)
{
    struct fixture *f = *state;
    struct part *pulled, *p = next_part(f, 0);

    span(f, 0, false, 4);
    pulled = span(f, 0, true, 4);
    pump(f);
    assert_int_equal(refuse(f, FIRST, 1, false), KV_OK);
    assert_int_equal(refuse(f, FIRST, 1, false), KV_OK); /* Harmless. */
    assert_int_equal(f->refused_count, 2);               /* Push and pull. */
    assert_ptr_equal(f->refused[0], &slices[0]);
    assert_ptr_equal(f->refused[1], &slices[0]);
    assert_int_equal(answer_run(f, FIRST + 1, 3, 1, NULL), KV_OK);
    assert_int_equal(answer_run(f, FIRST + 1, 3, 1, from[0]), KV_OK);
    expect_done(f, 2, pulled, KV_OK);
    p->slice = &slices[0];
    p->inputs = sources;
    p->input_count = 1;
    assert_false(courier_extend(p, &slices[1])); /* Another round. */
    f->seen = f->frame_count;
    span(f, 0, false, 1);
    span(f, 1, false, 3);
    pump(f);
    assert_int_equal(f->frames[f->seen].run_count, 2);
    assert_int_equal(f->frames[f->seen].runs[0].round, 1);
    assert_int_equal(f->frames[f->seen].runs[1].round, 2);
}

static void test_all_refused_is_an_end_too(void **state)
{
    struct fixture *f = *state;

    span(f, 0, false, 2);
    pump(f);
    span(f, 0, true, 2); /* Ready, not sent. */
    assert_int_equal(refuse(f, FIRST, 1, false), KV_OK);
    assert_int_equal(refuse(f, FIRST + 1, 1, false), KV_OK);
    assert_int_equal(f->refused_count, 4);
    assert_int_equal(f->done_count, 2);
    assert_int_equal(courier_pending(f->courier), 0);
    f->seen = f->frame_count;
    pump(f);
    expect_no_more(f);
}

static void test_failing_gives_spans_back(void **state)
{
    struct fixture *f = *state;
    struct part *pushed = span(f, 0, false, 4), *pulled = span(f, 0, true, 4);

    courier_down(f->courier);
    courier_fail(f->courier, KV_EDATALOSS, "all gone");
    assert_int_equal(f->done_count, 2);
    assert_ptr_equal(f->done[0], pushed);
    assert_ptr_equal(f->done[1], pulled);
    assert_int_equal(courier_pending(f->courier), 0);
}

#undef TEST
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, set_up_slices, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_span_is_one_run_and_done_with_its_last_answer),
        TEST(test_scattered_tensors_are_gathered),
        TEST(test_tensors_side_by_side_are_not_copied),
        TEST(test_a_value_twice_in_a_frame_breaks_the_protocol),
        TEST(test_only_equals_side_by_side_go_together),
        TEST(test_a_busy_slice_goes_alone),
        TEST(test_what_comes_later_for_one_slice_waits_for_the_span),
        TEST(test_a_pull_of_one_slice_goes_once_its_push_is_sent),
        TEST(test_after_a_lost_link_what_is_unanswered_goes_again),
        TEST(test_slices_put_back_go_again_without_the_others),
        TEST(test_a_link_lost_after_a_put_back_loses_nothing),
        TEST(test_a_refused_slice_is_the_only_one),
        TEST(test_all_refused_is_an_end_too),
        TEST(test_failing_gives_spans_back),
    };

    return cmocka_run_group_tests_name("courier_span", tests, NULL, NULL);
}
