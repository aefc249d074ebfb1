/**
 * local_fixture - one local store, and the steps of a test with it.
 *
 * Values have EACH elements, all alike, unless a test says otherwise.
 */
#ifndef KV_TESTS_UNIT_LOCAL_FIXTURE_H
#define KV_TESTS_UNIT_LOCAL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/kvworker.h"

enum { EACH = 16, DEVICES_MAX = 4 };

static struct kvw *kv;

static inline int set_up_threads(const char *options)
{
    unsetenv("KV_COMPRESSION");
    unsetenv("KV_KEY_FILE");
    if (kvw_open(&kv, "local", options) != KVW_OK) {
        print_error("%s\n", kvw_error(NULL));
        return -1;
    }
    return 0;
}

static inline int set_up(void **state)
{
    (void)state;
    return set_up_threads("log=error");
}

static inline int tear_down(void **state)
{
    (void)state;
    kvw_close(kv);
    kv = NULL;
    return 0;
}

/* A store's keys are of one kind: those of the other need one of their own. */
static inline void another_store(void)
{
    kvw_close(kv);
    assert_int_equal(set_up(NULL), 0);
}

/* --- Steps ---------------------------------------------------------------- */

static inline void expect_ok(int status)
{
    if (status != KVW_OK) {
        fail_msg("%s: %s", kvw_strstatus(status), kvw_error(kv));
    }
}

/* The sentence has both words; NULL for none. */
static inline void expect_error(int status, int expected, const char *one,
                                const char *two)
{
    assert_string_equal(kvw_strstatus(status), kvw_strstatus(expected));
    for (int i = 0; i < 2; i++) {
        const char *word = i == 0 ? one : two;

        if (word != NULL && strstr(kvw_error(kv), word) == NULL) {
            fail_msg("'%s' does not say '%s'", kvw_error(kv), word);
        }
    }
}

static inline void wait_all(void)
{
    expect_ok(kvw_wait_all(kv, KVW_FOREVER));
}

static inline void fill(float *to, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = value;
    }
}

static inline void expect_all(const float *got, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        if (got[i] != value) {
            fail_msg("element %zu is %g instead of %g", i, (double)got[i],
                     (double)value);
        }
    }
}

static inline int try_init(struct kvw_key key, float value)
{
    float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {key, &t, 1};

    fill(data, EACH, value);
    return kvw_init(kv, &item, 1);
}

static inline void init(struct kvw_key key, float value)
{
    expect_ok(try_init(key, value));
}

/* From that many devices, and wait. */
static inline int try_push(struct kvw_key key, unsigned devices, float value)
{
    struct kvw_tensor t[DEVICES_MAX];
    struct kvw_item item = {key, t, devices};
    struct kvw_op *op;
    float data[EACH];
    int status;

    fill(data, EACH, value);
    for (unsigned i = 0; i < devices; i++) {
        t[i] = kvw_f32(data, EACH);
    }
    status = kvw_push(kv, &item, 1, NULL, &op);
    return status == KVW_OK ? kvw_wait(kv, op, KVW_FOREVER) : status;
}

static inline void push(struct kvw_key key, unsigned devices, float value)
{
    expect_ok(try_push(key, devices, value));
}

/* Into that many devices, each of which gets it. */
static inline void expect_pull(struct kvw_key key, unsigned devices,
                               float value)
{
    float data[DEVICES_MAX][EACH];
    struct kvw_tensor t[DEVICES_MAX];
    struct kvw_item item = {key, t, devices};

    for (unsigned i = 0; i < devices; i++) {
        fill(data[i], EACH, -12345);
        t[i] = kvw_f32(data[i], EACH);
    }
    expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
    wait_all();
    for (unsigned i = 0; i < devices; i++) {
        expect_all(data[i], EACH, value);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
