/* status: the vocabulary is complete, stable, and translated once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <uv.h>

#include "common/base/status.h"

static void test_values_never_move(void **state)
{
    (void)state;
    assert_int_equal(KV_OK, 0);
    assert_int_equal(KV_ENOTFOUND, -8);
    assert_int_equal(KV_EBUSY, -18);
    assert_int_equal(KV_ENONFINITE, -19);
}

static void test_each_status_has_its_own_words(void **state)
{
    (void)state;
    for (int a = KV_ENONFINITE; a <= 0; a++) {
        assert_true(kv_status_known(a));
        for (int b = KV_ENONFINITE; b < a; b++) {
            assert_string_not_equal(kv_strstatus((enum kv_status)a),
                                    kv_strstatus((enum kv_status)b));
        }
    }
}

static void test_what_a_peer_invents_is_not_known(void **state)
{
    (void)state;
    assert_false(kv_status_known(1));
    assert_false(kv_status_known(KV_ENONFINITE - 1));
    assert_false(kv_status_known(INT32_MIN));
    assert_string_equal(kv_strstatus((enum kv_status)1), "unknown status");
}

static void test_errors_of_libuv_become_ours(void **state)
{
    (void)state;
    assert_int_equal(kv_status_from_uv(0), KV_OK);
    assert_int_equal(kv_status_from_uv(UV_ENOMEM), KV_ENOMEM);
    assert_int_equal(kv_status_from_uv(UV_ECANCELED), KV_ECANCELED);
    assert_int_equal(kv_status_from_uv(UV_EADDRINUSE), KV_EBUSY);
    assert_int_equal(kv_status_from_uv(UV_ECONNRESET), KV_ECONN);
    assert_int_equal(kv_status_from_uv(UV_EOF), KV_ECONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_never_move),
        cmocka_unit_test(test_each_status_has_its_own_words),
        cmocka_unit_test(test_what_a_peer_invents_is_not_known),
        cmocka_unit_test(test_errors_of_libuv_become_ours),
    };

    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
