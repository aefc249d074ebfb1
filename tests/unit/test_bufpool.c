/* bufpool: classes, reuse, the limit on idle memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/bufpool.h"
#include "common/base/mem.h"
#include "tests/fakes/fault_mem.h"

enum { IDLE_MAX = 1 << 20 };

static int set_up(void **state)
{
    static struct bufpool p;

    bufpool_init(&p, IDLE_MAX);
    *state = &p;
    return 0;
}

static int tear_down(void **state)
{
    bufpool_fini(*state);
    return fault_mem_live() == 0 ? 0 : -1;
}

static void test_a_buffer_holds_what_was_asked_and_wastes_little(void **state)
{
    struct bufpool *p = *state;

    for (size_t size = 1; size < (size_t)8 << 20; size += size / 7 + 1) {
        struct buffer *b = bufpool_get(p, size);

        assert_non_null(b);
        assert_true(b->capacity >= size);
        assert_true(b->capacity <= BUFPOOL_SIZE_MIN ||
                    b->capacity / 3 * 2 <= size);
        assert_int_equal((uintptr_t)b->data % 64, 0);
        b->data[0] = 1;
        b->data[b->capacity - 1] = 1;
        bufpool_put(p, b);
    }
}

static void test_exact_sizes_fit_exactly(void **state)
{
    struct bufpool *p = *state;
    static const size_t sizes[] = {4096, 6144, 8192, 12288, 1 << 20, 3 << 19};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buffer *b = bufpool_get(p, sizes[i]);

        assert_int_equal(b->capacity, sizes[i]);
        bufpool_put(p, b);
    }
}

static void test_a_returned_buffer_is_used_again(void **state)
{
    struct bufpool *p = *state;
    struct buffer *b = bufpool_get(p, 10000);
    uint64_t before;

    bufpool_put(p, b);
    assert_int_equal(p->idle_bytes, b->capacity);
    before = mem_allocations();
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(bufpool_get(p, 9000), b);
        assert_int_equal(p->out_count, 1);
        assert_int_equal(p->out_bytes, b->capacity);
        assert_int_equal(p->idle_bytes, 0);
        bufpool_put(p, b);
    }
    assert_int_equal(mem_allocations(), before);
}

static void test_idle_memory_is_limited(void **state)
{
    struct bufpool *p = *state;
    struct buffer *b[5];

    for (int i = 0; i < 5; i++) {
        b[i] = bufpool_get(p, IDLE_MAX / 4);
    }
    for (int i = 0; i < 5; i++) {
        bufpool_put(p, b[i]);
    }
    assert_int_equal(p->idle_bytes, IDLE_MAX);
    assert_int_equal(fault_mem_live(), 4);
    assert_int_equal(p->out_bytes, 0);
}

static void test_without_memory_it_says_so(void **state)
{
    struct bufpool *p = *state;

    fault_mem_fail(1);
    assert_null(bufpool_get(p, 1));
    assert_int_equal(p->out_count, 0);
    assert_null(bufpool_get(p, BUFPOOL_SIZE_MAX + 1));
    assert_null(bufpool_get(p, SIZE_MAX));
    bufpool_put(p, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_buffer_holds_what_was_asked_and_wastes_little),
        TEST(test_exact_sizes_fit_exactly),
        TEST(test_a_returned_buffer_is_used_again),
        TEST(test_idle_memory_is_limited),
        TEST(test_without_memory_it_says_so),
    };

    return cmocka_run_group_tests_name("bufpool", tests, NULL, NULL);
}
