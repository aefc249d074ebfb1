/* bytes: little-endian on the outside, and no step over the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/bytes.h"

static void test_numbers_are_little_endian(void **state)
{
    static const unsigned char expected[] = {0x01, 0x03, 0x02, 0x07, 0x06,
                                             0x05, 0x04, 0xf8, 0xf7, 0xf6,
                                             0xf5, 0xf4, 0xf3, 0xf2, 0xf1};
    unsigned char data[sizeof expected];
    struct writer w = writer_of(data, sizeof data);

    (void)state;
    write_u8(&w, 0x01);
    write_u16(&w, 0x0203);
    write_u32(&w, 0x04050607);
    write_u64(&w, UINT64_C(0xf1f2f3f4f5f6f7f8));
    assert_false(w.bad);
    assert_int_equal(writer_size(&w), sizeof expected);
    assert_memory_equal(data, expected, sizeof expected);
}

static void test_what_was_written_reads_back(void **state)
{
    unsigned char data[32];
    struct writer w = writer_of(data, sizeof data);
    struct reader r;

    (void)state;
    write_u8(&w, 200);
    write_u16(&w, UINT16_MAX);
    write_u32(&w, UINT32_MAX - 1);
    write_u64(&w, UINT64_MAX - 2);
    write_bytes(&w, "abc", 3);
    r = reader_of(data, writer_size(&w));
    assert_int_equal(read_u8(&r), 200);
    assert_int_equal(read_u16(&r), UINT16_MAX);
    assert_int_equal(read_u32(&r), UINT32_MAX - 1);
    assert_true(read_u64(&r) == UINT64_MAX - 2);
    assert_memory_equal(read_bytes(&r, 3), "abc", 3);
    assert_false(r.bad);
    assert_int_equal(reader_left(&r), 0);
}

static void test_reading_too_far_is_bad_and_stays_so(void **state)
{
    const unsigned char data[] = {1, 2, 3};
    struct reader r = reader_of(data, sizeof data);

    (void)state;
    assert_int_equal(read_u32(&r), 0);
    assert_true(r.bad);
    assert_int_equal(read_u8(&r), 0); /* Though one byte would be there. */
    assert_null(read_bytes(&r, SIZE_MAX));
}

static void test_writing_too_far_leaves_the_rest_alone(void **state)
{
    unsigned char data[] = {9, 9, 9, 9};
    struct writer w = writer_of(data, 3);

    (void)state;
    write_u16(&w, 0);
    write_u16(&w, 0);
    write_u8(&w, 0);
    assert_true(w.bad);
    assert_int_equal(writer_size(&w), 2);
    assert_int_equal(data[2], 9);
    assert_int_equal(data[3], 9);
}

static void test_nothing_at_all_is_fine(void **state)
{
    struct reader r = reader_of(NULL, 0);
    struct writer w = writer_of(NULL, 0);

    (void)state;
    read_bytes(&r, 0);
    write_bytes(&w, NULL, 0);
    assert_false(r.bad);
    assert_false(w.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_little_endian),
        cmocka_unit_test(test_what_was_written_reads_back),
        cmocka_unit_test(test_reading_too_far_is_bad_and_stays_so),
        cmocka_unit_test(test_writing_too_far_leaves_the_rest_alone),
        cmocka_unit_test(test_nothing_at_all_is_fine),
    };

    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
