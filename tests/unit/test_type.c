/* type: the kinds of store, by exact name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/type.h"

static const struct type *found;
static char error[256];

static void expect_find(const char *name, enum kv_status status)
{
    found = NULL;
    error[0] = '\0';
    assert_string_equal(
        kv_strstatus(type_find(name, &found, error, sizeof error)),
        kv_strstatus(status));
}

static void expect_words(const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strstr(error, *words) == NULL) {
            fail_msg("'%s' does not say '%s'", error, *words);
        }
    }
}

static void test_built_kinds_have_a_policy(void **state)
{
    (void)state;
    expect_find("dist_sync", KV_OK);
    assert_int_equal(found->policy, KV_POLICY_SYNC);
    expect_find("dist_async", KV_OK);
    assert_int_equal(found->policy, KV_POLICY_ASYNC);
}

static void test_names_of_mxnet_stand_for_the_same_kinds(void **state)
{
    (void)state;
    expect_find("dist", KV_OK);
    assert_string_equal(found->name, "dist_sync");
}

static void test_other_kinds_are_not_built_yet(void **state)
{
    static const char *const names[] = {"local",
                                        "device",
                                        "nccl",
                                        "local_update_cpu",
                                        "local_allreduce_cpu",
                                        "local_allreduce_device",
                                        "dist_device_sync",
                                        "dist_sync_device",
                                        "dist_device_async",
                                        "dist_async_device"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *words[] = {names[i], "not built yet", NULL};

        expect_find(names[i], KV_ENOTSUP);
        expect_words(words);
    }
}

static void test_an_unknown_kind_is_told_what_there_is(void **state)
{
    static const char *const names[] = {"", "dist_snc", "DIST_SYNC",
                                        "dist_sync ", "my_dist_sync"};
    static const char *const words[] = {"unknown", "dist_sync, dist_async",
                                        "local", "nccl", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_find(names[i], KV_EINVAL);
        expect_words(words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_kinds_have_a_policy),
        cmocka_unit_test(test_names_of_mxnet_stand_for_the_same_kinds),
        cmocka_unit_test(test_other_kinds_are_not_built_yet),
        cmocka_unit_test(test_an_unknown_kind_is_told_what_there_is),
    };

    return cmocka_run_group_tests_name("type", tests, NULL, NULL);
}
