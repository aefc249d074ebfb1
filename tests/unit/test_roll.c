#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/roll.h"
#include "tests/fakes/fault_mem.h"
#include "tests/unit/chance.h"

enum { MANY = 3000 };

static int things[MANY];

static void add(struct roll *r, uint32_t number)
{
    assert_int_equal(roll_add(r, number, &things[number]), KV_OK);
}

static void expect_walk(const struct roll *r, uint64_t from,
                        const uint32_t *numbers, size_t count)
{
    uint64_t at = from;

    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(roll_walk(r, &at), &things[numbers[i]]);
        assert_int_equal(at, numbers[i] + 1);
    }
    assert_null(roll_walk(r, &at));
}

static void test_a_walk_goes_in_the_order_of_coming(void **state)
{
    struct roll r;

    (void)state;
    roll_init(&r);
    expect_walk(&r, 0, NULL, 0);
    add(&r, 0);
    add(&r, 1);
    add(&r, 7);
    expect_walk(&r, 0, (uint32_t[]){0, 1, 7}, 3);
    expect_walk(&r, 2, (uint32_t[]){7}, 1);
    expect_walk(&r, 8, NULL, 0);
    assert_int_equal(r.next, 8);
    roll_fini(&r);
}

static void test_a_walk_in_pieces_survives_what_comes_and_goes(void **state)
{
    struct roll r;
    uint64_t at = 0;

    (void)state;
    roll_init(&r);
    for (uint32_t i = 0; i < 4; i++) {
        add(&r, i);
    }
    assert_ptr_equal(roll_walk(&r, &at), &things[0]);
    assert_ptr_equal(roll_walk(&r, &at), &things[1]);
    assert_ptr_equal(roll_remove(&r, 1), &things[1]);
    assert_ptr_equal(roll_remove(&r, 2), &things[2]);
    add(&r, 4);
    expect_walk(&r, at, (uint32_t[]){3, 4}, 2);
    roll_fini(&r);
}

static void test_a_number_is_not_given_twice(void **state)
{
    struct roll r;

    (void)state;
    roll_init(&r);
    add(&r, 0);
    assert_ptr_equal(roll_remove(&r, 0), &things[0]);
    assert_null(roll_remove(&r, 0));
    assert_null(roll_get(&r, 0));
    assert_int_equal(r.count, 0);
    assert_int_equal(r.next, 1);
    roll_fini(&r);
}

static void test_coming_and_going_for_long_takes_no_more_memory(void **state)
{
    struct roll r;

    (void)state;
    roll_init(&r);
    add(&r, 0);
    for (uint32_t i = 1; i < MANY; i++) {
        add(&r, i);
        assert_ptr_equal(roll_remove(&r, i), &things[i]);
    }
    assert_true(r.capacity <= 128);
    assert_ptr_equal(roll_get(&r, 0), &things[0]);
    expect_walk(&r, 0, (uint32_t[]){0}, 1);
    roll_fini(&r);
}

static void test_any_history_gives_what_is_there(void **state)
{
    uint64_t x = chance_seed();
    bool there[MANY] = {false};
    struct roll r;

    (void)state;
    roll_init(&r);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t victim = (uint32_t)chance(&x, i + 1);

        add(&r, i);
        there[i] = true;
        assert_int_equal(roll_remove(&r, victim) != NULL, there[victim]);
        there[victim] = false;
    }
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(roll_get(&r, i) != NULL, there[i]);
    }
    roll_fini(&r);
}

static void test_without_memory_nothing_changes(void **state)
{
    struct roll r;

    (void)state;
    roll_init(&r);
    fault_mem_fail(1);
    assert_int_equal(roll_add(&r, 0, &things[0]), KV_ENOMEM);
    fault_mem_fail(0);
    assert_int_equal(r.count, 0);
    add(&r, 0);
    roll_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_walk_goes_in_the_order_of_coming),
        cmocka_unit_test(test_a_walk_in_pieces_survives_what_comes_and_goes),
        cmocka_unit_test(test_a_number_is_not_given_twice),
        cmocka_unit_test(test_coming_and_going_for_long_takes_no_more_memory),
        cmocka_unit_test(test_any_history_gives_what_is_there),
        cmocka_unit_test(test_without_memory_nothing_changes),
    };

    return cmocka_run_group_tests_name("roll", tests, NULL, NULL);
}
