#include "tests/unit/courier_fixture.h"

/* --- Lost connections ----------------------------------------------------- */

static void test_what_is_unanswered_goes_again_in_its_old_order(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 4; i++) {
        push(f, 3 - i, 0, 1);
    }
    pump(f);
    committed(f, 2, 1);
    push(f, 4, 0, 1);
    reconnect(f);
    pump(f);
    assert_int_equal(f->frame_count - f->seen, 1);
    assert_int_equal(f->frames[f->seen].run_count, 4);
    assert_int_equal(f->frames[f->seen].runs[0].slot, 3);
    assert_int_equal(f->frames[f->seen].runs[1].slot, 1);
    assert_int_equal(f->frames[f->seen].runs[2].slot, 0);
    assert_int_equal(f->frames[f->seen].runs[2].round, 1); /* The old one. */
    assert_int_equal(f->frames[f->seen].runs[3].slot, 4);
    assert_int_equal(courier_resent(f->courier), 3);
}

static void test_nothing_is_sent_or_taken_while_down(void **state)
{
    struct fixture *f = *state;

    courier_down(f->courier);
    push(f, 0, 0, 1);
    pump(f);
    expect_no_more(f);
    assert_int_equal(answer(f, 0, 1, NULL, 0), KV_ECONN);
}

static void test_a_frame_that_could_not_be_queued_goes_again(void **state)
{
    struct fixture *f = *state;

    push(f, 0, 0, 1);
    f->refuse_frames = true;
    pump(f);
    f->refuse_frames = false;
    reconnect(f);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 0, 1);
}

static void test_failing_gives_everything_back(void **state)
{
    struct fixture *f = *state;
    struct part *p[4];

    request(f, 0);
    p[0] = push(f, SLICES - 1, 0, 2);
    p[1] = push(f, SLICES - 1, 0, 1);
    pump(f);
    p[2] = push(f, 1, 0, 1);
    p[3] = pull(f, 2);
    courier_down(f->courier);
    courier_fail(f->courier, KV_EDATALOSS, "all gone");
    assert_int_equal(f->done_count, 4);
    assert_ptr_equal(f->done[0], p[0]);
    assert_string_equal(f->done_text, "all gone");
    assert_int_equal(f->reply_status, KV_EDATALOSS);
    assert_int_equal(courier_pending(f->courier), 0);
}

/* --- Refusals and lies ---------------------------------------------------- */

static void test_a_push_put_back_goes_after_all_others(void **state)
{
    struct fixture *f = *state;

    push(f, 0, 50, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 0, 1);
    push(f, SLICES - 1, -50, 1);
    assert_int_equal(again(f, 0, 1), KV_OK);
    assert_int_equal(again(f, 0, 1), KV_OK); /* Harmless. */
    push(f, 1, -50, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, SLICES - 1, 1);
    assert_int_equal(f->frames[f->seen].runs[0].slot, 0);
    assert_int_equal(f->frames[f->seen].runs[0].round, 1);
}

static void test_a_refused_push_takes_no_round(void **state)
{
    struct fixture *f = *state;
    struct part *b;

    push(f, 1, 0, 1);
    b = pull(f, 1);
    pump(f);
    assert_int_equal(refuse(f, 1, 1, false), KV_OK);
    expect_done(f, 2, b, KV_ENOSPC); /* It waited for that round. */
    assert_string_equal(f->done_text, "no room");
    f->seen = f->frame_count;
    push(f, 1, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 1);
    assert_int_equal(refuse(f, 1, 0, true), KV_OK); /* Nobody asks any more. */
    assert_int_equal(f->done_count, 2);
}

static void test_an_old_acknowledgement_is_harmless(void **state)
{
    struct fixture *f = *state;

    push(f, 1, 0, 1);
    pump(f);
    committed(f, 1, 1);
    committed(f, 1, 1);
    push(f, 1, 0, 1);
    pump(f);
    committed(f, 1, 1);
    assert_int_equal(f->done_count, 1);
    committed(f, 1, 2);
    assert_int_equal(f->done_count, 2);
}

static void test_a_value_nobody_asked_for_breaks_the_protocol(void **state)
{
    struct fixture *f = *state;
    struct run twice[2] = {{1, 1, 0, SMALL * 4}, {1, 1, 0, SMALL * 4}};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {twice, 2, 0}};
    float bytes[2 * SMALL] = {0};
    struct part *a;

    assert_int_equal(answer(f, 1, 0, bytes, SMALL * 4), KV_EPROTO);
    a = pull(f, 1);
    assert_int_equal(answer(f, 1, 0, bytes, SMALL * 4),
                     KV_EPROTO); /* Unsent. */
    pump(f);
    assert_int_equal(answer(f, 1, 0, bytes, SMALL * 4 - 4), KV_EPROTO);
    assert_int_equal(answer(f, 99, 0, bytes, SMALL * 4), KV_EPROTO);
    assert_int_equal(answer(f, 99, 0, NULL, 0), KV_EPROTO);
    assert_int_equal(answer_frame(f, &m, bytes, sizeof bytes), KV_EPROTO);
    expect_done(f, 1, a, KV_OK);
    f->slices[2].pushed = 5;
    pull(f, 2);
    pump(f);
    assert_int_equal(answer(f, 2, 4, bytes, SMALL * 4), KV_EPROTO); /* Old. */
}

static void test_slots_are_checked(void **state)
{
    struct fixture *f = *state;
    struct slice *s = &f->extra;

    *s = (struct slice){.slot = 1, .dtype = KV_F32, .count = 1};
    assert_int_equal(courier_add_slice(f->courier, s), KV_EEXIST);
    s->slot = KV_SLOTS_MAX;
    assert_int_equal(courier_add_slice(f->courier, s), KV_EPROTO);
    s->slot = KV_SLOTS_MAX - 1;
    assert_int_equal(courier_add_slice(f->courier, s), KV_OK);
}

static uint32_t draw(uint64_t *random, uint32_t bound)
{
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(*random >> 33) % bound;
}

/* Anything that message_unpack() lets through. */
static size_t draw_message(const struct fixture *f, uint64_t *random,
                           struct message *m, struct run *runs)
{
    static const enum message_kind kinds[] = {MESSAGE_ANSWER,  MESSAGE_ANSWER,
                                              MESSAGE_AGAIN,   MESSAGE_ERROR,
                                              MESSAGE_STALLED, MESSAGE_OK};
    static const uint32_t sizes[] = {0, 0, SMALL * 4, SMALL * 4, 8, LARGE * 4};
    size_t total = 0;

    *m = (struct message){.kind = kinds[draw(random, 6)]};
    if (m->kind == MESSAGE_ERROR) {
        m->error.status = KV_EINVAL;
        m->error.text = "no";
        m->error.about_slot = draw(random, 4) > 0;
        m->error.pull = draw(random, 2) == 0;
        m->error.slot = draw(random, SLICES + 1);
        m->error.round = f->slices[m->error.slot % SLICES].pushed;
    } else if (m->kind == MESSAGE_STALLED) {
        m->stalled.slot = draw(random, SLICES + 2);
    } else if (m->kind != MESSAGE_OK) {
        m->batch.runs = runs;
        m->batch.run_count = 1 + draw(random, 3);
        for (uint32_t i = 0; i < m->batch.run_count; i++) {
            uint32_t slot = draw(random, SLICES + draw(random, 20) / 19);
            uint64_t pushed = slot < SLICES ? f->slices[slot].pushed : 1;

            runs[i].slot = slot;
            runs[i].count = 1 + draw(random, 20) / 19;
            runs[i].round = pushed + draw(random, 8) / 7;
            runs[i].size = sizes[draw(random, 6)];
            if (m->kind == MESSAGE_AGAIN) {
                runs[i].size = 0;
            }
            total += (size_t)runs[i].size * runs[i].count;
        }
    }
    return total;
}

static void hear(struct fixture *f, uint64_t *random)
{
    static float bytes[16 * LARGE];
    struct run runs[3];
    struct message m;
    size_t size = draw_message(f, random, &m, runs);
    uint64_t id = draw(random, 3) == 0 ? draw(random, 8) : 0;
    void *sink = NULL;
    enum kv_status status = courier_head(f->courier, &m, size, &sink);

    if (status == KV_OK) {
        status = courier_frame(f->courier, id, &m, sink != NULL ? sink : bytes,
                               size);
    }
    if (status != KV_OK && draw(random, 4) == 0) {
        reconnect(f);
    }
}

static void test_no_server_can_break_it(void **state)
{
    struct fixture *f = *state;
    uint64_t random = 1;
    size_t answered = 0;

    for (int life = 0; life < 100; life++) {
        while (f->part_count < PARTS - 2) {
            push(f, draw(&random, SLICES), 0, 1 + draw(&random, 2));
            pull(f, draw(&random, SLICES));
            pump(f);
            hear(f, &random);
            hear(f, &random);
        }
        answered += f->done_count;
        courier_down(f->courier);
        courier_fail(f->courier, KV_ECANCELED, "");
        courier_up(f->courier);
        assert_int_equal(courier_pending(f->courier), 0);
        assert_int_equal(f->done_count, PARTS - 2); /* Each just once. */
        f->done_count = 0;
        f->part_count = 0;
    }
    assert_true(answered > 1000);
}

/* --- Requests and notices ------------------------------------------------- */

static void test_replies_find_their_requests_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct request *r[3];
    struct message ok = {.kind = MESSAGE_OK};
    struct message no = {.kind = MESSAGE_ERROR};

    no.error.status = KV_EINVAL;
    no.error.text = "no such parameter";
    for (size_t i = 0; i < 3; i++) {
        r[i] = request(f, i);
    }
    assert_int_equal(courier_frame(f->courier, r[0]->id, &ok, NULL, 0),
                     KV_EPROTO); /* Not asked yet. */
    pump(f);
    assert_int_equal(f->frames[2].request_id, r[2]->id);
    assert_int_equal(courier_frame(f->courier, r[2]->id, &ok, NULL, 0), KV_OK);
    assert_int_equal(f->reply_kind, MESSAGE_OK);
    reconnect(f);
    pump(f);
    assert_int_equal(f->frame_count - f->seen, 2);
    assert_int_equal(f->frames[f->seen].request_id, r[0]->id);
    assert_int_equal(courier_frame(f->courier, r[1]->id, &no, NULL, 0), KV_OK);
    assert_int_equal(f->reply_status, KV_EINVAL);
    assert_int_equal(f->reply_kind, MESSAGE_NONE);
    assert_int_equal(courier_frame(f->courier, r[1]->id, &ok, NULL, 0),
                     KV_EPROTO); /* Twice. */
    assert_int_equal(courier_frame(f->courier, r[0]->id, &ok, NULL, 0), KV_OK);
    assert_int_equal(f->replies, 3);
}

static void test_notices_reach_the_owner(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_STALLED};
    struct message bye = {.kind = MESSAGE_ERROR};

    m.stalled.slot = 3;
    assert_int_equal(courier_frame(f->courier, 0, &m, NULL, 0), KV_OK);
    assert_int_equal(f->stalled, 1);
    bye.error.status = KV_ESTALE;
    bye.error.text = "a newer life of this rank is here";
    assert_int_equal(courier_frame(f->courier, 0, &bye, NULL, 0), KV_ESTALE);
    m.kind = MESSAGE_PUSH;
    assert_int_equal(courier_frame(f->courier, 0, &m, NULL, 0), KV_EPROTO);
}

static void test_rounds_say_what_the_next_push_is(void **state)
{
    struct fixture *f = *state;
    struct run runs[] = {{0, 2, 7, 0}, {KV_SLOTS_MAX - 1, 1, 9, 0}};
    struct message m = {.kind = MESSAGE_ROUNDS, .batch = {runs, 2, 0}};

    push(f, 1, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 1);
    assert_int_equal(courier_frame(f->courier, 0, &m, NULL, 0), KV_OK);
    committed(f, 1, 1); /* What was on its way keeps its round. */
    push(f, 0, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 0, 8);
    push(f, 1, 0, 1);
    pump(f);
    expect_one(f, MESSAGE_PUSH, 1, 2);
}

static void test_a_ping_is_answered(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_PING};

    assert_int_equal(courier_frame(f->courier, 0, &m, NULL, 0), KV_OK);
    assert_int_equal(f->frames[f->seen++].kind, MESSAGE_PING);
    expect_no_more(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_unanswered_goes_again_in_its_old_order),
        TEST(test_nothing_is_sent_or_taken_while_down),
        TEST(test_a_frame_that_could_not_be_queued_goes_again),
        TEST(test_failing_gives_everything_back),
        TEST(test_a_push_put_back_goes_after_all_others),
        TEST(test_a_refused_push_takes_no_round),
        TEST(test_an_old_acknowledgement_is_harmless),
        TEST(test_a_value_nobody_asked_for_breaks_the_protocol),
        TEST(test_slots_are_checked),
        TEST(test_no_server_can_break_it),
        TEST(test_replies_find_their_requests_in_any_order),
        TEST(test_notices_reach_the_owner),
        TEST(test_rounds_say_what_the_next_push_is),
        TEST(test_a_ping_is_answered),
    };

    return cmocka_run_group_tests_name("courier_answers", tests, NULL, NULL);
}
