/* mem: alignment, zero sizes, overflow, counting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include <stdint.h>

static void test_alignment_is_as_asked(void **state)
{
    (void)state;
    for (size_t align = MEM_ALIGN_MIN; align <= MEM_ALIGN_MAX; align *= 2) {
        void *p = mem_aligned(align, 3);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        mem_free(p);
    }
}

static void test_nothing_is_not_failure(void **state)
{
    void *pieces[] = {mem_alloc(0), mem_zalloc(0, 8), mem_zalloc(8, 0),
                      mem_realloc(NULL, 0), mem_aligned(64, 0)};

    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        assert_non_null(pieces[i]);
        mem_free(pieces[i]);
    }
    mem_free(NULL);
}

static void test_an_overflowing_product_is_refused(void **state)
{
    (void)state;
    assert_null(mem_zalloc(SIZE_MAX / 2, 3));
}

static void test_each_request_counts(void **state)
{
    uint64_t before = mem_allocations();
    char *p = mem_alloc(1);

    (void)state;
    p = mem_realloc(p, 2);
    mem_free(p);
    p = mem_strdup("word");
    assert_string_equal(p, "word");
    mem_free(p);
    mem_free(mem_zalloc(1, 1));
    mem_free(mem_aligned(64, 1));
    assert_int_equal(mem_allocations() - before, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment_is_as_asked),
        cmocka_unit_test(test_nothing_is_not_failure),
        cmocka_unit_test(test_an_overflowing_product_is_refused),
        cmocka_unit_test(test_each_request_counts),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
