/* The optimizer, the policy and the incarnations of a shard. */
#include "tests/unit/shard_fixture.h"

/* --- Steps ---------------------------------------------------------------- */

/* One round of all ranks, each with gradient `g`; the value after it. */
static float train(struct fixture *f, uint32_t slot, uint64_t round, float g)
{
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        push(f, rank, slot, round, 8, g);
    }
    for (uint32_t rank = 0; rank < f->workers; rank++) {
        expect_ack(f, rank, slot, round);
    }
    shard_pull(f->shard, 0, slot, round);
    expect_answer(f, true, 0, slot, round, KV_OK);
    return f->seen[f->seen_next - 1].value[0];
}

static void expect_number(float actual, float expected)
{
    if (actual != expected) {
        fail_msg("%.9g, not %.9g", (double)actual, (double)expected);
    }
}

static enum kv_status try_change(struct fixture *f, const char *name,
                                 double value)
{
    struct hyper_change c = {.name = name, .value = value};

    return shard_hyper(f->shard, &c, f->error, sizeof f->error);
}

static void change(struct fixture *f, const char *param, double value)
{
    assert_int_equal(try_change(f, param, value), KV_OK);
}

static struct shard_census census(const struct fixture *f)
{
    struct shard_census c;

    shard_census(f->shard, &c);
    return c;
}

/* --- Optimizer ------------------------------------------------------------ */

static void test_an_optimizer_moves_the_value(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 10);

    set_optimizer(f, "sgd", "learning_rate=0.5");
    expect_number(train(f, slot, 1, 1), 9);
    expect_number(train(f, slot, 2, 2), 7);
}

static void test_state_is_kept_from_round_to_round(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    expect_number(train(f, slot, 1, 1), -1);
    expect_number(train(f, slot, 2, 1), -2.5f);
    expect_number(train(f, slot, 3, 1), -4.25f);
    assert_int_equal(census(f).state_bytes, 32);
    assert_int_equal(census(f).value_bytes, 32);
    assert_int_equal(census(f).rounds_max, 3);
}

static void test_the_same_optimizer_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    expect_number(train(f, slot, 1, 1), -1);
    set_optimizer(f, "sgd", "lr=1,momentum=0.5");
    expect_number(train(f, slot, 2, 1), -2.5f);
}

static void test_another_optimizer_starts_with_fresh_state(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    expect_number(train(f, slot, 1, 1), -1);
    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.25");
    expect_number(train(f, slot, 2, 1), -2);
    /* There and back without a round in between is a change, too. */
    set_optimizer(f, "adam", "");
    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.25");
    expect_number(train(f, slot, 3, 1), -3);
}

static void test_adam_counts_its_own_updates(void **state)
{
    struct fixture *f = *state;
    uint32_t a = create(f, 1, 8, 0), b;
    float first;

    train(f, a, 1, 1); /* Assigned: no update. */
    set_optimizer(f, "adam", "learning_rate=0.1");
    first = train(f, a, 2, 1);
    train(f, a, 3, 1);
    b = create(f, 2, 8, 1); /* Later than the optimizer. */
    expect_number(train(f, b, 1, 1), first);
}

static void test_a_round_that_is_open_closes_with_the_new_rule(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 10);

    push(f, 1, slot, 1, 8, 1);
    set_optimizer(f, "sgd", "learning_rate=1");
    push(f, 0, slot, 1, 8, 2);
    expect_ack(f, 0, slot, 1);
    expect_ack(f, 1, slot, 1);
    expect_state(f, slot, 7);
}

static void test_half_precision_is_trained_too(void **state)
{
    struct fixture *f = *state;
    struct slice_desc d = {1, 0, KV_BF16, 5000, 0, 1, false, 0, 0};
    static uint16_t v[5000], g[5000];
    float one = 1, now;

    for (int i = 0; i < 5000; i++) {
        kv_from_f32(KV_BF16, &one, &g[i], 1);
    }
    shard_open(f->shard, 0, 1, &d, v, sizeof v);
    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    shard_push(f->shard, 0, 0, 1, 0, g, sizeof g, NULL);
    shard_push(f->shard, 0, 0, 2, 0, g, sizeof g, NULL);
    f->seen_next = f->seen_count;
    shard_pull(f->shard, 0, 0, 2);
    kv_to_f32(KV_BF16, next_seen(f)->value, &now, 1);
    expect_number(now, -2.5f);
}

static void test_no_room_for_state_is_said_when_it_is_set(void **state)
{
    struct fixture *f = *state;
    struct kv_optim_spec spec;

    for (uint32_t i = 0; i < 6; i++) {
        create(f, i, 1 << 20, 1);
    }
    assert_int_equal(kv_optim_parse("adam", "", &spec, f->error, 512), KV_OK);
    assert_int_equal(shard_optimizer(f->shard, &spec, f->error, 512),
                     KV_ENOSPC);
    expect_text(f->error, "adam needs 50331648 bytes more");
    expect_number(train(f, create(f, 50, 8, 0), 1, 3), 3);
}

static void test_asking_whether_it_could_be_set_sets_nothing(void **state)
{
    struct fixture *f = *state;
    struct kv_optim_spec spec;
    uint32_t slot = create(f, 1, 8, 10);

    assert_int_equal(kv_optim_parse("sgd", "", &spec, f->error, 512), KV_OK);
    assert_int_equal(shard_check_optimizer(f->shard, &spec, f->error, 512),
                     KV_OK);
    expect_number(train(f, slot, 1, 1), 2); /* The sum. */
}

/* --- Live numbers --------------------------------------------------------- */

static void test_a_live_change_keeps_the_state(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    set_optimizer(f, "sgd", "learning_rate=1,momentum=0.5");
    expect_number(train(f, slot, 1, 1), -1);
    change(f, "lr", 2);
    expect_number(train(f, slot, 2, 1), -3.5f);
    crash(f);
    expect_number(train(f, slot, 3, 0), -4.75f);
    expect_number(train(f, slot, 4, 1), -7.375f);
}

static void test_impossible_changes_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 8, 0);

    assert_int_equal(try_change(f, "lr", 2), KV_EINVAL);
    expect_text(f->error, "no optimizer is set");
    set_optimizer(f, "sgd", "learning_rate=1");
    assert_int_equal(try_change(f, "beta9", 2), KV_EINVAL);
    expect_text(f->error, "beta9");
    assert_int_equal(try_change(f, "momentum", 0.5), KV_EINVAL);
    expect_text(f->error, "momentum");
    expect_number(train(f, slot, 1, 1), -1);
}

/* --- Policy and incarnations ---------------------------------------------- */

static void test_the_first_policy_decides_for_good(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(shard_policy(f->shard, KV_POLICY_ASYNC, 1, f->error, 512),
                     KV_EMISMATCH);
    expect_text(f->error,
                "rank 1 asks for policy async, but the job runs with sync");
    assert_int_equal(shard_policy(f->shard, 99, 1, f->error, 512), KV_EINVAL);
    crash(f);
    assert_int_equal(shard_policy(f->shard, KV_POLICY_ASYNC, 1, f->error, 512),
                     KV_EMISMATCH);
    assert_int_equal(shard_policy(f->shard, KV_POLICY_SYNC, 1, f->error, 512),
                     KV_OK);
}

static void expect_fence(struct fixture *f, uint32_t rank, uint64_t life,
                         uint64_t token, enum kv_status status)
{
    assert_string_equal(kv_strstatus(shard_fence(f->shard, rank, life, token)),
                        kv_strstatus(status));
}

static void test_older_lives_and_doubles_are_fenced(void **state)
{
    struct fixture *f = *state;

    expect_fence(f, 1, 5, 111, KV_OK);
    expect_fence(f, 1, 5, 111, KV_OK); /* Its connection came back. */
    expect_fence(f, 1, 4, 444, KV_ESTALE);
    expect_fence(f, 1, 5, 222, KV_ESTALE); /* Two claim to be the fifth. */
    crash(f);
    expect_fence(f, 1, 5, 222, KV_ESTALE);
    expect_fence(f, 1, 6, 333, KV_OK);
    expect_fence(f, 1, 5, 111, KV_ESTALE);
    expect_fence(f, 0, 1, 9, KV_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_optimizer_moves_the_value, set_up_pair),
        TEST(test_state_is_kept_from_round_to_round, set_up_alone),
        TEST(test_the_same_optimizer_again_changes_nothing, set_up_alone),
        TEST(test_another_optimizer_starts_with_fresh_state, set_up_alone),
        TEST(test_adam_counts_its_own_updates, set_up_alone),
        TEST(test_a_round_that_is_open_closes_with_the_new_rule, set_up_pair),
        TEST(test_half_precision_is_trained_too, set_up_alone),
        TEST(test_asking_whether_it_could_be_set_sets_nothing, set_up_pair),
        TEST(test_no_room_for_state_is_said_when_it_is_set, set_up_alone),
        TEST(test_a_live_change_keeps_the_state, set_up_alone),
        TEST(test_impossible_changes_are_refused, set_up_alone),
        TEST(test_the_first_policy_decides_for_good, set_up_pair),
        TEST(test_older_lives_and_doubles_are_fenced, set_up_pair),
    };

    return cmocka_run_group_tests_name("shard_optim", tests, NULL, NULL);
}
