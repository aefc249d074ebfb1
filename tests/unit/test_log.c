/* log: what a line looks like, read back through a pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"

struct fixture {
    int pipe[2];
    int stderr_copy;
    char text[8192];
};

static int set_up(void **state)
{
    static struct fixture f;

    f.stderr_copy = dup(STDERR_FILENO);
    if (pipe(f.pipe) != 0 || dup2(f.pipe[1], STDERR_FILENO) < 0) {
        return -1;
    }
    *state = &f;
    return fcntl(f.pipe[0], F_SETFL, O_NONBLOCK);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dup2(f->stderr_copy, STDERR_FILENO);
    close(f->stderr_copy);
    close(f->pipe[0]);
    close(f->pipe[1]);
    log_open("", LOG_WARN);
    return 0;
}

/* Everything logged since the last call. */
static const char *logged(struct fixture *f)
{
    ssize_t size = read(f->pipe[0], f->text, sizeof f->text - 1);

    f->text[size < 0 ? 0 : size] = '\0';
    return f->text;
}

static void test_a_line_has_level_name_and_text(void **state)
{
    struct fixture *f = *state;

    log_open("server 0", LOG_INFO);
    log_info("key %d round %d: worker %d left", 17, 4, 3);
    assert_string_equal(logged(f),
                        "info server 0: key 17 round 4: worker 3 left\n");
    log_open("", LOG_INFO);
    log_error("oh");
    assert_string_equal(logged(f), "error: oh\n");
}

static void test_lower_levels_are_silent(void **state)
{
    struct fixture *f = *state;

    log_open("", LOG_WARN);
    log_info("not this");
    log_debug("nor this");
    log_warn("this");
    assert_string_equal(logged(f), "warn: this\n");
    log_set_level(LOG_DEBUG);
    log_debug("now");
    assert_string_equal(logged(f), "debug: now\n");
}

static void test_bytes_that_a_terminal_obeys_are_escaped(void **state)
{
    struct fixture *f = *state;

    log_warn("%s", "a\nb\x1b[2J\x7f\xff");
    assert_string_equal(logged(f), "warn: a\\x0ab\\x1b[2J\\x7f\\xff\n");
}

static void test_a_long_line_is_cut_and_says_so(void **state)
{
    struct fixture *f = *state;
    char text[3000];
    size_t size;

    for (int i = 0; i < 2; i++) {
        memset(text, i == 0 ? 'x' : '\1', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        log_warn("%s", text);
        size = strlen(logged(f));
        assert_in_range(size, LOG_LINE_MAX - 20, LOG_LINE_MAX + LOG_WHO_MAX);
        assert_string_equal(f->text + size - 4, "...\n");
    }
}

static void test_levels_have_names(void **state)
{
    enum log_level level;

    (void)state;
    assert_true(log_level_find("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_true(log_level_find("error", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_false(log_level_find("Error", &level));
    assert_false(log_level_find("", &level));
}

static void test_a_limit_counts_what_it_holds_back(void **state)
{
    struct fixture *f = *state;
    struct log_limit limit = {
        .about = "bad frames", .count_max = 2, .interval_ms = 1000};

    assert_true(log_allow(&limit, 5000));
    assert_true(log_allow(&limit, 5001));
    for (unsigned i = 0; i < 7; i++) {
        assert_false(log_allow(&limit, 5002 + i));
    }
    assert_string_equal(logged(f), "");
    assert_true(log_allow(&limit, 6000));
    assert_string_equal(logged(f), "warn: 7 more bad frames not shown\n");
    assert_true(log_allow(&limit, 9000));
    assert_string_equal(logged(f), "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_line_has_level_name_and_text),
        TEST(test_lower_levels_are_silent),
        TEST(test_bytes_that_a_terminal_obeys_are_escaped),
        TEST(test_a_long_line_is_cut_and_says_so),
        TEST(test_levels_have_names),
        TEST(test_a_limit_counts_what_it_holds_back),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
