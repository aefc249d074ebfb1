/* Several threads on each store, that do anything at any time: in the end every
 * push is there once, and nobody has waited for ever. SEED=n repeats a run, as
 * far as threads let it. */
#include <sched.h>

#include <uv.h>

#include "tests/integration/threads_fixture.h"

static void pull_any(struct actor *a)
{
    pull_shared(a, below(a, KEYS));
}

static void push_any(struct actor *a)
{
    push_shared(a, below(a, KEYS));
}

/* In place of libuv's: a call takes this lock after it was given its number and
 * before it is mailed, and there others overtake it now and then. */
void uv_mutex_lock(uv_mutex_t *mutex)
{
    static atomic_uint calls;

    if (atomic_fetch_add(&calls, 1) % 3 == 0) {
        sched_yield();
    }
    KV_CHECK(pthread_mutex_lock(mutex) == 0);
}

/* --- Questions and commands ----------------------------------------------- */

struct census {
    unsigned found[KEYS];
};

static void count_key(void *arg, const struct kvw_key_info *info)
{
    struct census *census = arg;

    for (unsigned k = 0; k < KEYS; k++) {
        census->found[k] += strcmp(info->key.name, shared[k].name) == 0;
    }
}

static void list(struct actor *a)
{
    struct census census = {{0}};

    check(a, kvw_list_keys(a->kv, count_key, &census));
    for (unsigned k = 0; k < KEYS; k++) {
        check_that(a, census.found[k] == 1, "a key is not listed once");
    }
}

static void ask_version(struct actor *a)
{
    unsigned k = below(a, KEYS);
    uint64_t rounds = 0;

    check(a, kvw_get_version(a->kv, kvw_str(shared[k].name), &rounds));
    check_that(a, rounds >= a->versions[k], "a version went back");
    a->versions[k] = rounds;
}

static void ask_stats(struct actor *a)
{
    struct kvw_stats s;

    check(a, kvw_get_stats(a->kv, &s, sizeof s));
    check_that(a, s.pushes + s.pulls >= a->done, "figures went back");
    a->done = s.pushes + s.pulls;
}

static void wait_any(struct actor *a)
{
    check(a, kvw_wait_all(a->kv, PATIENCE));
}

/* None of which changes a sum. */
static void command(struct actor *a)
{
    struct kvw_key key = kvw_str(shared[below(a, KEYS)].name);

    if (below(a, 2) == 0) {
        check(a, kvw_set_optimizer(a->kv, "sgd", OPTIMIZER));
    } else {
        check(a, kvw_set_hyper(a->kv, below(a, 2) == 0 ? &key : NULL, "wd_mult",
                               1 + below(a, 5), 0));
    }
}

static void ask(struct actor *a)
{
    static void (*const questions[])(struct actor *) = {
        list, ask_version, ask_stats, wait_any, command};

    questions[below(a, sizeof questions / sizeof questions[0])](a);
}

/* --- A key of one's own --------------------------------------------------- */

static int assign(struct actor *a, float value, bool reset)
{
    struct kvw_tensor t = kvw_f32(a->data, SMALL);
    struct kvw_item i = item(kvw_str(a->name), &t);

    fill(a->data, SMALL, value);
    return reset ? kvw_reset(a->kv, &i, 1) : kvw_init(a->kv, &i, 1);
}

/* Behind another key, in one call. It may fail, and wait_op() could let another
 * thread know. */
static int pull_own(struct actor *a)
{
    struct kvw_tensor small = kvw_f32(a->got, SMALL);
    struct kvw_tensor t = kvw_f32(a->got + SMALL, SMALL);
    struct kvw_item items[] = {item(kvw_str("small"), &small),
                               item(kvw_str(a->name), &t)};
    struct kvw_op *op;

    check(a, kvw_pull(a->kv, items, 2, NULL, &op));
    return kvw_wait(a->kv, op, PATIENCE);
}

static void begin_own(struct actor *a)
{
    a->sum = (float)below(a, 100);
    a->rounds = 0;
    check(a, assign(a, a->sum, false));
    a->has = true;
}

static void end_own(struct actor *a)
{
    struct kvw_key key = kvw_str(a->name);
    struct kvw_op *op = start(a, key, SMALL, PULL);

    check(a, kvw_delete(a->kv, &key, 1));
    a->has = false;
    check_or(a, kvw_wait(a->kv, op, PATIENCE), KVW_ENOTFOUND);
    check_that(a, pull_own(a) == KVW_ENOTFOUND, "it is not gone");
}

static void look_at_own(struct actor *a)
{
    struct kvw_key key = kvw_str(a->name);
    uint64_t rounds;

    check(a, pull_own(a));
    for (int i = 0; i < SMALL; i++) {
        check_that(a, a->got[SMALL + i] == a->sum, "it has another value");
    }
    check(a, kvw_get_version(a->kv, key, &rounds));
    check_that(a, rounds == a->rounds, "it has another version");
    check(a, kvw_set_hyper(a->kv, &key, "wd_mult", 2, 0));
}

/* Alone in the job, or under dist_async. */
static void change_own(struct actor *a)
{
    float value = (float)below(a, 5);

    if (below(a, 3) == 0) {
        check(a, assign(a, value, true));
        a->sum = value;
    } else {
        fill(a->data, SMALL, -value);
        push_and_pull(a, kvw_str(a->name), SMALL);
        a->sum += value;
        check_that(a, a->got[0] == a->sum, "a push is not there");
    }
    a->rounds++;
}

static void own(struct actor *a, bool changes)
{
    if (!a->has) {
        begin_own(a);
    } else if (below(a, 3) == 0) {
        end_own(a);
    } else if (changes) {
        change_own(a);
    }
    if (a->has) {
        look_at_own(a);
    }
}

/* Another one's key comes and goes. */
static void visit(struct actor *a)
{
    struct kvw_key key = kvw_str(a->name);
    uint64_t rounds;

    switch (below(a, 4)) {
    case 0:
        check_or(a, assign(a, 0, false), KVW_EEXIST);
        break;
    case 1:
        check_or(a, pull_own(a), KVW_ENOTFOUND);
        break;
    case 2:
        check_or(a, kvw_get_version(a->kv, key, &rounds), KVW_ENOTFOUND);
        break;
    default:
        check_or(a, kvw_set_hyper(a->kv, &key, "wd_mult", 1, 0), KVW_ENOTFOUND);
        break;
    }
}

/* --- Parts ---------------------------------------------------------------- */

static void its_own(struct actor *a, bool changes)
{
    if (a->rank == 0) {
        own(a, changes);
    } else {
        visit(a);
    }
}

/* In the end it is there: a guest may wait for it. */
static void leave_own(struct actor *a)
{
    if (a->rank == 0 && !a->has) {
        begin_own(a);
    }
}

static void does_anything(struct actor *a)
{
    for (int i = 0; i < a->steps; i++) {
        switch (below(a, 6)) {
        case 0:
            ask(a);
            break;
        case 1:
            its_own(a, true);
            break;
        case 2:
        case 3:
            push_any(a);
            break;
        default:
            pull_any(a);
            break;
        }
    }
    leave_own(a);
}

/* Rank 0: each of these waits for its own key only, so that no round depends on
 * another key's. */
static void pushes_one_key(struct actor *a)
{
    while (!atomic_load(&over)) {
        push_shared(a, a->number);
        if (below(a, 4) == 0) {
            pull_shared(a, a->number);
        }
    }
}

static void looks(struct actor *a)
{
    while (!atomic_load(&over)) {
        switch (below(a, 8)) {
        case 0:
            ask(a);
            break;
        case 1:
            its_own(a, false);
            break;
        default:
            pull_any(a);
            break;
        }
    }
    leave_own(a);
}

/* It waits for what was pushed before. */
static void leave_pushing(struct actor *a, unsigned k)
{
    struct kvw_op *op;

    fill(a->data, shared[k].count, -1);
    op = start(a, kvw_str(shared[k].name), shared[k].count, PUSH);
    check(a, kvw_leave(a->kv));
    check(a, kvw_wait(a->kv, op, 0));
    atomic_fetch_add(&pushed[k], 1);
    a->mine[k]++;
}

enum { PULLERS = 3, BURST = 4 };

static pthread_barrier_t crowd; /* Pullers, and who comes back. */

/* Many at a time, just when the rank comes back. */
static void pulls(struct actor *a)
{
    while (pthread_barrier_wait(&crowd), !atomic_load(&over)) {
        unsigned k = below(a, KEYS);
        struct kvw_op *ops[BURST];

        for (unsigned i = 0; i < BURST; i++) {
            ops[i] = start(a, kvw_str(shared[k].name), shared[k].count, PULL);
        }
        for (unsigned i = 0; i < BURST; i++) {
            check(a, kvw_wait(a->kv, ops[i], PATIENCE));
        }
        look_at_shared(a, k);
    }
}

/* The only thread of rank 1 that pushes. */
static void comes_and_goes(struct actor *a)
{
    for (int i = 0; i < a->steps; i++) {
        for (unsigned k = 0; k < KEYS; k++) {
            for (unsigned n = below(a, 3); n > 0; n--) {
                push_shared(a, k);
            }
        }
        leave_pushing(a, below(a, KEYS));
        for (unsigned n = below(a, 3); n > 0; n--) {
            pull_any(a); /* Rounds close without this rank. */
        }
        pthread_barrier_wait(&crowd);
        check(a, kvw_join(a->kv));
    }
    check(a, kvw_leave(a->kv));
    atomic_store(&over, true);
    pthread_barrier_wait(&crowd);
}

/* --- Tests ---------------------------------------------------------------- */

static void begin(unsigned workers, const char *kind)
{
    c.extra = "--slice-bytes=4096"; /* Three slices of LARGE. */
    (void)set_up_with(2, workers, kind);
    for (unsigned k = 0; k < KEYS; k++) {
        atomic_store(&pushed[k], 0);
        init_all(kvw_str(shared[k].name), shared[k].count, 0);
    }
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", OPTIMIZER));
    actor_count = 0;
}

static void test_threads_of_one_worker(void **state)
{
    (void)state;
    begin(1, "dist_sync");
    for (unsigned n = 0; n < 4; n++) {
        cast(0, n, does_anything, 400);
    }
    run();
}

static void test_threads_of_workers_that_come_and_go(void **state)
{
    (void)state;
    begin(2, "dist_sync");
    KV_CHECK(pthread_barrier_init(&crowd, NULL, PULLERS + 1) == 0);
    for (unsigned n = 0; n < KEYS; n++) {
        cast(0, n, pushes_one_key, 0);
    }
    cast(0, 2, looks, 0);
    cast(1, 0, comes_and_goes, 250);
    cast(1, 2, looks, 0);
    cast(1, 2, looks, 0);
    for (unsigned n = 0; n < PULLERS; n++) {
        cast(1, 3 + n, pulls, 0);
    }
    run();
}

static void test_threads_of_workers_without_rounds(void **state)
{
    (void)state;
    begin(2, "dist_async");
    for (unsigned n = 0; n < 6; n++) {
        cast(n / 3, n % 3, does_anything, 400);
    }
    run();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_threads_of_one_worker, tear_down),
        cmocka_unit_test_teardown(test_threads_of_workers_that_come_and_go,
                                  tear_down),
        cmocka_unit_test_teardown(test_threads_of_workers_without_rounds,
                                  tear_down),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("worker threads", tests, NULL, NULL);
}
