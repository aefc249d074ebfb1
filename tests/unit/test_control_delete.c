/* Keys that are deleted at the root: asked for, doomed, forgotten. */
#include "tests/unit/control_fixture.h"

/* --- Steps ---------------------------------------------------------------- */

static struct answer *expect_placed(struct fixture *f, struct client *c,
                                    uint32_t key_id, uint64_t deletions)
{
    struct answer *a = next(f, c);

    assert_string_equal(message_kind_name(a->kind),
                        message_kind_name(MESSAGE_PLACED));
    assert_int_equal(a->key_id, key_id);
    assert_int_equal(a->deletions, deletions);
    return a;
}

static void register_key(struct fixture *f, struct client *c, const char *name,
                         uint32_t key_id, uint64_t deletions)
{
    ask_key(c, 50, name, 1000);
    (void)expect_placed(f, c, key_id, deletions);
}

static void delete_key(struct fixture *f, struct client *c, const char *name,
                       uint32_t key_id, uint64_t deletion)
{
    ask_delete(c, 60, name, KV_DELETE_ASK, 0);
    (void)next(f, c);
    ask_delete(c, 61, name, KV_DELETE_BEGIN, key_id);
    (void)expect_placed(f, c, key_id, deletion);
    ask_delete(c, 62, name, KV_DELETE_END, key_id);
    expect_ok(f, c, 62);
}

static void restart(struct fixture *f)
{
    stop(f);
    start(f);
}

/* --- Tests ---------------------------------------------------------------- */

static void test_a_key_goes_in_three_steps(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1), *one = join(f, 1, 1);
    struct answer *a;

    register_key(f, zero, "v", 0, 0);
    register_key(f, zero, "w", 1, 0);
    ask_delete(one, 2, "w", KV_DELETE_ASK, 0);
    a = expect_placed(f, one, 1, 0);
    assert_int_equal(a->payload_size, 4 * 4); /* Where the slices are. */
    ask_delete(one, 3, "w", KV_DELETE_BEGIN, 1);
    (void)expect_placed(f, one, 1, 1);
    assert_int_equal(control_keys(&f->control), 2);
    ask_delete(one, 4, "w", KV_DELETE_END, 1);
    expect_ok(f, one, 4);
    assert_int_equal(control_keys(&f->control), 1);
    register_key(f, zero, "w", 2, 1); /* Another one, from now on. */
}

static void test_an_unknown_key_is_named(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1);

    ask_delete(zero, 2, "w", KV_DELETE_ASK, 0);
    expect_error(f, zero, 2, KV_ENOTFOUND, "the job has no key 'w'");
}

/* Whoever deletes it next gets the number of the deletion that was begun. */
static void test_a_doomed_key_stays_so_and_anybody_goes_on(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1), *one = join(f, 1, 1);

    register_key(f, zero, "w", 0, 0);
    ask_delete(one, 2, "w", KV_DELETE_BEGIN, 0);
    (void)expect_placed(f, one, 0, 1);
    restart(f);
    zero = join(f, 0, 1);
    ask_delete(zero, 2, "w", KV_DELETE_ASK, 0);
    (void)expect_placed(f, zero, 0, 1);
    ask_delete(zero, 3, "w", KV_DELETE_BEGIN, 0);
    (void)expect_placed(f, zero, 0, 1);
    ask_delete(zero, 4, "w", KV_DELETE_END, 0);
    expect_ok(f, zero, 4);
    restart(f);
    assert_int_equal(control_keys(&f->control), 0);
}

static void test_steps_that_come_twice_or_late_do_nothing(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1);

    register_key(f, zero, "w", 0, 0);
    delete_key(f, zero, "w", 0, 1);
    ask_delete(zero, 2, "w", KV_DELETE_END, 0);
    expect_ok(f, zero, 2);
    register_key(f, zero, "w", 1, 1);
    ask_delete(zero, 3, "w", KV_DELETE_BEGIN, 0); /* Of the one before. */
    expect_ok(f, zero, 3);
    ask_delete(zero, 4, "w", KV_DELETE_END, 0);
    expect_ok(f, zero, 4);
    ask_delete(zero, 5, "w", KV_DELETE_ASK, 0);
    (void)expect_placed(f, zero, 1, 1);
}

/* Neither is given again, whatever dies in between. */
static void test_ids_and_numbers_are_used_once(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 5; i++) {
        struct client *zero = join(f, 0, 1);

        register_key(f, zero, "w", i, i);
        delete_key(f, zero, "w", i, i + 1);
        restart(f);
    }
    register_key(f, join(f, 0, 1), "w", 5, 5);
}

static void test_an_end_without_a_beginning_breaks_the_protocol(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1);

    register_key(f, zero, "w", 0, 0);
    ask_delete(zero, 2, "w", KV_DELETE_END, 0);
    run_until(f, &zero->open, false);
    assert_int_equal(control_keys(&f->control), 1);
}

/* Where the key's slices are is still to be written when the key goes. */
static void test_an_answer_outlives_its_key(void **state)
{
    struct fixture *f = *state;
    struct client *zero = join(f, 0, 1), *one = join(f, 1, 1);
    struct answer *a;
    uint32_t place[4];

    register_key(f, zero, "w", 0, 0);
    ask_delete(zero, 2, "w", KV_DELETE_BEGIN, 0);
    a = next(f, zero);
    memcpy(place, a->place, sizeof place);
    ask_delete(one, 2, "w", KV_DELETE_BEGIN, 0);
    ask_delete(zero, 3, "w", KV_DELETE_END, 0);
    link_flush(&one->link); /* Both lie there for the root's next turn. */
    link_flush(&zero->link);
    a = expect_placed(f, one, 0, 1);
    assert_memory_equal(a->place, place, sizeof place);
    expect_ok(f, zero, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_key_goes_in_three_steps),
        TEST(test_an_unknown_key_is_named),
        TEST(test_a_doomed_key_stays_so_and_anybody_goes_on),
        TEST(test_steps_that_come_twice_or_late_do_nothing),
        TEST(test_ids_and_numbers_are_used_once),
        TEST(test_an_answer_outlives_its_key),
        TEST(test_an_end_without_a_beginning_breaks_the_protocol),
    };

    return cmocka_run_group_tests_name("control_delete", tests, NULL, NULL);
}
