/* scratch: aligned, bounded, reusable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/scratch.h"

static _Alignas(16) char block[100];

static void test_pieces_are_aligned_and_apart(void **state)
{
    struct scratch s;
    char *a, *b;

    (void)state;
    scratch_init(&s, block, sizeof block);
    a = scratch_alloc(&s, 1);
    b = scratch_alloc(&s, 20);
    assert_ptr_equal(a, block);
    assert_ptr_equal(b, block + 16);
    assert_int_equal(s.used, 36);
}

static void test_a_full_block_refuses(void **state)
{
    struct scratch s;

    (void)state;
    scratch_init(&s, block, sizeof block);
    assert_null(scratch_alloc(&s, SIZE_MAX));
    assert_null(scratch_alloc(&s, sizeof block + 1));
    assert_non_null(scratch_alloc(&s, sizeof block));
    assert_null(scratch_alloc(&s, 1));
    assert_null(scratch_alloc(&s, 0)); /* Alignment is past the end. */
    scratch_reset(&s);
    assert_ptr_equal(scratch_alloc(&s, 1), block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_apart),
        cmocka_unit_test(test_a_full_block_refuses),
    };

    return cmocka_run_group_tests_name("scratch", tests, NULL, NULL);
}
