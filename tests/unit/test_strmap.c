/* strmap: names of any bytes, through growth, removal and lack of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/map.h"
#include "tests/fakes/fault_mem.h"

enum { NAMES = 500 };

static int set_up(void **state)
{
    static struct strmap m;

    strmap_init(&m);
    *state = &m;
    return 0;
}

static int tear_down(void **state)
{
    strmap_fini(*state);
    return fault_mem_live() == 0 ? 0 : -1;
}

/* Lengths from 1 to 40, so that all tails of a word occur. */
static size_t name_of(int i, char *name)
{
    memset(name, 'x', 64);
    snprintf(name + i % 37, 24, "%d", i);
    return strlen(name);
}

static void test_names_are_found_after_growth_and_removal(void **state)
{
    static int values[NAMES];
    struct strmap *m = *state;
    char name[64];

    for (int i = 0; i < NAMES; i++) {
        size_t size = name_of(i, name);

        assert_int_equal(strmap_put(m, name, size, &values[i]), KV_OK);
        assert_int_equal(strmap_put(m, name, size, &values[i]), KV_EEXIST);
    }
    for (int i = 0; i < NAMES; i += 3) {
        size_t size = name_of(i, name);

        assert_ptr_equal(strmap_remove(m, name, size), &values[i]);
        assert_null(strmap_remove(m, name, size));
    }
    for (int i = 0; i < NAMES; i++) {
        size_t size = name_of(i, name);

        assert_ptr_equal(strmap_get(m, name, size),
                         i % 3 == 0 ? NULL : &values[i]);
    }
    assert_int_equal(m->count, NAMES - (NAMES + 2) / 3);
}

static void test_a_name_is_bytes_and_a_size(void **state)
{
    struct strmap *m = *state;
    int a, b, c;

    assert_int_equal(strmap_put(m, "", 0, &a), KV_OK);
    assert_int_equal(strmap_put(m, "\0", 1, &b), KV_OK);
    assert_int_equal(strmap_put(m, "\0\0", 2, &c), KV_OK);
    assert_ptr_equal(strmap_get(m, "", 0), &a);
    assert_ptr_equal(strmap_get(m, "\0", 1), &b);
    assert_ptr_equal(strmap_get(m, "\0\0", 2), &c);
    assert_null(strmap_get(m, "\0\0\0", 3));
}

static void test_walking_gives_names_that_print(void **state)
{
    struct strmap *m = *state;
    const char *name;
    size_t at = 0, size;
    int a;

    assert_int_equal(strmap_put(m, "weightXX", 6, &a), KV_OK);
    assert_ptr_equal(strmap_next(m, &at, &name, &size), &a);
    assert_string_equal(name, "weight");
    assert_int_equal(size, 6);
    assert_null(strmap_next(m, &at, NULL, NULL));
}

static void test_without_memory_nothing_changes(void **state)
{
    struct strmap *m = *state;
    size_t before = m->count;
    int value;
    unsigned nth = 1;

    for (;; nth++) {
        enum kv_status status;

        fault_mem_fail(nth);
        status = strmap_put(m, "name", 4, &value);
        fault_mem_fail(0);
        if (status == KV_OK) {
            break;
        }
        assert_int_equal(status, KV_ENOMEM);
        assert_int_equal(m->count, before);
        assert_null(strmap_get(m, "name", 4));
        assert_int_equal(fault_mem_live(), 0);
    }
    assert_int_equal(nth, 3); /* The copy, the table. */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names_are_found_after_growth_and_removal),
        TEST(test_a_name_is_bytes_and_a_size),
        TEST(test_walking_gives_names_that_print),
        TEST(test_without_memory_nothing_changes),
    };

    return cmocka_run_group_tests_name("strmap", tests, NULL, NULL);
}
