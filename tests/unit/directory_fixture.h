/* A directory, and what its tests do to it. */
#ifndef KV_TESTS_UNIT_DIRECTORY_FIXTURE_H
#define KV_TESTS_UNIT_DIRECTORY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/compute/dtype.h"
#include "server/directory.h"

#define SHARDS 5
#define SLICE_BYTES 4096 /* 1024 f32. */

struct fixture {
    struct directory d;
    char error[512];
    uint64_t load[SHARDS];
};

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (directory_init(&f->d, SHARDS, SLICE_BYTES) != KV_OK) {
        return -1;
    }
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    directory_fini(&f->d);
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

static inline struct key_desc vector(const char *name, uint32_t dtype,
                                     uint64_t count)
{
    struct key_desc k = {.name = name, .dtype = dtype, .dims = 1};

    k.shape[0] = count;
    return k;
}

static inline struct directory_key *add(struct fixture *f, struct key_desc k)
{
    struct directory_key *key = NULL;

    assert_string_equal(
        kv_strstatus(directory_add(&f->d, &k, &key, f->error, sizeof f->error)),
        kv_strstatus(KV_OK));
    return key;
}

static inline void refuse(struct fixture *f, struct key_desc k,
                          enum kv_status status, const char *text)
{
    struct directory_key *key = NULL;
    uint32_t before = f->d.count;

    assert_string_equal(
        kv_strstatus(directory_add(&f->d, &k, &key, f->error, sizeof f->error)),
        kv_strstatus(status));
    assert_non_null(strstr(f->error, text));
    assert_null(key);
    assert_int_equal(f->d.count, before);
    assert_null(directory_find(&f->d, &k));
}

static inline uint32_t shard_of(const struct directory_key *key, uint32_t slice)
{
    return bytes_get_u32(key->placement + (size_t)slice * DIRECTORY_ENTRY_SIZE);
}

static inline void weigh(struct fixture *f, const struct directory_key *key)
{
    for (uint32_t i = 0; i < key->slices; i++) {
        uint64_t left = key->count - i * key->slice_count;
        uint64_t count = left < key->slice_count ? left : key->slice_count;

        assert_true(shard_of(key, i) < SHARDS);
        f->load[shard_of(key, i)] +=
            count * kv_dtype_size((enum kv_dtype)key->desc.dtype);
    }
}

static inline void expect_mismatch(struct fixture *f,
                                   const struct directory_key *key,
                                   struct key_desc k, const char *text)
{
    assert_int_equal(directory_compare(key, 3, &k, f->error, sizeof f->error),
                     KV_EMISMATCH);
    assert_string_equal(f->error, text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
