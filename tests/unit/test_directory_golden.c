/* How MXNet cuts values and spreads them over servers: golden.json. Where each
 * slice lies is our own affair, by load; but cuts follow each other and make
 * the whole, and no server has more to carry than MXNet's, but for a slice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/compute/dtype.h"
#include "golden.h"
#include "proto/limits.h"
#include "server/directory.h"

#define SERVERS_MAX 8
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* --- Steps --------------------------------------------------------------- */

static const struct directory_key *add(struct directory *d,
                                       const struct key_desc *desc)
{
    struct directory_key *key = NULL;
    char error[512] = "";

    if (directory_add(d, desc, &key, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
    return key;
}

static struct key_desc dense(uint64_t count, enum kv_dtype dtype)
{
    struct key_desc desc = {.number = 7, .dtype = dtype, .dims = 1};

    desc.shape[0] = count;
    return desc;
}

static struct key_desc table(uint64_t rows, uint64_t length)
{
    struct key_desc desc = {
        .number = 7, .dtype = KV_F32, .dims = 2, .storage = KV_ROW_SPARSE};

    desc.shape[0] = rows;
    desc.shape[1] = length;
    return desc;
}

static uint64_t size_of(const struct directory_key *key, uint32_t slice)
{
    uint64_t left = key->count - slice * key->slice_count;

    return left < key->slice_count ? left : key->slice_count;
}

static uint32_t server_of(const struct directory_key *key, uint32_t slice)
{
    return bytes_get_u32(key->placement + (size_t)slice * DIRECTORY_ENTRY_SIZE);
}

/* Full slices one after the other, then one with the rest, that is not empty;
 * each of whole words of any codec, or of whole rows. */
static void expect_whole(const struct directory_key *key, uint64_t unit)
{
    uint64_t sum = 0;

    assert_true(key->slice_count % unit == 0);
    for (uint32_t i = 0; i < key->slices; i++) {
        assert_true(size_of(key, i) > 0);
        assert_true(i + 1 == key->slices ||
                    size_of(key, i) == key->slice_count);
        sum += size_of(key, i);
    }
    assert_true(sum == key->count);
    assert_true((key->slices - 1) * key->slice_count < key->count);
}

/* Each server's part of the key is MXNet's, to within a slice. */
static void expect_shares(const struct directory_key *key,
                          const struct golden_cut *right, uint64_t unit)
{
    uint64_t part[SERVERS_MAX] = {0};

    for (uint32_t i = 0; i < key->slices; i++) {
        part[server_of(key, i)] += size_of(key, i);
    }
    for (unsigned s = 0; s < right->servers; s++) {
        uint64_t its = right->part[s] * unit;
        uint64_t off = part[s] > its ? part[s] - its : its - part[s];

        if (off > key->slice_count) {
            fail_msg("server %u of %u has %llu elements, MXNet's %llu", s,
                     right->servers, (unsigned long long)part[s],
                     (unsigned long long)its);
        }
    }
}

static void expect_cut(const struct golden_cut *right, struct key_desc desc,
                       uint64_t unit)
{
    struct directory d;
    const struct directory_key *key;

    assert_int_equal(directory_init(&d, right->servers, KV_SLICE_BYTES_DEFAULT),
                     KV_OK);
    key = add(&d, &desc);
    expect_whole(key, desc.storage == KV_DENSE ? KV_SLICE_ALIGN : unit);
    expect_shares(key, right, unit);
    directory_fini(&d);
}

/* --- Tests --------------------------------------------------------------- */

static void test_parts_of_a_large_value_are_even_and_in_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(golden_dense); i++) {
        const struct golden_cut *c = &golden_dense[i];

        expect_cut(c, dense(c->size, KV_F32), 1);
        expect_cut(c, dense(c->size, KV_F16), 1);
    }
}

static void test_parts_of_a_table_are_whole_rows_in_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(golden_rows); i++) {
        const struct golden_cut *c = &golden_rows[i];

        expect_cut(c, table(c->size, 1200), 1200);
        expect_cut(c, table(c->size, 100000), 100000);
    }
}

static unsigned most(const unsigned *servers, unsigned count)
{
    unsigned load[SERVERS_MAX] = {0}, high = 0;

    for (unsigned k = 0; k < GOLDEN_KEYS; k++) {
        load[servers[k]]++;
    }
    for (unsigned s = 0; s < count; s++) {
        high = load[s] > high ? load[s] : high;
    }
    return high;
}

static void test_small_keys_are_spread_as_evenly_at_least(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(golden_places); i++) {
        unsigned ours[GOLDEN_KEYS], servers = golden_places[i].servers;
        struct directory d;

        assert_int_equal(directory_init(&d, servers, KV_SLICE_BYTES_DEFAULT),
                         KV_OK);
        for (unsigned k = 0; k < GOLDEN_KEYS; k++) {
            struct key_desc desc = dense(16, KV_F32);

            desc.number = k;
            ours[k] = server_of(add(&d, &desc), 0);
        }
        assert_true(most(ours, servers) <=
                    most(golden_places[i].server, servers));
        directory_fini(&d);
    }
}

/* With slices of the size that MXNet's P3 store has, it is the same cut. */
static void test_slices_are_those_of_the_p3_store(void **state)
{
    struct directory d;
    size_t at = 0;

    (void)state;
    assert_int_equal(
        directory_init(&d, GOLDEN_P3_SERVERS, GOLDEN_P3_SLICE * sizeof(float)),
        KV_OK);
    for (unsigned k = 0; k < COUNT_OF(golden_p3_keys); k++) {
        struct key_desc desc = dense(golden_p3_keys[k], KV_F32);
        const struct directory_key *key;

        desc.number = k;
        key = add(&d, &desc);
        for (uint32_t i = 0; i < key->slices; i++, at++) {
            assert_true(at < COUNT_OF(golden_p3_slices));
            assert_int_equal(golden_p3_slices[at].key, k);
            assert_true(size_of(key, i) == golden_p3_slices[at].size);
        }
    }
    assert_int_equal(at, COUNT_OF(golden_p3_slices));
    directory_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_a_large_value_are_even_and_in_order),
        cmocka_unit_test(test_parts_of_a_table_are_whole_rows_in_order),
        cmocka_unit_test(test_small_keys_are_spread_as_evenly_at_least),
        cmocka_unit_test(test_slices_are_those_of_the_p3_store),
    };

    return cmocka_run_group_tests_name("directory_golden", tests, NULL, NULL);
}
