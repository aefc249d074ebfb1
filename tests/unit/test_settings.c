/* settings: values of each type, what is refused and how it says so. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/settings_fixture.h"

static enum kv_status set(struct fixture *f, const char *name,
                          const char *value)
{
    return settings_set(table, &f->config, "here", name, value, &f->error);
}

static void refuses(struct fixture *f, const char *name, const char *value,
                    const char *sentence)
{
    struct config before = f->config;

    assert_string_equal(kv_strstatus(set(f, name, value)),
                        kv_strstatus(KV_EINVAL));
    assert_string_equal(f->error.text, sentence);
    assert_memory_equal(&f->config, &before, sizeof before);
}

static void test_defaults_fill_every_field(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(f->config.bind, "127.0.0.1");
    assert_int_equal(f->config.shard_count, 2);
    assert_false(f->config.quiet);
    assert_int_equal(f->config.slice_bytes, 512 << 10);
    assert_true(f->config.rate > 0.09 && f->config.rate < 0.11);
    assert_int_equal(f->config.policy, 0);
}

static void test_each_type_takes_its_values(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, "bind", "::1"), KV_OK);
    assert_string_equal(f->config.bind, "::1");
    assert_int_equal(set(f, "shard_count", "64"), KV_OK);
    assert_int_equal(f->config.shard_count, 64);
    assert_int_equal(set(f, "quiet", "on"), KV_OK);
    assert_true(f->config.quiet);
    assert_int_equal(set(f, "slice-bytes", "1g"), KV_OK);
    assert_int_equal(f->config.slice_bytes, 1 << 30);
    assert_int_equal(set(f, "slice-bytes", "8192"), KV_OK);
    assert_int_equal(f->config.slice_bytes, 8192);
    assert_int_equal(set(f, "rate", "-1e3"), KV_OK);
    assert_true(f->config.rate < -999 && f->config.rate > -1001);
    assert_int_equal(set(f, "policy", "async"), KV_OK);
    assert_int_equal(f->config.policy, 1);
}

static void test_bad_numbers_are_refused(void **state)
{
    static const char *const bad[] = {"",   "0",  "65",  "-1",   "+1", "x",
                                      "1x", " 1", "1.5", "0x10", "1K"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(set(f, "shard-count", bad[i]), KV_EINVAL);
    }
    assert_int_equal(set(f, "shard-count", "18446744073709551616"), KV_EINVAL);
    assert_int_equal(f->config.shard_count, 2);
}

static void test_bad_sizes_and_doubles_are_refused(void **state)
{
    static const char *const sizes[] = {
        "", "K", "4KB", "4 K", "-4K", "4095", "2G", "18446744073709551615T"};
    static const char *const doubles[] = {"",      "nan", "inf",
                                          "1e999", "1,5", "1 "};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(set(f, "slice-bytes", sizes[i]), KV_EINVAL);
    }
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        assert_int_equal(set(f, "rate", doubles[i]), KV_EINVAL);
    }
}

static void test_a_refusal_names_option_value_and_what_is_allowed(void **state)
{
    struct fixture *f = *state;

    refuses(f, "shard-count", "65",
            "here: 'shard-count' is '65', but must be a whole number from 1 "
            "to 64");
    refuses(f, "policy", "asink",
            "here: 'policy' is 'asink', but must be one of sync, async");
    refuses(f, "quiet", "perhaps",
            "here: 'quiet' is 'perhaps', but must be yes or no");
    refuses(f, "bind", "much too long for this",
            "here: 'bind' is 'much too long for this', but must be a text of "
            "length from 0 to 15");
    refuses(f, "sharts", "1",
            "here: there is no option 'sharts'; there are " OPTIONS);
    refuses(f, "shard", "1",
            "here: there is no option 'shard'; there are " OPTIONS);
}

/* Print into memory; the caller frees. */
static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    if (config == NULL) {
        settings_help(table, out);
    } else {
        settings_print(table, config, out);
    }
    assert_int_equal(fclose(out), 0);
    return text;
}

static void test_printing_shows_every_field_as_key_value(void **state)
{
    struct fixture *f = *state;
    char *text = printed(&f->config);

    assert_string_equal(text, "bind = 127.0.0.1\n"
                              "shard-count = 2\n"
                              "quiet = no\n"
                              "slice-bytes = 524288\n"
                              "rate = 0.1\n"
                              "policy = sync\n");
    free(text);
}

static void test_help_is_aligned_and_shows_defaults(void **state)
{
    char *text = printed(NULL);

    (void)state;
    assert_string_equal(text,
                        "  --bind ADDRESS      address to listen on "
                        "(127.0.0.1)\n"
                        "  --shard-count N     threads that own keys (2)\n"
                        "  --quiet             say less (no)\n"
                        "  --slice-bytes SIZE  unit of transfer (512K)\n"
                        "  --rate X            how fast (0.1)\n"
                        "  --policy NAME       when a round ends (sync)\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults_fill_every_field),
        TEST(test_each_type_takes_its_values),
        TEST(test_bad_numbers_are_refused),
        TEST(test_bad_sizes_and_doubles_are_refused),
        TEST(test_a_refusal_names_option_value_and_what_is_allowed),
        TEST(test_printing_shows_every_field_as_key_value),
        TEST(test_help_is_aligned_and_shows_defaults),
    };

    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
