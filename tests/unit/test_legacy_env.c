/* legacy_env: what is set and does nothing is said, once, with what to use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/legacy_env.h"

static char text[900];

static int set_up(void **state)
{
    (void)state;
    memset(text, 0, sizeof text);
    clearenv();
    return 0;
}

static size_t said(enum legacy_side side)
{
    text[0] = '\0';
    return legacy_env_text(side, text, sizeof text);
}

static void test_what_a_launcher_sets_needs_no_word(void **state)
{
    (void)state;
    setenv("DMLC_ROLE", "worker", 1);
    setenv("DMLC_PS_ROOT_URI", "10.0.0.1", 1);
    setenv("DMLC_PS_ROOT_PORT", "9091", 1);
    setenv("DMLC_NUM_WORKER", "2", 1);
    setenv("DMLC_NUM_SERVER", "2", 1);
    setenv("DMLC_RANK", "1", 1);
    setenv("DMLC_WORKER_ID", "1", 1);
    setenv("DMLC_SERVER_ID", "1", 1);
    setenv("DMLC_NODE_HOST", "10.0.0.2", 1);
    setenv("DMLC_JOB_CLUSTER", "local", 1);
    assert_int_equal(said(LEGACY_WORKER), 0);
    assert_int_equal(said(LEGACY_SERVER), 0);
    assert_string_equal(text, "");
}

static void test_half_of_an_address_is_named(void **state)
{
    char address[64];

    (void)state;
    setenv("DMLC_PS_ROOT_URI", "10.0.0.1", 1);
    setenv("DMLC_PS_ROOT_PORT", "", 1);
    setenv("PS_RESEND", "1", 1);
    assert_int_equal(said(LEGACY_WORKER), 2);
    assert_string_equal(text,
                        "DMLC_PS_ROOT_URI (DMLC_PS_ROOT_PORT is not set); "
                        "PS_RESEND (not needed: nothing is lost, workers send "
                        "again by themselves)");
    assert_false(legacy_env_root(address, sizeof address));
    unsetenv("DMLC_PS_ROOT_URI");
    setenv("DMLC_PS_ROOT_PORT", "9091", 1);
    said(LEGACY_SERVER);
    assert_non_null(
        strstr(text, "DMLC_PS_ROOT_PORT (DMLC_PS_ROOT_URI is not set)"));
}

static void test_each_is_named_with_what_to_use_instead(void **state)
{
    (void)state;
    setenv("PS_RESEND_TIMEOUT", "500", 1);
    setenv("MXNET_KVSTORE_BIGARRAY_BOUND", "1000", 1);
    setenv("PS_RESEND", "1", 1);
    assert_int_equal(said(LEGACY_WORKER), 3);
    assert_string_equal(
        text, "PS_RESEND, PS_RESEND_TIMEOUT (not needed: nothing is lost, "
              "workers send again by themselves); MXNET_KVSTORE_BIGARRAY_BOUND "
              "(values are cut by kvstored --slice-bytes)");
}

static void test_a_side_has_its_own_advice(void **state)
{
    (void)state;
    setenv("DMLC_INTERFACE", "eth0", 1);
    assert_int_equal(said(LEGACY_WORKER), 1);
    assert_string_equal(
        text, "DMLC_INTERFACE (not needed: a worker listens nowhere)");
    assert_int_equal(said(LEGACY_SERVER), 1);
    assert_non_null(strstr(text, "--listen"));
}

static void test_asking_for_what_is_so_needs_no_word(void **state)
{
    static const char *const fine[][2] = {{"DMLC_PS_VAN_TYPE", "p3"},
                                          {"DMLC_PS_VAN_TYPE", "zmq"},
                                          {"PS_RESEND", "0"},
                                          {"DMLC_LOCAL", ""}};

    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        setenv(fine[i][0], fine[i][1], 1);
        assert_int_equal(said(LEGACY_WORKER), 0);
    }
    setenv("DMLC_PS_VAN_TYPE", "ibverbs", 1);
    assert_int_equal(said(LEGACY_WORKER), 1);
    assert_string_equal(text, "DMLC_PS_VAN_TYPE (links are TCP)");
}

static void test_what_does_not_fit_is_counted(void **state)
{
    char small[160] = "";

    (void)state;
    setenv("PS_RESEND", "1", 1);
    setenv("PS_HEARTBEAT_TIMEOUT", "5", 1);
    setenv("DMLC_NUM_PORTS", "2", 1);
    setenv("DMLC_LOCAL", "1", 1);
    setenv("DMLC_PS_WATER_MARK", "10", 1);
    assert_int_equal(legacy_env_text(LEGACY_WORKER, small, sizeof small), 5);
    assert_string_equal(small,
                        "PS_RESEND (not needed: nothing is lost, workers send "
                        "again by themselves); DMLC_LOCAL, DMLC_NUM_PORTS "
                        "(links are TCP); and 2 more");
}

static void test_a_process_says_it_once(void **state)
{
    int ends[2], before = dup(STDERR_FILENO);
    ssize_t size;

    (void)state;
    setenv("PS_RESEND", "1", 1);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    legacy_env_warn(LEGACY_WORKER);
    legacy_env_warn(LEGACY_WORKER);
    dup2(before, STDERR_FILENO);
    close(before);
    close(ends[1]);
    size = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    assert_true(size > 0);
    assert_ptr_equal(strstr(text, "warn: set in the environment"), text);
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_a_launcher_sets_needs_no_word),
        TEST(test_half_of_an_address_is_named),
        TEST(test_each_is_named_with_what_to_use_instead),
        TEST(test_a_side_has_its_own_advice),
        TEST(test_asking_for_what_is_so_needs_no_word),
        TEST(test_what_does_not_fit_is_counted),
        TEST(test_a_process_says_it_once),
    };

    return cmocka_run_group_tests_name("legacy_env", tests, NULL, NULL);
}
