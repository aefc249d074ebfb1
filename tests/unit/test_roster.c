#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/message.h"
#include "server/roster.h"

#define WORKERS 4
#define SERVERS 3

struct fixture {
    struct roster r;
    char error[512], text[256];
    bool changed;
    uint64_t state; /* What servers enlist with. */
    bool used, keys;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->state = 7;
    if (roster_init(&f->r, WORKERS, SERVERS) != KV_OK) {
        return -1;
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    roster_fini(&f->r);
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

static enum kv_status try_join(struct fixture *f, uint32_t rank,
                               uint64_t incarnation, uint64_t token,
                               uint32_t policy, uint32_t *got)
{
    struct roster_claim claim = {rank, policy, incarnation, token};

    *got = 999;
    f->error[0] = '\0';
    return roster_join(&f->r, &claim, got, &f->changed, f->error,
                       sizeof f->error);
}

static uint32_t join(struct fixture *f, uint32_t rank, uint64_t incarnation,
                     uint64_t token)
{
    uint32_t got;

    assert_string_equal(kv_strstatus(try_join(f, rank, incarnation, token,
                                              KV_POLICY_SYNC, &got)),
                        kv_strstatus(KV_OK));
    return got;
}

static void refuse(struct fixture *f, uint32_t rank, uint64_t incarnation,
                   uint64_t token, uint32_t policy, enum kv_status status,
                   const char *text)
{
    uint32_t got;

    assert_string_equal(
        kv_strstatus(try_join(f, rank, incarnation, token, policy, &got)),
        kv_strstatus(status));
    assert_int_equal(got, 999);
    assert_non_null(strstr(f->error, text));
}

static void join_all(struct fixture *f)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(join(f, i, 1, 100 + i), i);
        roster_connect(&f->r, i, true);
    }
}

static enum kv_status arrive(struct fixture *f, uint32_t rank, uint64_t g)
{
    return roster_arrive(&f->r, rank, g, f->error, sizeof f->error);
}

static enum kv_status enlist(struct fixture *f, uint32_t index,
                             const char *address, uint32_t shards)
{
    struct roster_offer offer = {index, shards, address, f->state, f->used};

    f->changed = false;
    return roster_enlist(&f->r, &offer, f->keys, &f->changed, f->error,
                         sizeof f->error);
}

static void expect_missing_servers(struct fixture *f, const char *text)
{
    roster_missing_servers(&f->r, f->text, sizeof f->text);
    assert_string_equal(f->text, text);
}

static void expect_missing_ranks(struct fixture *f, const char *text)
{
    roster_missing_ranks(&f->r, f->text, sizeof f->text);
    assert_string_equal(f->text, text);
}

/* --- Ranks --------------------------------------------------------------- */

static void test_who_brings_no_rank_gets_the_lowest_free_one(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(join(f, 1, 1, 101), 1);
    assert_int_equal(join(f, ROSTER_RANK_NONE, 1, 201), 0);
    assert_int_equal(join(f, ROSTER_RANK_NONE, 1, 202), 2);
    assert_int_equal(join(f, ROSTER_RANK_NONE, 1, 203), 3);
    refuse(f, ROSTER_RANK_NONE, 1, 204, KV_POLICY_SYNC, KV_EBUSY,
           "all 4 ranks are taken; give KV_RANK to replace one that died");
}

static void test_a_token_gets_its_rank_again(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(join(f, ROSTER_RANK_NONE, 1, 201), 0);
    assert_true(f->changed);
    assert_int_equal(join(f, ROSTER_RANK_NONE, 1, 202), 1);
    assert_int_equal(join(f, ROSTER_RANK_NONE, 1, 201), 0);
    assert_false(f->changed);
    assert_int_equal(join(f, 0, 1, 201), 0);
}

static void test_a_newer_life_replaces_an_older_one_for_good(void **state)
{
    struct fixture *f = *state;

    join(f, 2, 5, 100);
    join(f, 2, 6, 101);
    assert_true(f->changed);
    refuse(f, 2, 5, 100, KV_POLICY_SYNC, KV_ESTALE,
           "rank 2 belongs to another process");
    refuse(f, 2, 6, 100, KV_POLICY_SYNC, KV_ESTALE, "incarnation 6");
    join(f, 2, 6, 101);
    assert_false(f->changed);
}

static void test_the_first_worker_decides_the_policy(void **state)
{
    struct fixture *f = *state;

    join(f, 0, 1, 100);
    refuse(f, 1, 1, 101, KV_POLICY_ASYNC, KV_EMISMATCH,
           "rank 1 wants a store of kind dist_async, but the job's is "
           "dist_sync");
    assert_false(f->r.rank[1].assigned);
}

static void test_a_policy_that_there_is_not_is_refused(void **state)
{
    struct fixture *f = *state;

    refuse(f, 1, 1, 101, 12345, KV_EINVAL,
           "rank 1 asks for policy 12345, which this server does not have");
    join(f, 0, 1, 100);
    refuse(f, 1, 1, 101, 12345, KV_EINVAL, "policy 12345");
}

static void test_a_rank_beyond_the_job_is_refused(void **state)
{
    refuse(*state, WORKERS, 1, 1, KV_POLICY_SYNC, KV_EINVAL,
           "the job has ranks 0 to 3");
}

static void test_a_rank_that_has_left_is_free_again(void **state)
{
    struct fixture *f = *state;

    join_all(f);
    assert_true(roster_leave(&f->r, 2));
    refuse(f, ROSTER_RANK_NONE, 2, 300, KV_POLICY_SYNC, KV_EBUSY, "taken");
    roster_connect(&f->r, 2, false);
    assert_int_equal(join(f, ROSTER_RANK_NONE, 2, 300), 2);
    assert_false(f->r.rank[2].left);
}

static void test_the_job_is_done_when_all_have_left(void **state)
{
    struct fixture *f = *state;

    join_all(f);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_false(roster_done(&f->r));
        assert_true(roster_leave(&f->r, i));
        assert_false(roster_leave(&f->r, i));
    }
    assert_true(roster_done(&f->r));
    join(f, 1, 2, 500);
    assert_false(roster_done(&f->r));
}

/* --- Barriers ------------------------------------------------------------ */

static void test_a_barrier_passes_when_every_rank_has_come(void **state)
{
    struct fixture *f = *state;

    join_all(f);
    assert_int_equal(arrive(f, 0, 1), KV_EAGAIN);
    assert_int_equal(arrive(f, 3, 1), KV_EAGAIN);
    assert_int_equal(arrive(f, 3, 1), KV_EAGAIN); /* Asked again. */
    expect_missing_ranks(f, "ranks 1 and 2");
    assert_int_equal(arrive(f, 1, 1), KV_EAGAIN);
    expect_missing_ranks(f, "rank 2");
    assert_int_equal(f->r.barrier, 0);
    assert_int_equal(arrive(f, 2, 1), KV_OK);
    assert_int_equal(f->r.barrier, 1);
    assert_int_equal(arrive(f, 2, 2), KV_EAGAIN);
}

static void test_a_barrier_that_has_passed_answers_at_once(void **state)
{
    struct fixture *f = *state;

    join_all(f);
    f->r.barrier = 7;
    assert_int_equal(arrive(f, 0, 7), KV_OK);
    assert_int_equal(arrive(f, 0, 1), KV_OK);
    assert_int_equal(f->r.barrier, 7);
    assert_int_equal(arrive(f, 0, 9), KV_EPROTO);
    assert_string_equal(f->error,
                        "rank 0 is at barrier 9, but only 7 have passed");
}

static void test_who_loses_its_link_is_at_no_barrier(void **state)
{
    struct fixture *f = *state;

    join_all(f);
    for (uint32_t i = 0; i < WORKERS - 1; i++) {
        assert_int_equal(arrive(f, i, 1), KV_EAGAIN);
    }
    roster_connect(&f->r, 1, false);
    expect_missing_ranks(f, "ranks 1 (not connected) and 3");
    assert_int_equal(arrive(f, 3, 1), KV_EAGAIN);
    roster_connect(&f->r, 1, true);
    assert_int_equal(arrive(f, 1, 1), KV_OK);
}

static void test_a_long_list_of_ranks_is_cut(void **state)
{
    struct fixture *f = *state;
    struct roster many;

    assert_int_equal(roster_init(&many, 100, 1), KV_OK);
    roster_missing_ranks(&many, f->text, sizeof f->text);
    assert_string_equal(
        f->text, "ranks 0 (not connected), 1 (not connected), 2 (not "
                 "connected), 3 (not connected), 4 (not connected), 5 (not "
                 "connected), 6 (not connected), 7 (not connected) and 92 "
                 "more");
    roster_missing_ranks(&many, f->text, 20); /* Cut, never overrun. */
    assert_int_equal(strlen(f->text), 19);
    roster_fini(&many);
}

/* --- Servers ------------------------------------------------------------- */

static void test_the_job_begins_when_all_servers_have_enlisted(void **state)
{
    struct fixture *f = *state;

    expect_missing_servers(f, "servers 0, 1 and 2");
    assert_int_equal(enlist(f, 0, "a:1", 2), KV_OK);
    assert_true(f->changed);
    assert_int_equal(enlist(f, 2, "c:1", 3), KV_OK);
    expect_missing_servers(f, "server 1");
    assert_false(roster_assembled(&f->r));
    assert_int_equal(enlist(f, 1, "b:1", 1), KV_OK);
    assert_true(roster_assembled(&f->r));
    assert_int_equal(roster_shards(&f->r), 6);
}

static void test_a_server_may_move_but_not_change_its_shards(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(enlist(f, 1, "b:1", 2), KV_OK);
    assert_int_equal(enlist(f, 1, "b:1", 2), KV_OK);
    assert_false(f->changed);
    assert_int_equal(enlist(f, 1, "b:9", 2), KV_OK);
    assert_true(f->changed);
    assert_string_equal(f->r.server[1].address, "b:9");
    assert_int_equal(enlist(f, 1, "b:9", 4), KV_EMISMATCH);
    assert_string_equal(f->error, "server 1 has 4 shards, but keys have been "
                                  "placed on its 2");
    assert_int_equal(f->r.server[1].shards, 2);
    assert_int_equal(enlist(f, SERVERS, "d:1", 2), KV_EINVAL);
    assert_int_equal(enlist(f, 0, "a:1", 0), KV_EINVAL);
    assert_int_equal(enlist(f, 0, "", 1), KV_EINVAL);
    assert_int_equal(enlist(f, 0, "a:1", KV_SHARDS_MAX + 1), KV_EINVAL);
}

static void expect_lost(struct fixture *f, uint32_t index, const char *text)
{
    assert_int_equal(enlist(f, index, "a:1", 2), KV_EDATALOSS);
    assert_non_null(strstr(f->error, text));
    assert_false(f->changed);
}

static void test_a_server_must_bring_the_state_it_had(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(enlist(f, 1, "a:1", 2), KV_OK);
    f->state = 8; /* Nothing was lost with the one before. */
    assert_int_equal(enlist(f, 1, "a:1", 2), KV_OK);
    assert_true(f->changed);
    f->keys = true;
    f->used = true;
    assert_int_equal(enlist(f, 1, "a:1", 2), KV_OK);
    f->state = 9;
    expect_lost(f, 1, "server 1 has come back without its state");
    f->used = false;
    expect_lost(f, 1, "server 1 has come back without its state");
    f->state = 8;
    assert_int_equal(enlist(f, 1, "a:1", 2), KV_OK);
    assert_false(f->changed);
}

static void test_a_server_with_state_of_another_job_is_refused(void **state)
{
    struct fixture *f = *state;

    f->used = true;
    expect_lost(f, 1, "server 1 has state that this root does not know");
    f->used = false;
    assert_int_equal(enlist(f, 1, "a:1", 2), KV_OK);
}

static void test_addresses_must_fit_into_a_message(void **state)
{
    struct roster_offer offer = {0, 1, NULL, 7, false};
    char address[KV_ADDRESS_MAX + 1], error[512];
    struct roster r;
    bool changed;

    (void)state;
    memset(address, 'a', KV_ADDRESS_MAX);
    address[KV_ADDRESS_MAX] = '\0';
    offer.address = address;
    assert_int_equal(roster_init(&r, WORKERS, KV_SERVERS_MAX), KV_OK);
    while (roster_enlist(&r, &offer, false, &changed, error, sizeof error) ==
           KV_OK) {
        offer.index++;
    }
    assert_non_null(strstr(error, "512 servers come to 16"));
    assert_int_equal(
        roster_enlist(&r, &offer, false, &changed, error, sizeof error),
        KV_ETOOBIG);
    offer.address = "10.0.0.1:9091";
    assert_int_equal(
        roster_enlist(&r, &offer, false, &changed, error, sizeof error), KV_OK);
    roster_fini(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_brings_no_rank_gets_the_lowest_free_one),
        TEST(test_a_token_gets_its_rank_again),
        TEST(test_a_newer_life_replaces_an_older_one_for_good),
        TEST(test_the_first_worker_decides_the_policy),
        TEST(test_a_policy_that_there_is_not_is_refused),
        TEST(test_a_rank_beyond_the_job_is_refused),
        TEST(test_a_rank_that_has_left_is_free_again),
        TEST(test_the_job_is_done_when_all_have_left),
        TEST(test_a_barrier_passes_when_every_rank_has_come),
        TEST(test_a_barrier_that_has_passed_answers_at_once),
        TEST(test_who_loses_its_link_is_at_no_barrier),
        TEST(test_a_long_list_of_ranks_is_cut),
        TEST(test_the_job_begins_when_all_servers_have_enlisted),
        TEST(test_a_server_may_move_but_not_change_its_shards),
        TEST(test_a_server_must_bring_the_state_it_had),
        TEST(test_a_server_with_state_of_another_job_is_refused),
        TEST(test_addresses_must_fit_into_a_message),
    };

    return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
