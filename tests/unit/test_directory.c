#include "tests/unit/directory_fixture.h"

#include "tests/fakes/fault_mem.h"

/* --- Tests --------------------------------------------------------------- */

static void test_small_keys_go_round_from_the_lowest_shard(void **state)
{
    struct fixture *f = *state;
    char name[16];

    for (uint32_t i = 0; i < 3 * SHARDS; i++) {
        const struct directory_key *key;

        snprintf(name, sizeof name, "k%u", i);
        key = add(f, vector(name, KV_F32, 10));
        assert_int_equal(key->id, i);
        assert_int_equal(key->slices, 1);
        assert_int_equal(shard_of(key, 0), i % SHARDS);
    }
}

/* None has been removed. */
static const struct directory_key *nth(const struct directory *d, uint64_t n)
{
    return directory_walk(d, &n);
}

/* As many of those after `first` as went to the same shard without a break. */
static uint32_t streak_of(const struct directory *d, uint32_t first)
{
    uint32_t n = 1;

    while (first + n < d->count &&
           shard_of(nth(d, first + n), 0) == shard_of(nth(d, first), 0)) {
        n++;
    }
    return n;
}

static void
test_many_small_keys_keep_together_and_no_shard_suffers(void **state)
{
    struct fixture *f = *state;
    char name[16];
    uint32_t longest = 0;

    for (uint32_t i = 0; i < 8192; i++) {
        snprintf(name, sizeof name, "k%u", i);
        weigh(f, add(f, vector(name, KV_F32, 256)));
        for (uint32_t n = 0; n < SHARDS; n++) {
            /* Within an eighth and a key, and a streak. */
            assert_true(f->load[n] * 8 <= f->load[0] * 9 + 9216 ||
                        f->load[n] <= f->load[0]);
            assert_true(f->load[n] <= f->load[0] + SLICE_BYTES);
        }
    }
    for (uint32_t i = 4096; i < 8192; i += streak_of(&f->d, i)) {
        uint32_t n = streak_of(&f->d, i);

        longest = n > longest ? n : longest;
    }
    assert_int_equal(longest, SLICE_BYTES / 1024);
}

static void test_a_large_key_ends_a_streak(void **state)
{
    struct fixture *f = *state;
    char name[16];

    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "k%u", i);
        weigh(f, add(f, vector(name, KV_F32, 256)));
    }
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t least = 0, chosen;
        const struct directory_key *key;

        for (uint32_t n = 1; n < SHARDS; n++) {
            least = f->load[n] < f->load[least] ? n : least;
        }
        snprintf(name, sizeof name, "large%u", i);
        key = add(f, vector(name, KV_F32, 16384));
        chosen = shard_of(key, 0);
        assert_int_equal(f->load[chosen], f->load[least]);
        weigh(f, key);
    }
}

static void test_a_big_key_is_cut_and_spread_over_all_shards(void **state)
{
    struct fixture *f = *state;
    const struct directory_key *key =
        add(f, vector("w", KV_F32, 1024 * 2 * SHARDS + 1));

    assert_int_equal(key->slice_count, 1024);
    assert_int_equal(key->slices, 2 * SHARDS + 1);
    weigh(f, key);
    assert_int_equal(f->load[0], 2 * SLICE_BYTES + 4);
    for (int i = 1; i < SHARDS; i++) {
        assert_int_equal(f->load[i], 2 * SLICE_BYTES);
    }
}

static void test_half_width_values_have_twice_the_elements_a_slice(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(add(f, vector("h", KV_F16, 5000))->slice_count, 2048);
    assert_int_equal(add(f, vector("b", KV_BF16, 5000))->slice_count, 2048);
}

static void test_slices_are_multiples_of_the_alignment(void **state)
{
    struct directory d;
    struct key_desc k = vector("w", KV_F32, 100000);
    struct directory_key *key = NULL;
    char error[256];

    (void)state;
    assert_int_equal(directory_init(&d, 1, 1000), KV_OK);
    assert_int_equal(directory_add(&d, &k, &key, error, sizeof error), KV_OK);
    assert_int_equal(key->slice_count, 192);
    directory_fini(&d);
}

static void test_no_shard_is_ever_a_slice_ahead(void **state)
{
    struct fixture *f = *state;
    uint64_t random = 1;
    char name[16];

    for (int i = 0; i < 2000; i++) {
        uint64_t low = UINT64_MAX, high = 0;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        snprintf(name, sizeof name, "k%d", i);
        weigh(f, add(f, vector(name, random >> 63 ? KV_F32 : KV_F16,
                               1 + (random >> 40) % 20000)));
        for (int s = 0; s < SHARDS; s++) {
            low = f->load[s] < low ? f->load[s] : low;
            high = f->load[s] > high ? f->load[s] : high;
        }
        assert_true(high - low <= SLICE_BYTES);
    }
}

static void test_a_name_and_a_number_are_different_keys(void **state)
{
    struct fixture *f = *state;
    struct key_desc number = vector(NULL, KV_F32, 3);
    const struct directory_key *a, *b;

    number.number = 7;
    a = add(f, vector("7", KV_F32, 3));
    assert_null(directory_find(&f->d, &number));
    b = add(f, number);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(directory_find(&f->d, &number), b);
    number.number = -7;
    assert_null(directory_find(&f->d, &number));
}

static void test_names_are_copied(void **state)
{
    struct fixture *f = *state;
    char name[] = "weights";
    struct key_desc k = vector("weights", KV_F32, 3);

    add(f, vector(name, KV_F32, 3));
    name[0] = 'x';
    assert_non_null(directory_find(&f->d, &k));
}

static void test_a_mismatch_names_key_rank_and_both_descriptions(void **state)
{
    struct fixture *f = *state;
    struct key_desc k = vector("w", KV_F32, 12);
    const struct directory_key *key = add(f, k);

    assert_int_equal(directory_compare(key, 3, &k, f->error, sizeof f->error),
                     KV_OK);
    expect_mismatch(f, key, vector("w", KV_F16, 12),
                    "key 'w': rank 3 says f16 (12), but rank 0 has registered "
                    "f32 (12)");
    k.dims = 2;
    k.shape[0] = 3;
    k.shape[1] = 4;
    expect_mismatch(f, key, k,
                    "key 'w': rank 3 says f32 (3, 4), but rank 0 has "
                    "registered f32 (12)");
}

static struct key_desc matrix(const char *name, uint64_t rows, uint64_t width)
{
    struct key_desc k = vector(name, KV_F32, rows);

    k.dims = 2;
    k.shape[1] = width;
    return k;
}

/* Slices of 4096 bytes, 1024 elements, are multiples of 64. */
static void test_slices_of_a_matrix_hold_whole_rows_where_they_can(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(add(f, matrix("a", 1000, 48))->slice_count, 960);
    assert_int_equal(add(f, matrix("b", 1000, 7))->slice_count, 896);
    assert_int_equal(add(f, matrix("c", 1000, 1))->slice_count, 1024);
    assert_int_equal(add(f, matrix("d", 9, 1000))->slice_count, 1024);
    assert_int_equal(add(f, matrix("e", 9, 17))->slice_count, 1024);
    assert_int_equal(add(f, matrix("f", 1024, 1))->slices, 1);
    assert_int_equal(add(f, matrix("g", 21, 48))->slices, 1);
    assert_int_equal(add(f, matrix("h", 22, 48))->slices, 2);
}

static void test_a_scalar_has_one_element(void **state)
{
    struct fixture *f = *state;
    struct key_desc k = {.number = 1, .dtype = KV_F32};

    assert_int_equal(add(f, k)->count, 1);
}

static void test_what_cannot_be_stored_is_refused(void **state)
{
    struct fixture *f = *state;
    struct key_desc k = vector("w", KV_F32, KV_COUNT_MAX);

    refuse(f, vector("w", 77, 1), KV_EINVAL, "unknown dtype 77");
    refuse(f, vector("w", UINT32_MAX, 1), KV_EINVAL, "unknown dtype");
    refuse(f, vector("w", KV_F32, 0), KV_EINVAL, "key 'w': a value has 1 to");
    refuse(f, vector("w", KV_F32, KV_COUNT_MAX + 1), KV_EINVAL, "elements");
    refuse(f, vector("w", KV_F32, UINT64_MAX), KV_EINVAL, "elements");
    refuse(f, k, KV_ETOOBIG, "slices of 4096 bytes");
    k.dims = 3;
    k.shape[1] = KV_COUNT_MAX;
    k.shape[2] = KV_COUNT_MAX;
    refuse(f, k, KV_EINVAL, "elements");
    add(f, vector("w", KV_F32, 1024 * DIRECTORY_SLICES_MAX));
    refuse(f, vector("v", KV_F32, 1024 * DIRECTORY_SLICES_MAX + 1), KV_ETOOBIG,
           "slices");
}

static void test_a_key_is_added_once(void **state)
{
    struct fixture *f = *state;
    struct key_desc k = vector("w", KV_F32, 12);
    struct directory_key *key = NULL;

    add(f, k);
    assert_int_equal(directory_add(&f->d, &k, &key, f->error, sizeof f->error),
                     KV_EEXIST);
    assert_int_equal(f->d.count, 1);
}

static void test_a_key_is_added_or_not_when_memory_ends(void **state)
{
    struct fixture *f = *state;
    struct key_desc k = vector("w", KV_F32, 5000);
    struct directory_key *key = NULL;
    enum kv_status status = KV_ENOMEM;

    for (unsigned n = 1; status != KV_OK; n++) {
        fault_mem_fail(n);
        status = directory_add(&f->d, &k, &key, f->error, sizeof f->error);
        fault_mem_fail(0);
        assert_true(status == KV_OK || status == KV_ENOMEM);
        assert_int_equal(directory_find(&f->d, &k) != NULL, status == KV_OK);
        assert_int_equal(f->d.count, status == KV_OK);
    }
    assert_int_equal(shard_of(key, 0), 0); /* Nothing was charged in vain. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_keys_go_round_from_the_lowest_shard),
        TEST(test_many_small_keys_keep_together_and_no_shard_suffers),
        TEST(test_a_large_key_ends_a_streak),
        TEST(test_a_big_key_is_cut_and_spread_over_all_shards),
        TEST(test_half_width_values_have_twice_the_elements_a_slice),
        TEST(test_slices_are_multiples_of_the_alignment),
        TEST(test_no_shard_is_ever_a_slice_ahead),
        TEST(test_a_name_and_a_number_are_different_keys),
        TEST(test_names_are_copied),
        TEST(test_a_mismatch_names_key_rank_and_both_descriptions),
        TEST(test_slices_of_a_matrix_hold_whole_rows_where_they_can),
        TEST(test_a_scalar_has_one_element),
        TEST(test_what_cannot_be_stored_is_refused),
        TEST(test_a_key_is_added_once),
        TEST(test_a_key_is_added_or_not_when_memory_ends),
    };

    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}
