/* settings: file, environment, flags and pairs, and which of them wins. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/settings_fixture.h"

/* --- Steps --------------------------------------------------------------- */

static enum kv_status from_bytes(struct fixture *f, const char *text,
                                 size_t size)
{
    char path[] = "/tmp/test_settings_XXXXXX";
    int fd = mkstemp(path);
    enum kv_status status;
    char *where;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
    status = settings_file(table, &f->config, path, &f->error);
    unlink(path);
    where = strstr(f->error.text, path);
    if (where != NULL) { /* So that a test can name the sentence. */
        memmove(where, where + strlen(path), strlen(where + strlen(path)) + 1);
    }
    return status;
}

static enum kv_status from_file(struct fixture *f, const char *text)
{
    return from_bytes(f, text, strlen(text));
}

static enum kv_status flags(struct fixture *f, int *used, char **argv)
{
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    return settings_flags(table, &f->config, argc, argv, used, &f->error);
}

#define FLAGS(f, used, ...)                                                    \
    flags((f), (used), (char *[]){"prog", __VA_ARGS__, NULL})

/* --- Tests --------------------------------------------------------------- */

static void test_a_file_has_comments_blanks_and_either_dash(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(from_file(f, "# comment\n\n  shard_count =  7  \r\n"
                                  "slice-bytes=1M\nbind = a=b"),
                     KV_OK);
    assert_int_equal(f->config.shard_count, 7);
    assert_int_equal(f->config.slice_bytes, 1 << 20);
    assert_string_equal(f->config.bind, "a=b");
}

static void test_a_bad_line_is_named_by_number(void **state)
{
    struct fixture *f = *state;
    char text[3000];

    assert_int_equal(from_file(f, "quiet = yes\nshards 7\n"), KV_EINVAL);
    assert_string_equal(f->error.text,
                        ":2: 'shards 7' is no line of the form key = value");
    assert_int_equal(from_file(f, "\n\nshards = 7\n"), KV_EINVAL);
    assert_string_equal(f->error.text,
                        ":3: there is no option 'shards'; there are " OPTIONS);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(from_file(f, text), KV_EINVAL);
    assert_string_equal(f->error.text, ":1: the line is too long");
}

static void test_no_byte_of_a_file_is_passed_over(void **state)
{
    static const char text[] = "quiet = yes\nquiet = yes\0and more\n";
    struct fixture *f = *state;

    assert_int_equal(from_bytes(f, text, sizeof text - 1), KV_EINVAL);
    assert_string_equal(f->error.text, ":2: the line has a byte 0 in it");
}

static void test_a_file_that_cannot_be_read_is_an_error(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(settings_file(table, &f->config, "/nowhere", &f->error),
                     KV_EINVAL);
    assert_string_equal(f->error.text,
                        "cannot read /nowhere: No such file or directory");
    assert_int_equal(settings_file(table, &f->config, "/", &f->error),
                     KV_EINVAL);
}

static void test_the_environment_is_read_by_prefix(void **state)
{
    struct fixture *f = *state;

    setenv("TESTKV_SHARD_COUNT", "9", 1);
    setenv("TESTKV_UNKNOWN", "9", 1);
    assert_int_equal(settings_env(table, &f->config, "TESTKV_", &f->error),
                     KV_OK);
    assert_int_equal(f->config.shard_count, 9);
    setenv("TESTKV_SHARD_COUNT", "many", 1);
    assert_int_equal(settings_env(table, &f->config, "TESTKV_", &f->error),
                     KV_EINVAL);
    assert_string_equal(f->error.text,
                        "TESTKV_SHARD_COUNT: 'shard-count' is 'many', but must "
                        "be a whole number from 1 to 64");
    unsetenv("TESTKV_SHARD_COUNT");
    unsetenv("TESTKV_UNKNOWN");
}

static void test_flags_come_in_both_spellings(void **state)
{
    struct fixture *f = *state;
    int used;

    assert_int_equal(
        FLAGS(f, &used, "--shard-count", "3", "--bind=x", "--quiet", "file"),
        KV_OK);
    assert_int_equal(used, 5);
    assert_int_equal(f->config.shard_count, 3);
    assert_string_equal(f->config.bind, "x");
    assert_true(f->config.quiet);
    assert_int_equal(FLAGS(f, &used, "--no-quiet", "--", "--bind"), KV_OK);
    assert_int_equal(used, 2);
    assert_false(f->config.quiet);
    assert_int_equal(FLAGS(f, &used, "--quiet=no", "--bind="), KV_OK);
    assert_string_equal(f->config.bind, "");
}

static void test_bad_flags_are_sentences(void **state)
{
    struct fixture *f = *state;
    int used = 77;

    assert_int_equal(FLAGS(f, &used, "--bind"), KV_EINVAL);
    assert_string_equal(f->error.text, "--bind needs a value");
    assert_int_equal(FLAGS(f, &used, "--wings", "2"), KV_EINVAL);
    assert_string_equal(
        f->error.text,
        "command line: there is no option 'wings'; there are " OPTIONS);
    assert_int_equal(FLAGS(f, &used, "--wings"), KV_EINVAL);
    assert_string_equal(
        f->error.text,
        "command line: there is no option 'wings'; there are " OPTIONS);
    assert_int_equal(FLAGS(f, &used, "--=3"), KV_EINVAL);
    assert_string_equal(f->error.text, "'--=3' is no option");
    assert_int_equal(used, 77);
}

static void test_one_flag_can_be_seen_before_the_rest(void **state)
{
    char *argv[] = {"prog", "--bind", "x", "--config=a", "--", "--rate=1"};

    (void)state;
    assert_string_equal(settings_peek(6, argv, "config"), "a");
    assert_string_equal(settings_peek(6, argv, "bind"), "x");
    assert_null(settings_peek(6, argv, "bin"));
    assert_null(settings_peek(6, argv, "rate"));
}

static void test_pairs_are_split(void **state)
{
    struct fixture *f = *state;
    struct settings_pairs p;

    assert_int_equal(settings_pairs("lr=0.1,momentum=0.9", &p, &f->error),
                     KV_OK);
    assert_int_equal(p.count, 2);
    assert_string_equal(p.pair[0].name, "lr");
    assert_string_equal(p.pair[0].value, "0.1");
    assert_string_equal(p.pair[1].name, "momentum");
    assert_string_equal(p.pair[1].value, "0.9");
    assert_int_equal(settings_pairs("", &p, &f->error), KV_OK);
    assert_int_equal(p.count, 0);
}

static void test_bad_pairs_are_sentences(void **state)
{
    static const char *const bad[][2] = {
        {"lr", "'lr' is no pair of the form name=value"},
        {"lr=", "'lr=' is no pair of the form name=value"},
        {"=1", "'=1' is no pair of the form name=value"},
        {"a=1,,b=2", "'' is no pair of the form name=value"},
        {"a=1,", "a comma at the end, with nothing behind it"},
        {"a=1,b=2,a=3", "'a' is given twice"},
    };
    struct fixture *f = *state;
    struct settings_pairs p;
    char many[SETTINGS_PAIRS_MAX * 8 + 16] = "";

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(settings_pairs(bad[i][0], &p, &f->error), KV_EINVAL);
        assert_string_equal(f->error.text, bad[i][1]);
    }
    for (int i = 0; i <= SETTINGS_PAIRS_MAX; i++) {
        snprintf(many + strlen(many), 16, "%sn%d=1", i == 0 ? "" : ",", i);
    }
    assert_int_equal(settings_pairs(many, &p, &f->error), KV_EINVAL);
    assert_string_equal(f->error.text, "more than 32 pairs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_has_comments_blanks_and_either_dash),
        TEST(test_a_bad_line_is_named_by_number),
        TEST(test_no_byte_of_a_file_is_passed_over),
        TEST(test_a_file_that_cannot_be_read_is_an_error),
        TEST(test_the_environment_is_read_by_prefix),
        TEST(test_flags_come_in_both_spellings),
        TEST(test_bad_flags_are_sentences),
        TEST(test_one_flag_can_be_seen_before_the_rest),
        TEST(test_pairs_are_split),
        TEST(test_bad_pairs_are_sentences),
    };

    return cmocka_run_group_tests_name("settings_source", tests, NULL, NULL);
}
