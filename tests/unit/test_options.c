/* options: text over KV_* over DMLC_*, and sentences for what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "worker/options.h"

static struct options o;
static char error[512];

static const char *const variables[] = {
    "KV_ROOT",        "KV_RANK",        "KV_WORKERS",       "KV_JOB",
    "KV_KEY_FILE",    "KV_INCARNATION", "KV_TIMEOUT",       "KV_COMPRESSION",
    "KV_LOG",         "KV_THREADS",     "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT",
    "DMLC_WORKER_ID", "DMLC_RANK",      "DMLC_NUM_WORKER",  "DMLC_ROLE",
    "PS_VERBOSE"};

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        unsetenv(variables[i]);
    }
    return 0;
}

static void expect(const char *text, enum kv_status status)
{
    error[0] = '\0';
    assert_string_equal(
        kv_strstatus(options_read(&o, text, error, sizeof error)),
        kv_strstatus(status));
}

static void expect_word(const char *word)
{
    if (strstr(error, word) == NULL) {
        fail_msg("'%s' does not say '%s'", error, word);
    }
}

static void test_defaults_are_a_server_on_this_machine(void **state)
{
    static const unsigned char zero[HANDSHAKE_KEY_SIZE];

    (void)state;
    expect(NULL, KV_OK);
    assert_string_equal(o.root, "127.0.0.1:9091");
    assert_true(o.rank == OPTIONS_NONE);
    assert_true(o.workers == OPTIONS_NONE);
    assert_true(o.timeout_s == 60);
    assert_int_equal(o.threads, 0);
    assert_int_equal(o.log_level, LOG_WARN);
    assert_memory_equal(o.key, zero, sizeof o.key);
    assert_memory_equal(o.job, zero, sizeof o.job);
    assert_true(o.incarnation > 0);
}

static void test_a_later_life_has_a_larger_number(void **state)
{
    uint64_t before;

    (void)state;
    expect(NULL, KV_OK);
    before = o.incarnation;
    usleep(2);
    expect(NULL, KV_OK);
    assert_true(o.incarnation > before);
}

static void test_text_wins_over_environment_over_dmlc(void **state)
{
    (void)state;
    setenv("DMLC_PS_ROOT_URI", "10.0.0.1", 1);
    setenv("DMLC_PS_ROOT_PORT", "9000", 1);
    setenv("DMLC_WORKER_ID", "1", 1);
    setenv("DMLC_NUM_WORKER", "4", 1);
    expect("", KV_OK);
    assert_string_equal(o.root, "10.0.0.1:9000");
    assert_int_equal(o.rank, 1);
    assert_int_equal(o.workers, 4);

    setenv("DMLC_RANK", "5", 1);
    expect("", KV_OK);
    assert_int_equal(o.rank, 5);

    setenv("KV_ROOT", "host:1", 1);
    setenv("KV_RANK", "2", 1);
    setenv("KV_THREADS", "3", 1);
    expect("", KV_OK);
    assert_string_equal(o.root, "host:1");
    assert_int_equal(o.rank, 2);
    assert_int_equal(o.threads, 3);

    expect("rank=3,root=[::1]:7", KV_OK);
    assert_string_equal(o.root, "[::1]:7");
    assert_int_equal(o.rank, 3);
    assert_int_equal(o.workers, 4);
}

static void test_an_ipv6_host_gets_its_brackets(void **state)
{
    (void)state;
    setenv("DMLC_PS_ROOT_URI", "fe80::1", 1);
    setenv("DMLC_PS_ROOT_PORT", "9000", 1);
    expect(NULL, KV_OK);
    assert_string_equal(o.root, "[fe80::1]:9000");
}

static void test_a_root_of_dmlc_that_is_too_long_is_refused(void **state)
{
    char host[KV_ADDRESS_MAX + 1];

    (void)state;
    memset(host, 'h', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    setenv("DMLC_PS_ROOT_URI", host, 1);
    setenv("DMLC_PS_ROOT_PORT", "9000", 1);
    expect(NULL, KV_EINVAL);
    expect_word("DMLC_PS_ROOT_URI");
}

static void test_only_a_worker_opens_a_store(void **state)
{
    (void)state;
    setenv("DMLC_ROLE", "worker", 1);
    expect(NULL, KV_OK);
    setenv("DMLC_ROLE", "", 1);
    expect(NULL, KV_OK);
    setenv("DMLC_ROLE", "server", 1);
    expect(NULL, KV_EINVAL);
    expect_word("run kvstored in its place");
    setenv("DMLC_ROLE", "scheduler", 1);
    expect(NULL, KV_EINVAL);
    expect_word("server 0");
    setenv("DMLC_ROLE", "boss", 1);
    expect(NULL, KV_EINVAL);
    expect_word("'boss'");
}

static void test_ps_verbose_is_a_level_of_the_log(void **state)
{
    (void)state;
    setenv("PS_VERBOSE", "0", 1);
    expect(NULL, KV_OK);
    assert_int_equal(o.log_level, LOG_WARN);
    setenv("PS_VERBOSE", "1", 1);
    expect(NULL, KV_OK);
    assert_int_equal(o.log_level, LOG_INFO);
    setenv("PS_VERBOSE", "2", 1);
    expect(NULL, KV_OK);
    assert_int_equal(o.log_level, LOG_DEBUG);
    setenv("KV_LOG", "error", 1);
    expect(NULL, KV_OK);
    assert_int_equal(o.log_level, LOG_ERROR);
}

static void test_all_options_have_a_name_in_the_text(void **state)
{
    (void)state;
    expect("workers=2,incarnation=9,timeout=1.5,compression=type=fp16,"
           "log=debug,job=00112233445566778899aAbBcCdDeEfF",
           KV_OK);
    assert_int_equal(o.workers, 2);
    assert_int_equal(o.incarnation, 9);
    assert_true(o.timeout_s == 1.5);
    assert_string_equal(o.compression, "type=fp16");
    assert_int_equal(o.log_level, LOG_DEBUG);
    assert_int_equal(o.job[0], 0x00);
    assert_int_equal(o.job[1], 0x11);
    assert_int_equal(o.job[15], 0xff);
}

static void test_wrong_options_are_named_with_their_value(void **state)
{
    static const struct {
        const char *text, *word, *word2;
    } wrong[] = {
        {"rank", "rank", "name=value"},
        {"=3", "=3", "name=value"},
        {"rnk=3", "rnk", "option"},
        {"rank=-1", "rank", "-1"},
        {"rank=1024", "rank", "1024"},
        {"workers=0", "workers", "0"},
        {"log=loud", "log", "loud"},
        {"timeout=soon", "timeout", "soon"},
        {"root=localhost", "localhost", "host:port"},
        {"root=::1:80", "::1:80", "host:port"},
        {"root=a:0", "a:0", "host:port"},
        {"root=a:65536", "a:65536", "host:port"},
        {"job=12", "job", "32"},
        {"job=zz112233445566778899aAbBcCdDeEfF", "job", "hexadecimal"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        expect(wrong[i].text, KV_EINVAL);
        expect_word(wrong[i].word);
        expect_word(wrong[i].word2);
    }
}

static void test_a_wrong_variable_is_named(void **state)
{
    (void)state;
    setenv("KV_RANK", "first", 1);
    expect(NULL, KV_EINVAL);
    expect_word("KV_RANK");
    expect_word("first");
}

static void test_the_key_comes_from_its_file(void **state)
{
    char path[] = "/tmp/test_options.XXXXXX", text[64];
    unsigned char key[HANDSHAKE_KEY_SIZE];
    int fd = mkstemp(path);

    (void)state;
    for (size_t i = 0; i < sizeof key; i++) {
        key[i] = (unsigned char)(i + 1);
    }
    assert_true(fd >= 0);
    assert_int_equal(write(fd, key, sizeof key), sizeof key);
    close(fd);
    snprintf(text, sizeof text, "key_file=%s", path);
    expect(text, KV_OK);
    assert_memory_equal(o.key, key, sizeof key);
    unlink(path);
    assert_true(options_read(&o, text, error, sizeof error) != KV_OK);
    expect_word(path);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults_are_a_server_on_this_machine),
        TEST(test_a_later_life_has_a_larger_number),
        TEST(test_text_wins_over_environment_over_dmlc),
        TEST(test_an_ipv6_host_gets_its_brackets),
        TEST(test_a_root_of_dmlc_that_is_too_long_is_refused),
        TEST(test_only_a_worker_opens_a_store),
        TEST(test_ps_verbose_is_a_level_of_the_log),
        TEST(test_all_options_have_a_name_in_the_text),
        TEST(test_wrong_options_are_named_with_their_value),
        TEST(test_a_wrong_variable_is_named),
        TEST(test_the_key_comes_from_its_file),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
