#include "tests/unit/frame_fixture.h"

#include <isa-l/crc.h>

#include "common/base/bytes.h"

/* After a lie has been told: make the head's checksum hold again. */
static void reseal(unsigned char *at, size_t meta_size)
{
    unsigned crc = crc32_iscsi(at, 28, ~0u);

    bytes_put_u32(at + 28,
                  ~crc32_iscsi(at + FRAME_PREFIX_SIZE, (int)meta_size, crc));
}

/* --- Refusals ------------------------------------------------------------ */

static void test_no_flipped_bit_is_accepted(void **state)
{
    struct fixture *f = *state;

    for (uint64_t id = 1; id <= 2; id++) {
        f->size = 0;
        add(f, id, 9, 17, true);
        for (size_t bit = 0; bit < 8 * f->size; bit++) {
            restart(f);
            f->stream[bit / 8] ^= (unsigned char)(1u << bit % 8);
            (void)!feed(f, SIZE_MAX);
            assert_int_equal(f->frames, 0);
            f->stream[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
}

/* Offset, size and value of a lie; the head's checksum agrees with it. */
static void test_lies_about_anything_are_refused(void **state)
{
    static const struct {
        size_t at, size;
        uint64_t value;
        enum kv_status status;
    } lies[] = {
        {0, 4, 0x3246564b, KV_EPROTO},
        {0, 4, 0, KV_EPROTO},
        {4, 2, 0, KV_EPROTO},
        {4, 2, KV_VERSION_MAX + 1, KV_EPROTO},
        {4, 2, 0xffff, KV_EPROTO},
        {6, 2, 3, KV_EPROTO},
        {6, 2, 0x8001, KV_EPROTO},
        {6, 2, 0, KV_EPROTO}, /* A checksum is there all the same. */
        {16, 4, KV_META_MAX + 1, KV_ETOOBIG},
        {16, 4, 0x7fffffff, KV_ETOOBIG},
        {16, 4, 0xffffffff, KV_ETOOBIG},
        {20, 4, KV_PAYLOAD_MAX + 1, KV_ETOOBIG},
        {20, 4, 0x80000000, KV_ETOOBIG},
        {20, 4, 0xffffffff, KV_ETOOBIG},
        {20, 4, KV_BATCH_PAYLOAD_MAX + 1, KV_ETOOBIG}, /* No sink. */
        {20, 4, 16, KV_EPROTO},                        /* Too short. */
        {16, 4, 8, KV_EPROTO},
        {16, 4, 0, KV_EPROTO},
        {24, 4, 0, KV_EPROTO},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        f->size = 0;
        add(f, 2, 9, 17, true);
        for (size_t b = 0; b < lies[i].size; b++) {
            f->stream[lies[i].at + b] =
                (unsigned char)(lies[i].value >> (8 * b));
        }
        if (lies[i].at != 16) {
            reseal(f->stream, 9);
        }
        restart(f);
        expect_status(feed(f, SIZE_MAX), lies[i].status);
        assert_int_equal(f->frames, 0);
        assert_non_null(f->reader.reason);
    }
}

static void test_a_size_within_limits_just_waits(void **state)
{
    struct fixture *f = *state;

    add(f, 2, 9, 17, true);
    bytes_put_u32(f->stream + 20, 18);
    reseal(f->stream, 9);
    expect_status(feed(f, SIZE_MAX), KV_OK);
    assert_int_equal(f->frames, 0);
    assert_true(frame_reader_midway(&f->reader));
}

static void test_a_large_payload_needs_a_sink(void **state)
{
    struct fixture *f = *state;

    add(f, 1, 0, KV_BATCH_PAYLOAD_MAX + 1, false);
    f->never_sink = true;
    expect_status(feed(f, SIZE_MAX), KV_ETOOBIG);
    assert_int_equal(f->frames, 0);
}

static void test_the_first_error_sticks(void **state)
{
    struct fixture *f = *state;

    add(f, 1, 3, 4, false);
    add(f, 2, 3, 4, false);
    f->head_status = KV_ENOMEM;
    expect_status(feed(f, SIZE_MAX), KV_ENOMEM);
    f->head_status = KV_OK;
    expect_status(frame_reader_resume(&f->reader), KV_ENOMEM);
    assert_int_equal(f->heads, 1);
    assert_int_equal(f->frames, 0);

    restart(f);
    f->frame_status = KV_ECANCELED;
    expect_status(feed(f, SIZE_MAX), KV_ECANCELED);
    expect_status(frame_reader_fed(&f->reader, 0), KV_ECANCELED);
    assert_int_equal(f->heads, 1);
    assert_int_equal(f->frames, 1);
}

static void test_random_bytes_do_no_harm(void **state)
{
    struct fixture *f = *state;

    seed_from((uint64_t)time(NULL));
    for (int i = 0; i < 3000; i++) {
        restart(f);
        f->size = 0;
        add(f, 1 + random_next() % 2, random_next() % 100, random_next() % 500,
            random_next() % 2);
        for (uint64_t n = 1 + random_next() % 4; n > 0; n--) {
            f->stream[random_next() % f->size] = (unsigned char)random_next();
        }
        if (random_next() % 2 == 0) {
            uint32_t meta_size = bytes_get_u32(f->stream + 16);

            reseal(f->stream, meta_size < f->size ? meta_size : 0);
        }
        (void)!feed(f, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_flipped_bit_is_accepted),
        TEST(test_lies_about_anything_are_refused),
        TEST(test_a_size_within_limits_just_waits),
        TEST(test_a_large_payload_needs_a_sink),
        TEST(test_the_first_error_sticks),
        TEST(test_random_bytes_do_no_harm),
    };

    return cmocka_run_group_tests_name("frame_hostile", tests, NULL, NULL);
}
