/* Slices that go, with what is open at them, and what comes after them. */
#include <stdatomic.h>
#include <sys/mman.h>

#include "common/optim/hyper.h"
#include "server/shard_private.h"
#include "tests/unit/chance.h"
#include "tests/unit/shard_fixture.h"

#define COUNT 3000
#define NEXT(deletion) ((uint64_t)(deletion) << KV_ROUND_BITS)

/* --- Steps ---------------------------------------------------------------- */

static void open_at(struct fixture *f, uint32_t rank, uint32_t key_id,
                    uint64_t deletions, float first)
{
    struct slice_desc d = f32_slice(key_id, COUNT);
    float value[COUNT];

    d.deletions = deletions;
    for (size_t i = 0; i < COUNT; i++) {
        value[i] = first;
    }
    shard_open(f->shard, rank, 1, &d, rank == 0 ? value : NULL,
               rank == 0 ? sizeof value : 0);
}

static uint32_t create_at(struct fixture *f, uint32_t key_id,
                          uint64_t deletions, float first)
{
    const struct seen *s;

    open_at(f, 0, key_id, deletions, first);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->round, NEXT(deletions));
    return s->slot;
}

static size_t used(const struct fixture *f)
{
    struct arena_usage u;

    arena_usage(f->home.arena, &u);
    return u.used_bytes;
}

/* --- What is open --------------------------------------------------------- */

static void test_what_waits_is_told(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    push(f, 1, slot, 1, COUNT, 1);
    shard_pull(f->shard, 1, slot, 1);
    shard_pull(f->shard, 0, slot, 1);
    expect_silence(f);
    shard_drop(f->shard, 1, 0, 1);
    expect_answer(f, true, 0, slot, 1, KV_ENOTFOUND);
    expect_answer(f, false, 1, slot, 1, KV_ENOTFOUND);
    expect_answer(f, true, 1, slot, 1, KV_ENOTFOUND);
    expect_silence(f);
}

static void test_what_comes_later_is_told(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);
    double totals[KV_NORMS_MAX] = {0};
    uint64_t version;

    shard_drop(f->shard, 1, 0, 1);
    push(f, 0, slot, 1, COUNT, 1);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
    shard_pull(f->shard, 0, slot, 0);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
    shard_totals(f->shard, 0, slot, 1, 0, totals);
    expect_silence(f);
    assert_int_equal(shard_version(f->shard, 1, 0, &version), KV_ENOTFOUND);
}

static void test_dropping_twice_is_dropping(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    shard_drop(f->shard, 1, 0, 1);
    assert_int_equal(create_at(f, 2, 1, 5), slot);
    shard_drop(f->shard, 1, 0, 1);
    shard_drop(f->shard, 9, 0, 2);
    shard_pull(f->shard, 0, slot, NEXT(1));
    expect_pulled(f, 0, slot, NEXT(1), 5);
}

static void test_a_measured_round_ends(void **state)
{
    struct slice_desc d = {1, 0, KV_F32, COUNT, 0, 2, false, 0, 0};
    struct fixture *f = *state;
    static float value[COUNT] = {1};
    double totals[KV_NORMS_MAX] = {1, 1, 1};
    uint32_t slot;

    set_optimizer(f, "lamb", "lr=1");
    shard_open(f->shard, 0, 1, &d, value, sizeof value);
    slot = next_seen(f)->slot;
    push(f, 0, slot, 1, COUNT, 1);
    assert_true(next_seen(f)->norms);
    shard_drop(f->shard, 1, 0, 1);
    expect_answer(f, false, 0, slot, 1, KV_ENOTFOUND);
    shard_totals(f->shard, 0, slot, 1, 0, totals);
    expect_silence(f);
    set_optimizer(f, "sgd", "lr=1"); /* Nothing is being measured. */
}

/* --- Opening -------------------------------------------------------------- */

static void test_who_has_not_heard_of_the_deletion_asks_again(void **state)
{
    struct fixture *f = *state;

    create(f, 1, COUNT, 0);
    shard_drop(f->shard, 1, 0, 3);
    open_at(f, 0, 1, 2, 0);
    expect_refused(f, KV_EAGAIN, "ask the root again");
    open_at(f, 1, 1, 2, 0);
    expect_refused(f, KV_EAGAIN, "ask the root again");
    create_at(f, 2, 3, 0);
    open_at(f, 1, 2, 0, 0); /* It is there: no doubt about it. */
    expect_status(next_seen(f), KV_OK);
}

static void test_who_waits_for_a_dropped_one_asks_again(void **state)
{
    struct fixture *f = *state;

    open_at(f, 1, 1, 0, 0);
    expect_silence(f);
    shard_drop(f->shard, 1, 0, 1);
    expect_refused(f, KV_EAGAIN, "ask the root again");
}

/* --- The next of the slot ------------------------------------------------- */

static void test_old_rounds_are_not_the_next_ones(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);
    struct run run = {slot, 1, 1, COUNT * sizeof(float)};
    static float gradient[COUNT];

    shard_drop(f->shard, 1, 0, 1);
    assert_int_equal(create_at(f, 2, 1, 5), slot);
    push(f, 0, slot, 1, COUNT, 1);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
    shard_push_run(f->shard, 0, &run, 0, gradient);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
    shard_pull(f->shard, 0, slot, 1);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
    push(f, 0, slot, NEXT(1) + 1, COUNT, 7);
    expect_ack(f, 0, slot, NEXT(1) + 1);
    shard_pull(f->shard, 0, slot, NEXT(1) + 1);
    expect_pulled(f, 0, slot, NEXT(1) + 1, 7);
}

static void test_async_counts_begin_there_too(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);

    set_optimizer(f, "sgd", "lr=1");
    shard_drop(f->shard, 1, 0, 4);
    assert_int_equal(create_at(f, 2, 4, 5), slot);
    push(f, 1, slot, NEXT(4) + 1, COUNT, 1);
    expect_ack(f, 1, slot, NEXT(4) + 1);
    push(f, 1, slot, 2, COUNT, 1);
    expect_refused(f, KV_ENOTFOUND, SHARD_DELETED);
}

/* A change for a round is for that round of each, whatever its slot was. */
static void test_changes_count_rounds_from_one(void **state)
{
    struct hyper_change at_two = {"lr", 2, 2, false, 0, 0};
    struct hyper_change own = {"lr", 4, 3, true, 2, 0};
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, COUNT, 0);
    float left = 100;

    set_optimizer(f, "sgd", "lr=1");
    shard_drop(f->shard, 1, 0, 1);
    create_at(f, 2, 1, left);
    assert_int_equal(shard_hyper(f->shard, &at_two, f->error, 512), KV_OK);
    assert_int_equal(shard_hyper(f->shard, &own, f->error, 512), KV_OK);
    for (uint64_t round = 1; round <= 3; round++) {
        push(f, 0, slot, NEXT(1) + round, COUNT, 1);
        expect_ack(f, 0, slot, NEXT(1) + round);
        left -= (float)(1 << (round - 1));
    }
    shard_pull(f->shard, 0, slot, NEXT(1) + 3);
    expect_pulled(f, 0, slot, NEXT(1) + 3, left);
    own.key_id = 1;
    assert_int_equal(shard_hyper(f->shard, &own, f->error, 512), KV_ENOTFOUND);
}

/* --- Memory, and the arena ------------------------------------------------ */

static void test_coming_and_going_takes_no_more_room(void **state)
{
    struct hyper_change own = {"lr", 4, 0, true, 0, 0};
    struct fixture *f = *state;
    size_t before = 0;

    set_optimizer(f, "adam", "");
    create(f, 1000000, COUNT, 0);
    for (uint32_t i = 1; i <= 500; i++) {
        uint32_t slot = create_at(f, i, i - 1, 0);

        assert_int_equal(slot, 1);
        own.key_id = i;
        assert_int_equal(shard_hyper(f->shard, &own, f->error, 512), KV_OK);
        push(f, 0, slot, NEXT(i - 1) + 1, COUNT, 1);
        expect_ack(f, 0, slot, NEXT(i - 1) + 1);
        shard_drop(f->shard, i, 0, i);
        f->seen_count = f->seen_next = 0;
        if (i == 1) {
            before = used(f);
        }
    }
    assert_int_equal(used(f), before);
}

static void test_free_slots_are_found_again(void **state)
{
    struct fixture *f = *state;
    uint64_t version;

    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(create(f, i, COUNT, (float)i), i);
    }
    shard_drop(f->shard, 1, 0, 1);
    shard_drop(f->shard, 3, 0, 2);
    crash(f);
    assert_int_equal(shard_version(f->shard, 1, 0, &version), KV_ENOTFOUND);
    open_at(f, 0, 7, 1, 0); /* The shard has not forgotten the last one. */
    expect_refused(f, KV_EAGAIN, "ask the root again");
    assert_int_equal(create_at(f, 7, 2, 7), 1);
    assert_int_equal(create_at(f, 8, 2, 8), 3);
    assert_int_equal(create_at(f, 9, 2, 9), 5);
    expect_state(f, 4, 4);
    crash(f);
    open_at(f, 0, 7, 2, 0);
    assert_int_equal(next_seen(f)->round, NEXT(2));
    shard_pull(f->shard, 0, 1, NEXT(2));
    expect_pulled(f, 0, 1, NEXT(2), 7);
}

/* With slots free in between, what goes over all slices does. */
static void test_nobody_stumbles_over_a_free_slot(void **state)
{
    struct fixture *f = *state;
    struct hyper_change all = {"lr", 2, 0, false, 0, 0};
    uint32_t slot, at = 0;
    uint64_t round;

    create(f, 1, COUNT, 0);
    slot = create(f, 2, COUNT, 10);
    shard_drop(f->shard, 1, 0, 1);
    set_optimizer(f, "sgd", "lr=1");
    assert_int_equal(shard_hyper(f->shard, &all, f->error, 512), KV_OK);
    push(f, 0, slot, 1, COUNT, 1);
    assert_int_equal(shard_member(f->shard, 1, false, f->error, 512), KV_OK);
    expect_ack(f, 0, slot, 1);
    assert_int_equal(shard_member(f->shard, 1, true, f->error, 512), KV_OK);
    assert_true(shard_pushed(f->shard, 1, &at, &round));
    assert_int_equal(at, slot);
    assert_int_equal(round, 1);
    at++;
    assert_false(shard_pushed(f->shard, 1, &at, &round));
    shard_pull(f->shard, 0, slot, 1);
    expect_pulled(f, 0, slot, 1, 8);
}

/* --- kill -9 -------------------------------------------------------------- */

/* The last key that was open, in memory that outlives who wrote it. */
static _Atomic uint32_t *opened;

static void live_for_ever(void *arg, int ready)
{
    struct fixture *f = arg;

    home_open(&f->home);
    start(f);
    for (uint32_t i = 1;; i++) {
        f->seen_count = f->seen_next = 0;
        open_at(f, 0, i, UINT64_MAX >> KV_ROUND_BITS, 3);
        *opened = i;
        if (i == 2) {
            chance_ready(ready);
        }
        shard_drop(f->shard, i, 0, i);
    }
}

/* A slice is there, whole, or it is not, and its deletion is known. */
static void expect_known(struct fixture *f)
{
    uint64_t version;

    if (shard_version(f->shard, *opened, 0, &version) != KV_OK) {
        assert_true(shard_deletions(f->shard) >= *opened);
    }
}

static void test_a_kill_leaves_it_or_not(void **state)
{
    struct fixture *f = *state;
    uint64_t x = chance_seed();

    opened = mmap(NULL, sizeof *opened, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(opened, MAP_FAILED);
    for (int i = 0; i < 1000; i++) {
        shard_free(f->shard);
        f->shard = NULL;
        home_drop(&f->home);
        chance_kill(&x, 300, live_for_ever, f);
        home_open(&f->home);
        start(f);
        expect_known(f);
        for (uint32_t key = 1; key < 1000; key++) {
            uint64_t version;

            if (shard_version(f->shard, key, 0, &version) == KV_OK) {
                shard_drop(f->shard, key, 0, 1);
            }
        }
        open_at(f, 0, 5, 0, 0);
        expect_refused(f, KV_EAGAIN, "ask the root again");
        f->seen_count = f->seen_next = 0;
    }
    assert_int_equal(munmap((void *)opened, sizeof *opened), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_waits_is_told, set_up_pair),
        TEST(test_what_comes_later_is_told, set_up_pair),
        TEST(test_dropping_twice_is_dropping, set_up_pair),
        TEST(test_a_measured_round_ends, set_up_alone),
        TEST(test_who_has_not_heard_of_the_deletion_asks_again, set_up_pair),
        TEST(test_who_waits_for_a_dropped_one_asks_again, set_up_pair),
        TEST(test_old_rounds_are_not_the_next_ones, set_up_alone),
        TEST(test_async_counts_begin_there_too, set_up_async),
        TEST(test_changes_count_rounds_from_one, set_up_alone),
        TEST(test_coming_and_going_takes_no_more_room, set_up_alone),
        TEST(test_free_slots_are_found_again, set_up_pair),
        TEST(test_nobody_stumbles_over_a_free_slot, set_up_pair),
        TEST(test_a_kill_leaves_it_or_not, set_up_alone),
    };

    return cmocka_run_group_tests_name("shard drop", tests, NULL, NULL);
}
