/* kind: the kinds of store, by exact name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/kind.h"

static const struct kind *found;
static char error[512];

static void expect_find(const char *name, enum kv_status status)
{
    found = NULL;
    error[0] = '\0';
    assert_string_equal(
        kv_strstatus(kind_find(name, &found, error, sizeof error)),
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

static void test_dist_kinds_have_a_policy(void **state)
{
    static const struct {
        const char *name;
        uint32_t policy;
    } right[] = {
        {"dist_sync", KV_POLICY_SYNC},
        {"dist_async", KV_POLICY_ASYNC},
        {"dist_device_sync", KV_POLICY_SYNC},
        {"dist_device_async", KV_POLICY_ASYNC},
    };

    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        expect_find(right[i].name, KV_OK);
        assert_string_equal(found->name, right[i].name);
        assert_int_equal(found->policy, right[i].policy);
    }
}

static void test_names_of_mxnet_stand_for_the_same_kinds(void **state)
{
    static const struct {
        const char *name, *stands_for;
    } right[] = {
        {"dist", "dist_sync"},
        {"dist_device", "dist_device_sync"},
        {"dist_sync_device", "dist_device_sync"},
        {"dist_async_device", "dist_device_async"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        expect_find(right[i].name, KV_OK);
        assert_string_equal(found->name, right[i].stands_for);
    }
}

static void test_kinds_for_gpus_say_what_is_missing(void **state)
{
    static const char *const names[] = {"device", "nccl",
                                        "local_allreduce_device"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *words[] = {names[i], "CUDA", "local", NULL};

        expect_find(names[i], KV_EDEVICE);
        expect_words(words);
    }
}

static void test_an_unknown_kind_is_told_what_there_is(void **state)
{
    static const char *const names[] = {"", "dist_snc", "dist_sync ",
                                        "my_dist_sync"};
    static const char *const words[] = {
        "unknown", "known: ",          "device", "dist_async", "dist_sync",
        "local",   "dist_device_sync", "nccl",   NULL};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_find(names[i], KV_EINVAL);
        expect_words(words);
    }
}

static void test_case_does_not_matter(void **state)
{
    char name[KIND_NAME_MAX + 1];

    (void)state;
    kind_spell("Dist_SYNC", name);
    assert_string_equal(name, "dist_sync");
    kind_spell(
        "A_NAME_THAT_IS_LONGER_THAN_THE_LONGEST_NAME_OF_ANY_KIND_OF_STORE_"
        "THERE_IS",
        name);
    assert_int_equal(strlen(name), KIND_NAME_MAX);
    expect_find(name, KV_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dist_kinds_have_a_policy),
        cmocka_unit_test(test_names_of_mxnet_stand_for_the_same_kinds),
        cmocka_unit_test(test_kinds_for_gpus_say_what_is_missing),
        cmocka_unit_test(test_an_unknown_kind_is_told_what_there_is),
        cmocka_unit_test(test_case_does_not_matter),
    };

    return cmocka_run_group_tests_name("kind", tests, NULL, NULL);
}
