/* A shard that dies at any moment: nothing acknowledged is lost, and nothing
 * is applied twice. */
#include "tests/unit/chance.h"
#include "tests/unit/shard_fixture.h"

#define COUNT 300  /* Elements of a small slice. */
#define LARGE 9000 /* Elements of the last slice. */
#define SLICES 4
#define RANKS 3
#define ROUNDS_MAX 200000

/* --- What must come out --------------------------------------------------- */

/* The gradient of a rank in a round, the same for every element. */
static float gradient(uint32_t rank, uint64_t round)
{
    return (float)(round % 17) * 0.37f + (float)rank * 1.11f - 3;
}

/* value[r]: of each weight after r rounds of sgd with momentum. */
static const float *fold(uint32_t ranks)
{
    static float value[ROUNDS_MAX];
    static uint32_t made_for;
    const struct kv_optim *sgd = kv_optim_find("sgd");
    struct kv_optim_spec spec;
    unsigned char step[KV_OPTIM_STEP_MAX];
    float velocity = 0, next_velocity, g;
    char error[KV_OPTIM_ERROR_MAX];

    if (made_for == ranks) {
        return value;
    }
    made_for = ranks;
    KV_CHECK(kv_optim_parse("sgd", "learning_rate=0.01,momentum=0.9", &spec,
                            error, sizeof error) == KV_OK);
    value[0] = 1;
    for (uint64_t round = 1; round < ROUNDS_MAX; round++) {
        struct kv_optim_args args = {.count = 1,
                                     .weight = &value[round - 1],
                                     .new_weight = &value[round],
                                     .gradient = &g,
                                     .slot = {&velocity},
                                     .new_slot = {&next_velocity},
                                     .step = step};

        g = gradient(0, round);
        for (uint32_t rank = 1; rank < ranks; rank++) {
            g += gradient(rank, round);
        }
        kv_optim_prepare(&spec, KV_F32, NULL, round, step);
        sgd->update(&args);
        velocity = next_velocity;
    }
    return value;
}

static uint64_t count_of(uint32_t slot)
{
    return slot == SLICES - 1 ? LARGE : COUNT;
}

static void begin(struct fixture *f)
{
    for (uint32_t slot = 0; slot < SLICES; slot++) {
        create(f, slot, count_of(slot), 1);
    }
    set_optimizer(f, "sgd", "learning_rate=0.01,momentum=0.9");
    expect_silence(f);
}

/* The round that a rank is told when it comes back. */
static uint64_t round_of(struct fixture *f, uint32_t rank, uint32_t slot)
{
    struct slice_desc d = f32_slice(slot, count_of(slot));
    const struct seen *s;

    shard_open(f->shard, rank, 1, &d, NULL, 0);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->slot, slot);
    return s->round;
}

static void expect_all(struct fixture *f, uint32_t slot, float value)
{
    const struct seen *s;

    shard_pull(f->shard, 0, slot, 0);
    s = next_seen(f);
    expect_status(s, KV_OK);
    assert_int_equal(s->size, count_of(slot) * sizeof value);
    for (int i = 0; i < FIRST_FLOATS; i++) {
        assert_memory_equal(&s->value[i], &value, sizeof value);
    }
    assert_memory_equal(&s->last, &value, sizeof value);
}

/* --- Plain restarts ------------------------------------------------------- */

static void test_slots_values_and_rounds_survive(void **state)
{
    struct fixture *f = *state;

    begin(f);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        push(f, rank, 1, 1, COUNT, gradient(rank, 1));
    }
    f->seen_next = f->seen_count;
    crash(f);
    for (uint32_t slot = 0; slot < SLICES; slot++) {
        uint64_t round = slot == 1 ? 1 : 0;

        assert_int_equal(round_of(f, 2, slot), round);
        expect_all(f, slot, fold(RANKS)[round]);
    }
}

static void test_an_open_round_is_pushed_again(void **state)
{
    struct fixture *f = *state;

    begin(f);
    push(f, 0, 2, 1, COUNT, gradient(0, 1));
    push(f, 1, 2, 1, COUNT, gradient(1, 1));
    crash(f);
    for (uint32_t rank = RANKS; rank-- > 0;) {
        push(f, rank, 2, 1, COUNT, gradient(rank, 1));
    }
    f->seen_next = f->seen_count;
    expect_all(f, 2, fold(RANKS)[1]);
}

static void test_async_sequences_survive(void **state)
{
    struct fixture *f = *state;

    begin(f);
    push(f, 2, 0, 1, COUNT, 1);
    push(f, 2, 0, 2, COUNT, 1);
    push(f, 0, 0, 1, COUNT, 1);
    f->seen_next = f->seen_count;
    crash(f);
    assert_int_equal(round_of(f, 0, 0), 1);
    assert_int_equal(round_of(f, 1, 0), 0);
    assert_int_equal(round_of(f, 2, 0), 2);
}

static void test_restarts_do_not_use_up_the_arena(void **state)
{
    struct fixture *f = *state;
    struct arena_usage before, after;

    begin(f);
    for (uint64_t round = 1; round <= 300; round++) {
        for (uint32_t slot = 0; slot < SLICES; slot++) {
            push(f, 0, slot, round, count_of(slot), gradient(0, round));
            expect_ack(f, 0, slot, round);
        }
        expect_silence(f);
        crash(f);
        arena_usage(f->home.arena, round == 5 ? &before : &after);
    }
    assert_int_equal(before.file_bytes, after.file_bytes);
    assert_true(after.used_bytes < before.used_bytes + before.used_bytes / 2);
    expect_all(f, 3, fold(1)[300]);
}

/* --- A whole job, by chance ----------------------------------------------- */

/* What each rank still has to hear about: its push of round next[slot]. */
struct worker {
    uint64_t next[SLICES];
    bool sent[SLICES];
};

struct job {
    struct fixture *f;
    struct worker worker[RANKS];
    uint64_t x;
};

static void hear(struct job *j)
{
    struct fixture *f = j->f;

    while (f->seen_next < f->seen_count) {
        const struct seen *s = &f->seen[f->seen_next++];
        struct worker *w = &j->worker[s->rank];

        if (s->status == KV_EAGAIN) {
            assert_true(w->sent[s->slot]);
            w->sent[s->slot] = false;
            continue;
        }
        expect_status(s, KV_OK);
        if (!s->pull && s->round == w->next[s->slot]) {
            w->sent[s->slot] = false;
            w->next[s->slot]++;
        }
    }
    expect_silence(f);
}

static void come_back(struct job *j, uint32_t rank)
{
    for (uint32_t slot = 0; slot < SLICES; slot++) {
        uint64_t round = round_of(j->f, rank, slot);

        /* Never behind what was acknowledged, at most one ahead. */
        assert_true(round + 1 >= j->worker[rank].next[slot]);
        assert_true(round <= j->worker[rank].next[slot]);
        j->worker[rank].sent[slot] = false;
    }
}

static void act(struct job *j, uint32_t rank, uint32_t slot)
{
    struct worker *w = &j->worker[rank];
    uint64_t n = count_of(slot), round = w->next[slot];
    bool old = round > 1 && chance(&j->x, 8) == 0;

    if (old) {
        push(j->f, rank, slot, round - 1, n, 12345);
    } else if (!w->sent[slot]) {
        w->sent[slot] = true;
        (chance(&j->x, 2) == 0 ? push : push_buffer)(j->f, rank, slot, round, n,
                                                     gradient(rank, round));
    }
}

static void step(struct job *j)
{
    uint32_t rank = (uint32_t)chance(&j->x, RANKS);
    uint32_t slot = (uint32_t)chance(&j->x, SLICES);
    uint64_t what = chance(&j->x, 400);

    if (what == 0) {
        crash(j->f);
        for (uint32_t i = 0; i < RANKS; i++) {
            come_back(j, i);
        }
    } else if (what < 5) {
        shard_forget(j->f->shard, rank);
        come_back(j, rank);
    } else if (what < 12) {
        bool blocked[RANKS] = {false};

        blocked[rank] = true;
        shard_untangle(j->f->shard, blocked);
    } else {
        act(j, rank, slot);
    }
}

static void test_any_order_of_events_gives_the_same_bits(void **state)
{
    struct job j = {*state, {{{0}, {0}}}, chance_seed()};

    begin(j.f);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        for (uint32_t slot = 0; slot < SLICES; slot++) {
            j.worker[rank].next[slot] = 1;
        }
    }
    for (int i = 0; i < 20000; i++) {
        step(&j);
        hear(&j);
    }
    for (uint32_t slot = 0; slot < SLICES; slot++) {
        uint64_t round = round_of(j.f, 0, slot);

        assert_true(round > 100);
        expect_all(j.f, slot, fold(RANKS)[round]);
    }
}

/* --- kill -9 -------------------------------------------------------------- */

static void train_for_ever(void *arg, int ready)
{
    struct fixture *f = arg;
    uint64_t round[SLICES];

    home_open(&f->home);
    start(f);
    for (uint32_t slot = 0; slot < SLICES; slot++) {
        round[slot] = round_of(f, 0, slot);
    }
    chance_ready(ready);
    for (uint32_t slot = 0;; slot = (slot + 1) % SLICES) {
        f->seen_count = 0;
        round[slot]++;
        for (uint32_t rank = 0; rank < f->workers; rank++) {
            push(f, rank, slot, round[slot], count_of(slot),
                 gradient(rank, round[slot]));
        }
        if (round[slot] == ROUNDS_MAX - 1) {
            pause();
        }
    }
}

static void test_a_kill_at_any_moment_leaves_exactly_a_round(void **state)
{
    struct fixture *f = *state;
    uint64_t x = chance_seed(), before[SLICES] = {0};

    begin(f);
    for (int kill_count = 0; kill_count < 300; kill_count++) {
        shard_free(f->shard);
        f->shard = NULL;
        home_drop(&f->home);
        chance_kill(&x, 1500, train_for_ever, f);
        home_open(&f->home);
        start(f);
        for (uint32_t slot = 0; slot < SLICES; slot++) {
            uint64_t round = round_of(f, 0, slot);

            assert_true(round >= before[slot]);
            expect_all(f, slot, fold(f->workers)[round]);
            before[slot] = round;
        }
        expect_silence(f);
    }
    assert_true(before[0] > 0);
}

/* --- kill -9 while the optimizer changes ---------------------------------- */

static void switch_for_ever(void *arg, int ready)
{
    static const char *const rates[] = {"learning_rate=1,momentum=0.5",
                                        "learning_rate=2,momentum=0.25"};
    struct hyper_change change = {.name = "lr"};
    struct fixture *f = arg;
    struct kv_optim_spec spec;

    home_open(&f->home);
    start(f);
    for (int i = 0;; i++) {
        double half = i % 4 < 2 ? 0.5 : 1;

        KV_CHECK(kv_optim_parse("sgd", rates[i % 2], &spec, f->error, 512) ==
                 KV_OK);
        KV_CHECK(shard_optimizer(f->shard, &spec, f->error, 512) == KV_OK);
        change.value = half;
        KV_CHECK(shard_hyper(f->shard, &change, f->error, 512) == KV_OK);
        KV_CHECK(shard_fence(f->shard, 0, (uint64_t)i, (uint64_t)i + 1) !=
                 KV_ENOMEM);
        if (i == 1) { /* Now the state is fresh for sure. */
            chance_ready(ready);
        }
    }
}

/* Whichever settings are in force: one round moves the value by their rate,
 * from fresh state. */
static void test_a_kill_leaves_one_optimizer_or_the_other(void **state)
{
    struct fixture *f = *state;
    uint64_t x = chance_seed();
    float value = 1;

    begin(f);
    for (uint64_t round = 1; round <= 100; round++) {
        float moved;

        shard_free(f->shard);
        f->shard = NULL;
        home_drop(&f->home);
        chance_kill(&x, 300, switch_for_ever, f);
        home_open(&f->home);
        start(f);
        push(f, 0, 0, round, COUNT, 0.5f);
        expect_ack(f, 0, 0, round);
        shard_pull(f->shard, 0, 0, round);
        moved = value - next_seen(f)->value[0];
        assert_true(moved == 0.25f || moved == 0.5f || moved == 1);
        value -= moved;
        expect_silence(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_slots_values_and_rounds_survive, set_up_three),
        TEST(test_an_open_round_is_pushed_again, set_up_three),
        TEST(test_async_sequences_survive, set_up_three_async),
        TEST(test_restarts_do_not_use_up_the_arena, set_up_alone),
        TEST(test_any_order_of_events_gives_the_same_bits, set_up_three),
        TEST(test_a_kill_at_any_moment_leaves_exactly_a_round, set_up_three),
        TEST(test_a_kill_at_any_moment_leaves_exactly_a_round, set_up_alone),
        TEST(test_a_kill_leaves_one_optimizer_or_the_other, set_up_alone),
    };

    return cmocka_run_group_tests_name("shard_recovery", tests, NULL, NULL);
}
