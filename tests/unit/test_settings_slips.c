/* A variable that is nearly an option's does nothing, and that is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/config_options.h"
#include "worker/options.h"

static char text[SETTINGS_ERROR_MAX];

static int set_up(void **state)
{
    (void)state;
    clearenv();
    return 0;
}

static size_t slips(const char *variable)
{
    size_t count;

    setenv(variable, "1", 1);
    count = settings_env_slips(config_options, "KV_", text, sizeof text);
    unsetenv(variable);
    return count;
}

static void expect_meant(const char *variable, const char *meant)
{
    char right[200];

    snprintf(right, sizeof right, "%s (is %s meant?)", variable, meant);
    assert_int_equal(slips(variable), 1);
    assert_string_equal(text, right);
}

static void test_one_wrong_letter_is_a_slip(void **state)
{
    (void)state;
    expect_meant("KV_KEYFILE", "KV_KEY_FILE");
    expect_meant("KV_KEY_FILES", "KV_KEY_FILE");
    expect_meant("KV_KEY_FIKE", "KV_KEY_FILE");
    expect_meant("KV_EKY_FILE", "KV_KEY_FILE");
    expect_meant("KV_ROOTS", "KV_ROOT");
    expect_meant("KV_ROO", "KV_ROOT");
    expect_meant("KV_HARDS", "KV_SHARDS");
}

static void test_anything_else_may_be_meant_for_others(void **state)
{
    static const char *const others[] = {
        "KV_ROOT",     "KV_",       "KV_R",         "KV_KY_FILES",
        "KV_FILE_KEY", "XKV_ROOTS", "KV_OWN_THING", "ROOTS"};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(slips(others[i]), 0);
    }
}

static void test_all_are_named_as_far_as_there_is_room(void **state)
{
    char small[40];

    (void)state;
    setenv("KV_ROOTS", "1", 1);
    setenv("KV_JOBS", "", 1);
    assert_int_equal(
        settings_env_slips(config_options, "KV_", text, sizeof text), 2);
    assert_non_null(strstr(text, "KV_ROOTS (is KV_ROOT meant?)"));
    assert_non_null(strstr(text, ", "));
    assert_non_null(strstr(text, "KV_JOBS (is KV_JOB meant?)"));
    assert_int_equal(
        settings_env_slips(config_options, "KV_", small, sizeof small), 2);
    assert_int_equal(strlen(small), sizeof small - 1);
}

/* A job's environment is the same for servers and workers. */
static void expect_no_slips(const struct setting *from,
                            const struct setting *to)
{
    clearenv();
    for (const struct setting *s = from; s->name != NULL; s++) {
        char variable[SETTINGS_VARIABLE_MAX];

        settings_variable("KV_", s->name, variable);
        setenv(variable, "1", 1);
    }
    text[0] = '\0';
    settings_env_slips(to, "KV_", text, sizeof text);
    assert_string_equal(text, "");
}

static void test_no_option_of_one_side_is_a_slip_on_the_other(void **state)
{
    (void)state;
    expect_no_slips(config_options, options_table);
    expect_no_slips(options_table, config_options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_wrong_letter_is_a_slip, set_up),
        cmocka_unit_test_setup(test_anything_else_may_be_meant_for_others,
                               set_up),
        cmocka_unit_test_setup(test_all_are_named_as_far_as_there_is_room,
                               set_up),
        cmocka_unit_test_setup(
            test_no_option_of_one_side_is_a_slip_on_the_other, set_up),
    };

    return cmocka_run_group_tests_name("settings_slips", tests, NULL, NULL);
}
