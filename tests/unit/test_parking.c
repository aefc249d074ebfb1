#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/parking.h"
#include "tests/fakes/fault_mem.h"

struct fixture {
    struct parking p;
    struct parking_guest one, two;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    parking_init(&f->p);
    parking_guest_init(&f->one);
    parking_guest_init(&f->two);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    parking_forget(&f->p, &f->one);
    parking_forget(&f->p, &f->two);
    parking_fini(&f->p);
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

static struct key_desc named(const char *name)
{
    struct key_desc k = {.name = name};

    return k;
}

static struct parked *park_key(struct fixture *f, struct parking_guest *g,
                               uint64_t id, const char *name)
{
    struct key_desc k = named(name);

    return parking_add(&f->p, PARK_KEY, g, g, id, &k, 0);
}

static struct parked *park(struct fixture *f, struct parking_guest *g,
                           enum park_kind kind, uint64_t id, uint64_t now_ms)
{
    return parking_add(&f->p, kind, g, g, id, NULL, now_ms);
}

static struct parked *waiting_for(struct fixture *f, const char *name)
{
    struct key_desc k = named(name);

    return parking_first_for(&f->p, &k);
}

static bool due(struct fixture *f, enum park_kind kind, uint64_t now_ms)
{
    return parking_line_due(&f->p, kind, now_ms);
}

/* --- Tests --------------------------------------------------------------- */

static void test_requests_come_back_in_order_of_arrival(void **state)
{
    struct fixture *f = *state;

    park(f, &f->one, PARK_BARRIER, 1, 0);
    park(f, &f->two, PARK_BARRIER, 2, 0);
    park(f, &f->one, PARK_JOIN, 3, 0);
    assert_int_equal(parking_first(&f->p, PARK_BARRIER)->request_id, 1);
    parking_remove(&f->p, &f->one, parking_first(&f->p, PARK_BARRIER));
    assert_int_equal(parking_first(&f->p, PARK_BARRIER)->request_id, 2);
    assert_int_equal(parking_first(&f->p, PARK_JOIN)->request_id, 3);
    assert_int_equal(f->p.count[PARK_BARRIER], 1);
}

static void test_who_waits_for_a_key_is_found_by_it(void **state)
{
    struct fixture *f = *state;
    char name[] = "w";
    struct key_desc number = {.number = 7};

    park_key(f, &f->one, 1, name);
    name[0] = 'x';
    park_key(f, &f->two, 2, "v");
    park_key(f, &f->two, 3, "w");
    parking_add(&f->p, PARK_KEY, &f->one, &f->one, 4, &number, 0);
    assert_int_equal(waiting_for(f, "w")->request_id, 1);
    assert_string_equal(waiting_for(f, "w")->key.name, "w");
    assert_int_equal(waiting_for(f, "v")->request_id, 2);
    assert_null(waiting_for(f, "7"));
    assert_int_equal(parking_first_for(&f->p, &number)->request_id, 4);
    parking_remove(&f->p, &f->one, waiting_for(f, "w"));
    assert_int_equal(waiting_for(f, "w")->request_id, 3);
}

static void test_a_guest_that_goes_takes_its_requests_along(void **state)
{
    struct fixture *f = *state;

    park_key(f, &f->one, 1, "w");
    park_key(f, &f->two, 2, "w");
    park_key(f, &f->one, 3, "v");
    park(f, &f->one, PARK_BARRIER, 4, 0);
    parking_forget(&f->p, &f->one);
    assert_int_equal(f->one.count, 0);
    assert_int_equal(waiting_for(f, "w")->request_id, 2);
    assert_null(waiting_for(f, "v"));
    assert_null(parking_first(&f->p, PARK_BARRIER));
    parking_forget(&f->p, &f->two);
    assert_true(parking_empty(&f->p));
    assert_int_equal(f->p.keys.count, 0);
}

static void test_lines_are_due_after_5_s_and_then_every_10(void **state)
{
    struct fixture *f = *state;

    park(f, &f->one, PARK_BARRIER, 1, 1000);
    park(f, &f->two, PARK_BARRIER, 2, 5000);
    assert_false(due(f, PARK_BARRIER, 5999));
    assert_true(due(f, PARK_BARRIER, 6000));
    assert_false(due(f, PARK_BARRIER, 6000));
    assert_false(due(f, PARK_BARRIER, 15999));
    assert_true(due(f, PARK_BARRIER, 16000));
    assert_false(due(f, PARK_JOIN, 99999));
    parking_forget(&f->p, &f->one);
    parking_forget(&f->p, &f->two);
    assert_false(due(f, PARK_BARRIER, 99999));
    park(f, &f->one, PARK_BARRIER, 3, 100000); /* Begins anew. */
    assert_false(due(f, PARK_BARRIER, 104999));
    assert_true(due(f, PARK_BARRIER, 105000));
}

static void test_nothing_is_left_behind_when_memory_ends(void **state)
{
    struct fixture *f = *state;
    struct parked *r = NULL;

    for (unsigned n = 1; r == NULL; n++) {
        assert_true(parking_empty(&f->p));
        assert_int_equal(f->one.count, 0);
        assert_int_equal(f->p.keys.count, 0);
        fault_mem_fail(n);
        r = park_key(f, &f->one, 1, "w");
        fault_mem_fail(0);
    }
    assert_ptr_equal(waiting_for(f, "w"), r);
}

static bool noticed(struct parking_guest *g, uint64_t id, uint64_t now_ms)
{
    const struct parked *r = parking_notice(g, now_ms);

    return r != NULL && r->request_id == id;
}

static void test_a_guest_hears_of_its_oldest_now_and_then(void **state)
{
    struct fixture *f = *state;
    struct parked *first = park(f, &f->one, PARK_BARRIER, 1, 100);

    park(f, &f->one, PARK_JOIN, 2, 200);
    assert_null(parking_notice(&f->two, 9000));
    assert_null(parking_notice(&f->one, 1099));
    assert_true(noticed(&f->one, 1, 1100));
    assert_null(parking_notice(&f->one, 6099));
    assert_true(noticed(&f->one, 1, 6100));
    parking_remove(&f->p, &f->one, first);
    assert_true(noticed(&f->one, 2, 11100));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_requests_come_back_in_order_of_arrival),
        TEST(test_who_waits_for_a_key_is_found_by_it),
        TEST(test_a_guest_that_goes_takes_its_requests_along),
        TEST(test_lines_are_due_after_5_s_and_then_every_10),
        TEST(test_nothing_is_left_behind_when_memory_ends),
        TEST(test_a_guest_hears_of_its_oldest_now_and_then),
    };

    return cmocka_run_group_tests_name("parking", tests, NULL, NULL);
}
