/* Slices that are deleted, and their slots' next slices. */
#include "tests/unit/courier_fixture.h"

#define FIRST 100 /* Slot of the slices here: 8 KiB each. */
#define COUNT 4
#define ELEMENTS 2048
#define SIZE (ELEMENTS * sizeof(float))
#define NEXT (UINT64_C(1) << KV_ROUND_BITS) /* Where later rounds begin. */

static struct slice old[COUNT], new[COUNT];
static float from[COUNT][ELEMENTS], to[COUNT][ELEMENTS];
static const void *sources[COUNT];
static void *targets[COUNT];

static void make(struct slice *s, uint32_t i, uint64_t pushed)
{
    memset(s, 0, sizeof *s);
    s->slot = FIRST + i;
    s->dtype = KV_F32;
    s->count = ELEMENTS;
    s->pushed = pushed;
}

static int set_up_slices(void **state)
{
    struct fixture *f;

    if (set_up(state) != 0) {
        return -1;
    }
    f = *state;
    for (uint32_t i = 0; i < COUNT; i++) {
        make(&old[i], i, 0);
        make(&new[i], i, NEXT);
        sources[i] = from[i];
        targets[i] = to[i];
        if (courier_add_slice(f->courier, &old[i]) != KV_OK) {
            return -1;
        }
    }
    memset(to, 0, sizeof to);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static struct part *send(struct fixture *f, struct slice *first, bool pulls,
                         unsigned count)
{
    uint32_t i = first->slot - FIRST;
    struct part *p = next_part(f, 0);

    p->slice = first;
    p->pull = pulls;
    p->inputs = &sources[i];
    p->input_count = 1;
    p->outs = &targets[i];
    for (unsigned n = 1; n < count; n++) {
        assert_true(courier_extend(p, &first[n]));
    }
    courier_submit(f->courier, p);
    pump(f);
    return p;
}

static void take_over(struct fixture *f, uint32_t i)
{
    assert_int_equal(courier_add_slice(f->courier, &new[i]), KV_OK);
}

static void gone(struct fixture *f, uint32_t slot, uint64_t round, bool pull)
{
    assert_int_equal(refuse(f, slot, round, pull), KV_OK);
}

static void expect_last_done(struct fixture *f, size_t count,
                             const struct part *p, enum kv_status status)
{
    assert_int_equal(f->done_count, count);
    assert_ptr_equal(f->done[count - 1], p);
    assert_int_equal(f->done_status, status);
}

/* --- A slot's next slice -------------------------------------------------- */

static void test_only_a_later_slice_takes_a_slot(void **state)
{
    struct fixture *f = *state;
    struct slice same;

    make(&same, 1, 5);
    assert_int_equal(courier_add_slice(f->courier, &same), KV_EEXIST);
    take_over(f, 1);
    assert_int_equal(courier_add_slice(f->courier, &old[1]), KV_EEXIST);
}

static void test_answers_go_to_the_slice_of_their_round(void **state)
{
    struct fixture *f = *state;
    struct part *before = send(f, &old[1], false, 1), *after;

    take_over(f, 1);
    after = send(f, &new[1], false, 1);
    committed(f, FIRST + 1, NEXT + 1);
    expect_last_done(f, 1, after, KV_OK);
    assert_false(courier_idle(&old[1]));
    gone(f, FIRST + 1, 1, false);
    expect_last_done(f, 2, before, KV_ENOSPC);
    assert_true(courier_idle(&old[1]));
    courier_remove_slice(&old[1]);
    after = send(f, &new[1], true, 1);
    assert_int_equal(answer(f, FIRST + 1, NEXT + 1, from[0], SIZE), KV_OK);
    expect_last_done(f, 3, after, KV_OK);
}

static void test_pulls_of_the_older_one_end_too(void **state)
{
    struct fixture *f = *state;
    struct part *push = send(f, &old[2], false, 1);
    struct part *pull = send(f, &old[2], true, 1), *after;

    take_over(f, 2);
    after = send(f, &new[2], true, 1);
    gone(f, FIRST + 2, 1, false);
    assert_int_equal(f->done_count, 2); /* The pull shares its fate. */
    assert_true(f->done[0] == push && f->done[1] == pull);
    assert_true(courier_idle(&old[2]));
    assert_false(courier_idle(&new[2]));
    assert_int_equal(answer(f, FIRST + 2, NEXT, from[0], SIZE), KV_OK);
    expect_last_done(f, 3, after, KV_OK);
}

static void test_what_is_put_back_is_of_its_own_round(void **state)
{
    struct fixture *f = *state;

    send(f, &old[0], false, 1);
    take_over(f, 0);
    send(f, &new[0], false, 1);
    f->seen = f->frame_count;
    assert_int_equal(again(f, FIRST, 1), KV_OK);
    pump(f);
    expect_one(f, MESSAGE_PUSH, FIRST, 1);
    assert_int_equal(again(f, FIRST, NEXT + 1), KV_OK);
    pump(f);
    expect_one(f, MESSAGE_PUSH, FIRST, NEXT + 1);
}

static void test_a_span_loses_one_and_goes_on(void **state)
{
    struct fixture *f = *state;
    struct part *span = send(f, old, false, COUNT), *after;

    take_over(f, 2);
    after = send(f, &new[2], false, 1);
    gone(f, FIRST + 2, 1, false);
    assert_int_equal(f->refused_count, 1);
    assert_ptr_equal(f->refused[0], &old[2]);
    assert_int_equal(f->done_count, 0);
    committed(f, FIRST + 2, NEXT + 1);
    expect_last_done(f, 1, after, KV_OK);
    committed(f, FIRST, 1);
    committed(f, FIRST + 1, 1);
    committed(f, FIRST + 3, 1);
    expect_last_done(f, 2, span, KV_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(courier_idle(&old[i]));
    }
}

/* The connection is lost in between: what is sent again has its old round. */
static void test_a_span_is_sent_again_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct part *span = send(f, old, false, COUNT);
    const struct frame *frame;

    take_over(f, 1);
    reconnect(f);
    pump(f);
    frame = &f->frames[f->seen];
    assert_int_equal(frame->runs[0].slot, FIRST);
    assert_int_equal(frame->runs[0].count, COUNT);
    assert_int_equal(frame->runs[0].round, 1);
    gone(f, FIRST + 1, 1, false);
    committed(f, FIRST, 1);
    committed(f, FIRST + 2, 1);
    committed(f, FIRST + 3, 1);
    expect_last_done(f, 1, span, KV_OK);
}

static void test_spans_are_of_slices_in_place(void **state)
{
    struct fixture *f = *state;
    struct part *p = next_part(f, 0);

    take_over(f, 1);
    p->slice = &old[0];
    p->inputs = sources;
    p->input_count = 1;
    assert_false(courier_extend(p, &old[1]));
    p->slice = &old[1];
    assert_false(courier_extend(p, &old[2]));
}

/* The store closes: nothing stays behind, whoever has the slot. */
static void test_all_parts_end_when_the_courier_fails(void **state)
{
    struct fixture *f = *state;

    send(f, &old[1], false, 1);
    send(f, &old[1], false, 1); /* Waits for the first. */
    send(f, &old[1], true, 1);
    take_over(f, 1);
    send(f, &new[1], false, 1);
    courier_down(f->courier);
    courier_fail(f->courier, KV_ECANCELED, "closing");
    assert_int_equal(f->done_count, 4);
    assert_true(courier_idle(&old[1]) && courier_idle(&new[1]));
}

/* --- Removal -------------------------------------------------------------- */

static void test_they_are_removed_in_any_order(void **state)
{
    static struct slice third; /* Outlives the test's body. */
    struct fixture *f = *state;

    make(&third, 0, 2 * NEXT);
    take_over(f, 0);
    assert_int_equal(courier_add_slice(f->courier, &third), KV_OK);
    courier_remove_slice(&new[0]);
    courier_remove_slice(&third);
    send(f, &old[0], false, 1);
    committed(f, FIRST, 1);
    assert_int_equal(f->done_count, 1);
    courier_remove_slice(&old[0]);
    make(&third, 0, 0); /* Nothing is known of the slot any more. */
    assert_int_equal(courier_add_slice(f->courier, &third), KV_OK);
}

static void test_late_frames_about_a_removed_one_are_no_news(void **state)
{
    struct fixture *f = *state;

    courier_remove_slice(&old[3]);
    committed(f, FIRST + 3, 1);
    gone(f, FIRST + 3, 1, false);
    gone(f, FIRST + 3, 1, true);
    assert_int_equal(again(f, FIRST + 3, 1), KV_OK);
    assert_int_equal(f->done_count, 0);
}

/* A rank that is back hears where it stands in each slot. */
static void test_rounds_are_of_the_slice_that_has_them(void **state)
{
    struct fixture *f = *state;
    struct run run = {FIRST, 2, NEXT + 7, 0};
    struct message m = {.kind = MESSAGE_ROUNDS,
                        .batch = {.runs = &run, .run_count = 1}};

    take_over(f, 0);
    assert_int_equal(courier_frame(f->courier, 0, &m, NULL, 0), KV_OK);
    assert_int_equal(new[0].pushed, NEXT + 7);
    assert_int_equal(old[0].pushed, 0);
    assert_int_equal(old[1].pushed, 0); /* Its slot is another's by now. */
}

/* The life before was lost between the commits of a push, or of several. */
static void test_slices_of_a_key_go_on_from_the_one_behind(void **state)
{
    static const uint64_t stood[COUNT] = {7, NEXT + 5, 2 * NEXT + 6, 5};
    static const uint64_t stand[COUNT] = {5, NEXT + 5, 2 * NEXT + 5, 5};
    struct slice key[COUNT];

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        make(&key[i], i, stood[i]);
    }
    for (int twice = 0; twice < 2; twice++) {
        courier_level(key, COUNT);
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_int_equal(key[i].pushed, stand[i]);
        }
    }
    courier_level(&key[1], 1);
    assert_int_equal(key[1].pushed, NEXT + 5);
}

#define LIFE_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, set_up_slices, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIFE_TEST(test_only_a_later_slice_takes_a_slot),
        LIFE_TEST(test_answers_go_to_the_slice_of_their_round),
        LIFE_TEST(test_pulls_of_the_older_one_end_too),
        LIFE_TEST(test_what_is_put_back_is_of_its_own_round),
        LIFE_TEST(test_a_span_loses_one_and_goes_on),
        LIFE_TEST(test_a_span_is_sent_again_as_it_was),
        LIFE_TEST(test_spans_are_of_slices_in_place),
        LIFE_TEST(test_all_parts_end_when_the_courier_fails),
        LIFE_TEST(test_they_are_removed_in_any_order),
        LIFE_TEST(test_late_frames_about_a_removed_one_are_no_news),
        LIFE_TEST(test_rounds_are_of_the_slice_that_has_them),
        LIFE_TEST(test_slices_of_a_key_go_on_from_the_one_behind),
    };

    return cmocka_run_group_tests_name("courier life", tests, NULL, NULL);
}
