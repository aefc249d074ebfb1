/* keys: forms, slices, and the table of what is registered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "tests/fakes/fault_mem.h"
#include "worker/keys.h"

static struct keys keys;

static int set_up(void **state)
{
    (void)state;
    keys_init(&keys);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    keys_fini(&keys);
    return fault_mem_live() == 0 ? 0 : -1;
}

static struct key_spec spec_of(const char *name, int64_t number)
{
    struct key_spec s = {.name = name,
                         .number = number,
                         .dtype = KV_F32,
                         .dims = 2,
                         .shape = {10, 100}};

    return s;
}

static struct key *add(const char *name, int64_t number)
{
    struct key_spec s = spec_of(name, number);
    struct key *key = keys_new(&keys, &s);

    assert_non_null(key);
    assert_int_equal(keys_add(&keys, key), KV_OK);
    return key;
}

static const struct key *find(const char *name, int64_t number)
{
    struct key_spec s = spec_of(name, number);

    return keys_find(&keys, &s);
}

static struct key *find_next(struct key *before, const char *name,
                             int64_t number)
{
    struct key_spec s = spec_of(name, number);

    return keys_find_next(&keys, before, &s);
}

static void test_a_guess_never_finds_the_wrong_key(void **state)
{
    struct key *a = add(NULL, 1), *b = add(NULL, 2), *c = add("c", 0);

    (void)state;
    for (int call = 0; call < 3; call++) {
        assert_ptr_equal(find_next(NULL, NULL, 1), a);
        assert_ptr_equal(find_next(a, NULL, 2), b);
        assert_ptr_equal(find_next(b, "c", 0), c);
        assert_ptr_equal(find_next(b, NULL, 1), a); /* Another order. */
        assert_ptr_equal(find_next(a, "c", 0), c);
        assert_null(find_next(a, "2", 0));
        assert_null(find_next(c, NULL, 0));
    }
}

static void test_a_number_and_its_digits_are_two_keys(void **state)
{
    const struct key *number = add(NULL, 7), *name = add("7", 0);

    (void)state;
    assert_ptr_equal(find(NULL, 7), number);
    assert_ptr_equal(find("7", 0), name);
    assert_null(find(NULL, 8));
    assert_null(find("8", 0));
}

static void test_any_int64_is_a_key(void **state)
{
    static const int64_t numbers[] = {0, -1, 1, INT64_MIN, INT64_MAX};
    const struct key *made[5];

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        made[i] = add(NULL, numbers[i]);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(find(NULL, numbers[i]), made[i]);
    }
}

static void test_the_second_key_of_a_name_is_refused(void **state)
{
    struct key_spec s = spec_of("w", 0);
    struct key *again = keys_new(&keys, &s);

    (void)state;
    add("w", 0);
    assert_int_equal(keys_add(&keys, again), KV_EEXIST);
    keys_free(again);
}

static void test_a_removed_key_is_given_back(void **state)
{
    struct key_spec s = spec_of("w", 0);
    struct key *key = add("w", 0);

    (void)state;
    assert_ptr_equal(keys_remove(&keys, &s), key);
    assert_null(keys_remove(&keys, &s));
    assert_null(find("w", 0));
    keys_free(key);
}

static void test_the_last_slice_has_what_is_left(void **state)
{
    struct key *key = add("w", 0);

    (void)state;
    assert_int_equal(key->count, 1000);
    assert_int_equal(keys_cut(key, 384, 3), KV_OK);
    assert_int_equal(key->slice_count, 3);
    assert_int_equal(key->slices[0].count, 384);
    assert_int_equal(key->slices[1].count, 384);
    assert_int_equal(key->slices[2].count, 232);
    assert_ptr_equal(key->slices[2].owner, key);
}

static void test_a_cut_that_does_not_add_up_is_refused(void **state)
{
    struct key *key = add("w", 0);

    (void)state;
    assert_int_equal(keys_cut(key, 384, 2), KV_EPROTO);
    assert_int_equal(keys_cut(key, 384, 4), KV_EPROTO);
    assert_int_equal(keys_cut(key, 384, 0), KV_EPROTO);
    assert_int_equal(keys_cut(key, 0, 3), KV_EPROTO);
    assert_int_equal(keys_cut(key, 1000, 1), KV_OK);
}

static void test_another_form_is_refused_with_both(void **state)
{
    const struct key *key = add("w", 0);
    struct key_spec other = spec_of("w", 0);
    char text[512];

    (void)state;
    assert_int_equal(keys_compare(key, 3, &other, text, sizeof text), KV_OK);
    other.dtype = KV_BF16;
    assert_int_equal(keys_compare(key, 3, &other, text, sizeof text),
                     KV_EMISMATCH);
    assert_string_equal(text, "key 'w' on rank 3: registered as f32 (10,100), "
                              "given bf16 (10,100)");
    other = spec_of("w", 0);
    other.dims = 1;
    other.shape[0] = 1000;
    assert_int_equal(keys_compare(key, 0, &other, text, sizeof text),
                     KV_EMISMATCH);
    assert_string_equal(text, "key 'w' on rank 0: registered as f32 (10,100), "
                              "given f32 (1000)");
}

static void test_the_longest_texts_fit(void **state)
{
    char name[KV_KEY_NAME_MAX + 1], text[KEYS_TEXT_MAX];
    char form[KEYS_FORM_TEXT_MAX];
    struct key_spec s = {.dtype = KV_BF16, .dims = KV_DIMS_MAX};

    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    s.name = name;
    for (size_t i = 0; i < KV_DIMS_MAX; i++) {
        s.shape[i] = UINT64_MAX;
    }
    assert_int_equal(strlen(keys_text(&s, text)), KV_KEY_NAME_MAX + 6);
    assert_int_equal(keys_form_text(&s, form)[strlen(form) - 1], ')');
    s.name = NULL;
    s.number = INT64_MIN;
    assert_string_equal(keys_text(&s, text), "key -9223372036854775808");
}

static void test_without_memory_there_is_no_key(void **state)
{
    struct key_spec s = spec_of("w", 0);
    struct key *key = NULL;
    unsigned n;

    (void)state;
    for (n = 1; key == NULL; n++) {
        fault_mem_fail(n);
        key = keys_new(&keys, &s);
    }
    assert_true(n > 2);
    fault_mem_fail(1);
    assert_int_equal(keys_cut(key, 384, 3), KV_ENOMEM);
    fault_mem_fail(0);
    keys_free(key);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_guess_never_finds_the_wrong_key),
        TEST(test_a_number_and_its_digits_are_two_keys),
        TEST(test_any_int64_is_a_key),
        TEST(test_the_second_key_of_a_name_is_refused),
        TEST(test_a_removed_key_is_given_back),
        TEST(test_the_last_slice_has_what_is_left),
        TEST(test_a_cut_that_does_not_add_up_is_refused),
        TEST(test_another_form_is_refused_with_both),
        TEST(test_the_longest_texts_fit),
        TEST(test_without_memory_there_is_no_key),
    };

    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
