#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/policy.h"
#include "tests/unit/chance.h"

#define WORKERS_MAX 5

/* --- Of every policy in the folder ---------------------------------------- */

static void test_each_policy_has_a_name_and_a_number_of_its_own(void **state)
{
    size_t count = 0;

    (void)state;
    for (const struct policy *p; (p = policy_at(count)) != NULL; count++) {
        assert_non_null(p->name);
        assert_int_not_equal(p->id, 0);
        assert_ptr_equal(policy_by_id(p->id), p); /* No other has it. */
        assert_ptr_equal(policy_at(count), p);
    }
    assert_true(count >= 2);
    assert_null(policy_at(count + 1));
}

static void test_a_round_that_all_ranks_have_pushed_closes(void **state)
{
    uint64_t seed = chance_seed();

    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        for (int n = 0; n < 100; n++) {
            uint64_t done = chance(&seed, 1000), seq[WORKERS_MAX];
            uint32_t workers = 1 + (uint32_t)chance(&seed, WORKERS_MAX);
            struct policy_view v = {done * workers, seq, workers, workers};

            for (uint32_t r = 0; r < workers; r++) {
                seq[r] = done;
            }
            assert_true(policy_at(i)->closes(&v));
        }
    }
}

/* Where every rank has had `done` pushes committed. */
static void test_what_is_committed_can_be_read_and_nothing_after(void **state)
{
    uint64_t seed = chance_seed();

    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        const struct policy *p = policy_at(i);

        for (int n = 0; n < 100; n++) {
            uint64_t done = chance(&seed, 1000), seq[WORKERS_MAX];
            uint32_t workers = 1 + (uint32_t)chance(&seed, WORKERS_MAX);
            struct policy_view v = {.round =
                                        p->per_rank ? done * workers : done,
                                    .seq = p->per_rank ? seq : NULL,
                                    .members = workers};

            for (uint32_t r = 0; r < workers; r++) {
                seq[r] = done;
            }
            for (uint32_t r = 0; r < workers; r++) {
                assert_int_equal(p->committed(&v, r), done);
                assert_true(p->readable(&v, r, done));
                assert_false(p->readable(&v, r, done + 1));
            }
        }
    }
}

/* --- Of each by itself ---------------------------------------------------- */

static void test_policies_are_found_by_id(void **state)
{
    (void)state;
    assert_string_equal(policy_by_id(KV_POLICY_SYNC)->name, "sync");
    assert_string_equal(policy_by_id(KV_POLICY_ASYNC)->name, "async");
    assert_null(policy_by_id(0));
    assert_null(policy_by_id(UINT32_MAX));
}

static void test_sync_closes_when_every_member_has_pushed(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_SYNC);
    struct policy_view v = {.round = 4, .members = 3, .arrived = 2};

    (void)state;
    assert_false(p->per_rank);
    assert_false(p->closes(&v));
    v.arrived = 3;
    assert_true(p->closes(&v));
    v = (struct policy_view){.round = 4, .members = 1, .arrived = 1};
    assert_true(p->closes(&v));
}

static void test_sync_counts_the_rounds_of_the_slice(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_SYNC);
    struct policy_view v = {.round = 4, .members = 3};

    (void)state;
    assert_int_equal(p->committed(&v, 2), 4);
    assert_true(p->readable(&v, 2, 4));
    assert_false(p->readable(&v, 2, 5));
}

static void test_async_closes_with_any_push(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_ASYNC);
    struct policy_view v = {.members = 3, .arrived = 1};

    (void)state;
    assert_true(p->per_rank);
    assert_true(p->closes(&v));
}

static void test_async_counts_each_rank_by_itself(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_ASYNC);
    const uint64_t seq[3] = {7, 0, 2};
    struct policy_view v = {.round = 9, .seq = seq, .members = 3};

    (void)state;
    assert_int_equal(p->committed(&v, 0), 7);
    assert_int_equal(p->committed(&v, 1), 0);
    assert_true(p->readable(&v, 2, 2));
    assert_false(p->readable(&v, 2, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_policy_has_a_name_and_a_number_of_its_own),
        cmocka_unit_test(test_a_round_that_all_ranks_have_pushed_closes),
        cmocka_unit_test(test_what_is_committed_can_be_read_and_nothing_after),
        cmocka_unit_test(test_policies_are_found_by_id),
        cmocka_unit_test(test_sync_closes_when_every_member_has_pushed),
        cmocka_unit_test(test_sync_counts_the_rounds_of_the_slice),
        cmocka_unit_test(test_async_closes_with_any_push),
        cmocka_unit_test(test_async_counts_each_rank_by_itself),
    };

    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
