/* map: against a plain model, through any history of puts and removes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/map.h"
#include "tests/fakes/fault_mem.h"

enum { KEYS = 300, STEPS = 100000 };

struct fixture {
    struct map map;
    void *model[KEYS];
    size_t count;
    uint64_t random;
};

static uint64_t draw(struct fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

/* Far apart, close together, and zero. */
static uint64_t key_of(size_t i)
{
    return i % 2 == 0 ? i : UINT64_MAX / KEYS * i;
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){.random = 88172645463325252};
    map_init(&f.map);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    map_fini(&f->map);
    return fault_mem_live() == 0 ? 0 : -1;
}

static void step(struct fixture *f)
{
    size_t i = draw(f) % KEYS;
    void *value = (char *)f + 1 + draw(f) % 1000;

    if (draw(f) % 3 == 0) {
        assert_ptr_equal(map_remove(&f->map, key_of(i)), f->model[i]);
        f->count -= f->model[i] != NULL;
        f->model[i] = NULL;
    } else if (f->model[i] != NULL) {
        assert_int_equal(map_put(&f->map, key_of(i), value), KV_EEXIST);
    } else {
        assert_int_equal(map_put(&f->map, key_of(i), value), KV_OK);
        f->model[i] = value;
        f->count++;
    }
}

static void expect_the_model(struct fixture *f)
{
    size_t at = 0, walked = 0;
    uint64_t key;
    void *value;

    assert_int_equal(f->map.count, f->count);
    for (size_t i = 0; i < KEYS; i++) {
        assert_ptr_equal(map_get(&f->map, key_of(i)), f->model[i]);
    }
    while ((value = map_next(&f->map, &at, &key)) != NULL) {
        assert_ptr_equal(map_get(&f->map, key), value);
        walked++;
    }
    assert_int_equal(walked, f->count);
}

static void test_it_agrees_with_a_plain_array(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < STEPS; i++) {
        step(f);
        if (i % 500 == 0) {
            expect_the_model(f);
        }
    }
    expect_the_model(f);
}

static void test_an_empty_map_has_nothing(void **state)
{
    struct fixture *f = *state;
    size_t at = 0;

    assert_null(map_get(&f->map, 0));
    assert_null(map_remove(&f->map, 0));
    assert_null(map_next(&f->map, &at, NULL));
    assert_int_equal(fault_mem_live(), 0);
}

static void test_without_memory_nothing_changes(void **state)
{
    struct fixture *f = *state;
    uint64_t full = 0;

    while (map_put(&f->map, full, f) == KV_OK) {
        fault_mem_fail_from(++full >= 12 ? 1 : 0);
    }
    assert_int_equal(full, 12); /* Three quarters of 16. */
    assert_int_equal(f->map.count, 12);
    fault_mem_fail(0);
    for (uint64_t key = 0; key < full; key++) {
        assert_ptr_equal(map_get(&f->map, key), f);
    }
    assert_int_equal(map_put(&f->map, full, f), KV_OK);
}

static void test_reserved_room_cannot_fail(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map_reserve(&f->map, 1000), KV_OK);
    fault_mem_fail_from(1);
    for (uint64_t key = 0; key < 1000; key++) {
        assert_int_equal(map_put(&f->map, key, f), KV_OK);
    }
    fault_mem_fail(0);
    assert_int_equal(map_reserve(&f->map, SIZE_MAX), KV_ENOMEM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_agrees_with_a_plain_array),
        TEST(test_an_empty_map_has_nothing),
        TEST(test_without_memory_nothing_changes),
        TEST(test_reserved_room_cannot_fail),
    };

    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
