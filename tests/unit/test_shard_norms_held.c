/* Rounds that are being measured for norms of a whole key: what their ranks
 * hold, and whom they wait for. */
#include "tests/unit/shard_pair_fixture.h"

/* --- What a rank holds ------------------------------------------------------
 */

static struct pair halved(struct fixture *f, size_t length)
{
    struct pair p = {.form = {4, length}, .dtype = KV_F32, .halved = true};

    (void)set(f, "lamb", "lr=0.1");
    begin(f, &p);
    choose_gradients(&p);
    return p;
}

/* All slices of a key must come before one is committed: those that wait for
 * that do not count, or a rank would be stopped on the way. */
static void test_what_is_measured_does_not_count_as_held(void **state)
{
    static const size_t lengths[] = {10, 2000}; /* Side by side, and alone. */
    struct fixture *f = *state;

    for (size_t i = 0; i < 2; i++) {
        struct pair p = halved(f, lengths[i]);

        push_dense(f, &p, 0, 1);
        assert_true(shard_held(f->shard, 0) >= count_of(&p) * 4);
        push_dense(f, &p, 1, 1);
        assert_int_equal(shard_held(f->shard, 0), 0);
        assert_int_equal(shard_held(f->shard, 1), 0);
        push_rows(f, &p, 0, 1); /* Where those lie, another comes to lie. */
        assert_true(shard_held(f->shard, 0) > 0);
        shard_forget(f->shard, 0);
        assert_int_equal(shard_held(f->shard, 0), 0);
        assert_true(shard_held(f->shard, 1) >= count_of(&p) * 4);
        push_dense(f, &p, 0, 1); /* Again, after a reconnect. */
        assert_int_equal(shard_held(f->shard, 1), 0);
        shard_forget(f->shard, 0);
        shard_forget(f->shard, 1);
        assert_int_equal(shard_held(f->shard, 1), 0);
        f->seen_next = f->seen_count = 0;
    }
}

static void on_wait(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                    uint64_t since_ms, const uint32_t *missing, uint32_t count)
{
    int *waits = ctx;

    (void)slot;
    (void)round;
    (void)since_ms;
    (void)missing;
    waits[rank] = (int)count;
}

/* A rank with such a round waits, and for nobody here; with another, too, it
 * waits for those who lack in that. */
static void test_who_is_measured_waits_for_nobody_here(void **state)
{
    struct fixture *f = *state;
    struct pair p = halved(f, 10);
    int waits[RANKS] = {-1, -1};

    push_dense(f, &p, 0, 1);
    push_dense(f, &p, 1, 1);
    shard_stalls(f->shard, 0, 0, on_wait, waits);
    assert_true(waits[0] == 0 && waits[1] == 0);
    push_rows(f, &p, 1, 1);
    shard_stalls(f->shard, 0, 0, on_wait, waits);
    assert_true(waits[0] == 0 && waits[1] == 1);
    shard_forget(f->shard, 0);
    shard_forget(f->shard, 1);
    f->seen_next = f->seen_count = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_measured_does_not_count_as_held, set_up_tables),
        TEST(test_who_is_measured_waits_for_nobody_here, set_up_tables),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("shard norms held", tests, NULL, NULL);
}
