#include "tests/unit/frame_fixture.h"

#include "common/base/bytes.h"

/* --- Layout -------------------------------------------------------------- */

static void test_prefix_is_as_documented(void **state)
{
    static const unsigned char expected[] = {
        'K', 'V', 'F', '1', 1, 0, 1, 0, 8, 7, 6,    5,    4,    3,
        2,   1,   3,   0,   0, 0, 9, 0, 0, 0, 0x83, 0x92, 0x06, 0xE3,
    };
    unsigned char out[FRAME_PREFIX_SIZE + 3] = {0};

    (void)state;
    memcpy(out + FRAME_PREFIX_SIZE, "abc", 3);
    /* The check value of CRC32C. */
    frame_seal(out, UINT64_C(0x0102030405060708), 3, "123456789", 9, true);
    assert_memory_equal(out, expected, sizeof expected);

    frame_seal(out, 0, 0, "123456789", 9, false);
    assert_int_equal(bytes_get_u16(out + 6), 0);
    assert_int_equal(bytes_get_u32(out + 24), 0);
}

/* --- Splits -------------------------------------------------------------- */

static void test_every_cut_gives_the_same_calls(void **state)
{
    struct fixture *f = *state;
    struct trace whole;

    add(f, 2, 10, 0, false);
    add(f, 3, 5, 100, true);
    add(f, 4, 0, 70, true);
    add(f, 5, 0, 0, false);
    add(f, 7, 1, 1, false);
    add(f, 8, 300, 33, false);
    expect_status(feed(f, SIZE_MAX), KV_OK);
    assert_int_equal(f->frames, 6);
    whole = f->trace;
    for (size_t cut = 0; cut <= f->size; cut++) {
        enum kv_status status;
        size_t at = 0;

        restart(f);
        while (at < cut) {
            at += feed_some(f, f->stream + at, cut - at, &status);
            expect_status(status, KV_OK);
        }
        while (at < f->size) {
            at += feed_some(f, f->stream + at, f->size - at, &status);
            expect_status(status, KV_OK);
        }
        expect_trace(f, &whole);
    }
    restart(f);
    expect_status(feed(f, 1), KV_OK);
    expect_trace(f, &whole);
}

static void test_random_cuts_of_a_mixed_stream(void **state)
{
    struct fixture *f = *state;
    struct trace whole;

    seed_from((uint64_t)time(NULL));
    for (uint64_t id = 1; f->size < ((size_t)4 << 20); id++) {
        size_t payload_size = random_next() % 3000;

        if (random_next() % 40 == 0) {
            payload_size = random_next() % KV_BATCH_PAYLOAD_MAX;
        }
        if (id % 2 == 1 && random_next() % 30 == 0) {
            payload_size = random_next() % ((size_t)1 << 20);
        }
        add(f, id, random_next() % (id % 50 == 0 ? KV_META_MAX : 200),
            payload_size, random_next() % 2 == 0);
    }
    expect_status(feed(f, SIZE_MAX), KV_OK);
    whole = f->trace;
    for (int i = 0; i < 20; i++) {
        restart(f);
        expect_status(feed(f, 0), KV_OK);
        expect_trace(f, &whole);
    }
}

static void test_largest_frames_fit(void **state)
{
    struct fixture *f = *state;

    add(f, 2, KV_META_MAX, KV_BATCH_PAYLOAD_MAX, true);
    add(f, 4, KV_META_MAX, KV_BATCH_PAYLOAD_MAX, true);
    add(f, 1, KV_META_MAX, KV_PAYLOAD_MAX, true);
    expect_status(feed(f, 4096), KV_OK);
    assert_int_equal(f->frames, 3);
}

/* --- Where bytes go ------------------------------------------------------ */

static void test_a_sink_is_read_into_exactly(void **state)
{
    struct fixture *f = *state;
    enum kv_status status;
    size_t size;

    add(f, 1, 20, 100000, false);
    assert_int_equal(
        feed_some(f, f->stream, FRAME_PREFIX_SIZE + 20 + 7, &status),
        FRAME_PREFIX_SIZE + 20 + 7);
    assert_ptr_equal(frame_reader_want(&f->reader, &size), f->sink + 7);
    assert_int_equal(size, 100000 - 7);
}

/* What arrives of the next payload before its head is known is copied. */
static void test_after_a_sink_little_is_staged(void **state)
{
    struct fixture *f = *state;
    size_t size;

    frame_reader_want(&f->reader, &size);
    assert_in_range(size, KV_BATCH_PAYLOAD_MAX, SIZE_MAX);
    add(f, 1, 20, 100000, false);
    expect_status(feed(f, SIZE_MAX), KV_OK);
    frame_reader_want(&f->reader, &size);
    assert_in_range(size, FRAME_PREFIX_SIZE, 4096);

    f->size = 0;
    add(f, 2, 20, 1000, false);
    expect_status(feed(f, SIZE_MAX), KV_OK);
    frame_reader_want(&f->reader, &size);
    assert_in_range(size, KV_BATCH_PAYLOAD_MAX, SIZE_MAX);
}

static void test_midway_between_first_byte_and_last(void **state)
{
    struct fixture *f = *state;

    add(f, 1, 3, 10, true);
    add(f, 2, 3, 10, true);
    add(f, 4, 3, 0, true);
    for (size_t at = 0; at < f->size;) {
        bool at_end =
            at == FRAME_PREFIX_SIZE + 13 || at == 2 * (FRAME_PREFIX_SIZE + 13);
        enum kv_status status;

        assert_int_equal(frame_reader_midway(&f->reader), at > 0 && !at_end);
        at += feed_some(f, f->stream + at, 1, &status);
        expect_status(status, KV_OK);
    }
    assert_false(frame_reader_midway(&f->reader));
}

/* --- Putting off --------------------------------------------------------- */

static void test_a_blocked_reader_asks_again(void **state)
{
    struct fixture *f = *state;
    enum kv_status status;
    size_t size;

    add(f, 1, 3, 10, true);
    add(f, 2, 3, 10, true);
    f->block = 2;
    assert_int_equal(feed_some(f, f->stream, f->size, &status), f->size);
    expect_status(status, KV_OK);
    assert_true(frame_reader_blocked(&f->reader));
    frame_reader_want(&f->reader, &size);
    assert_int_equal(size, 0);
    expect_status(frame_reader_resume(&f->reader), KV_OK);
    assert_true(frame_reader_blocked(&f->reader));
    assert_int_equal(f->heads, 2);
    expect_status(frame_reader_resume(&f->reader), KV_OK);
    assert_false(frame_reader_blocked(&f->reader));
    assert_int_equal(f->frames, 2);
}

static void test_blocking_anywhere_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct trace whole;

    seed_from((uint64_t)time(NULL));
    for (uint64_t id = 1; id < 60; id++) {
        add(f, id, random_next() % 100, random_next() % 9000, id % 3 == 0);
    }
    expect_status(feed(f, SIZE_MAX), KV_OK);
    whole = f->trace;
    restart(f);
    for (size_t at = 0; at < f->size;) {
        size_t most = 1 + random_next() % 5000;
        enum kv_status status;

        most = most < f->size - at ? most : f->size - at;
        f->block = (unsigned)(random_next() % 3);
        at += feed_some(f, f->stream + at, most, &status);
        expect_status(status, KV_OK);
        while (frame_reader_blocked(&f->reader)) {
            expect_status(frame_reader_resume(&f->reader), KV_OK);
        }
    }
    expect_trace(f, &whole);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_prefix_is_as_documented),
        TEST(test_every_cut_gives_the_same_calls),
        TEST(test_random_cuts_of_a_mixed_stream),
        TEST(test_largest_frames_fit),
        TEST(test_a_sink_is_read_into_exactly),
        TEST(test_after_a_sink_little_is_staged),
        TEST(test_midway_between_first_byte_and_last),
        TEST(test_a_blocked_reader_asks_again),
        TEST(test_blocking_anywhere_changes_nothing),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
