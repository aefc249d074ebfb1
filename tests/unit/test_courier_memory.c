#include "tests/fakes/fault_mem.h"
#include "tests/unit/courier_fixture.h"

static void test_init_fails_cleanly_wherever_memory_ends(void **state)
{
    const struct courier_io io = {on_send,    on_part_done, on_slice_refused,
                                  on_skipped, on_stalled,   on_norms,
                                  NULL};
    size_t before = fault_mem_live();
    struct bufpool buffers;
    struct courier *c = NULL;
    unsigned n = 0;

    (void)state;
    bufpool_init(&buffers, 0);
    while (c == NULL) {
        fault_mem_fail(++n);
        if (courier_init(&c, &io, &buffers) != KV_OK) {
            c = NULL;
            assert_int_equal(fault_mem_live(), before);
        }
        fault_mem_fail(0);
    }
    assert_true(n > 3);
    courier_free(c);
    assert_int_equal(fault_mem_live(), before);
}

static void test_a_slice_that_finds_no_room_may_come_again(void **state)
{
    struct fixture *f = *state;

    f->extra = (struct slice){.slot = 5000, .dtype = KV_F32, .count = SMALL};
    fault_mem_fail(1);
    assert_int_equal(courier_add_slice(f->courier, &f->extra), KV_ENOMEM);
    fault_mem_fail(0);
    assert_int_equal(courier_add_slice(f->courier, &f->extra), KV_OK);
}

/* Whatever is missing, the push stays and goes later, in its first round. */
static void push_without_memory(struct fixture *f, uint32_t slot,
                                unsigned inputs_count)
{
    push(f, slot, 0, inputs_count);
    fault_mem_fail_from(1);
    pump(f);
    fault_mem_fail(0);
    expect_no_more(f);
    assert_int_equal(f->slices[slot].pushed, 0);
    pump(f);
    expect_one(f, MESSAGE_PUSH, slot, 1);
}

static void test_a_push_waits_for_memory(void **state)
{
    struct fixture *f = *state;

    push_without_memory(f, 0, 1);
    push_without_memory(f, 1, 2);
    push_without_memory(f, SLICES - 1, 2);
}

static void test_an_encoded_push_waits_for_memory(void **state)
{
    struct fixture *f = *state;

    courier_codec(f->courier, kv_codec_find("fp16"));
    push_without_memory(f, 0, 2);
    push_without_memory(f, SLICES - 1, 2);
}

static void test_without_memory_priorities_are_as_near_as_can_be(void **state)
{
    struct fixture *f = *state;

    fault_mem_fail_from(1);
    for (uint32_t i = 0; i < SLICES; i++) {
        push(f, i, 100 - (int)i, 1);
    }
    fault_mem_fail(0);
    pump(f);
    for (uint32_t i = 0; i < SLICES; i++) {
        committed(f, i, 1);
    }
    assert_int_equal(f->done_count, SLICES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_fails_cleanly_wherever_memory_ends),
        TEST(test_a_slice_that_finds_no_room_may_come_again),
        TEST(test_a_push_waits_for_memory),
        TEST(test_an_encoded_push_waits_for_memory),
        TEST(test_without_memory_priorities_are_as_near_as_can_be),
    };

    return cmocka_run_group_tests_name("courier_memory", tests, NULL, NULL);
}
