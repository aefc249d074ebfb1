/* Keys from their registration to their end, with real servers: listed, counted
 * and deleted, while others use them and servers are killed. */
#include "tests/integration/keys_fixture.h"

/* --- Lists ---------------------------------------------------------------- */

static void test_any_worker_lists_the_keys_of_the_job(void **state)
{
    float table[8] = {0};
    struct kvw_tensor t = kvw_f32_rows(table, NULL, 4, 4, 2);
    struct kvw_item rows = {kvw_str("table"), &t, 1};

    (void)state;
    expect_list(1, "");
    init(0, kvw_str("w"), w[0], 3);
    init(0, kvw_str("-7"), w[0], BIG);
    expect_ok(c.kv[0], kvw_init(c.kv[0], &rows, 1));
    expect_list(1, "'w':0/0[1:3]x1 '-7':0/0[1:300000]x3 'table':0/1[2:4]x1 ");
    delete_key(1, kvw_str("-7"));
    init(0, kvw_str("-7"), w[0], 5);
    expect_list(0, "'w':0/0[1:3]x1 'table':0/1[2:4]x1 '-7':0/0[1:5]x1 ");
    cluster_kill(&c, 0);
    cluster_restart(&c, 0);
    expect_list(1, "'w':0/0[1:3]x1 'table':0/1[2:4]x1 '-7':0/0[1:5]x1 ");
}

enum { MANY = 1000 };

struct numbers {
    int64_t next;
};

static void count_up(void *arg, const struct kvw_key_info *info)
{
    struct numbers *n = arg;

    assert_null(info->key.name);
    assert_int_equal(info->key.number, n->next);
    n->next++;
}

static void test_a_list_of_many_comes_in_order(void **state)
{
    static struct kvw_item items[MANY];
    struct kvw_tensor t = kvw_f32(w[0], 1);
    struct numbers n = {0};

    (void)state;
    for (int i = 0; i < MANY; i++) {
        items[i] = item(kvw_int(i), &t);
    }
    expect_ok(c.kv[0], kvw_init(c.kv[0], items, MANY));
    expect_ok(c.kv[0], kvw_list_keys(c.kv[0], count_up, &n));
    assert_int_equal(n.next, MANY);
}

/* --- Versions ------------------------------------------------------------- */

static void test_a_version_counts_rounds(void **state)
{
    (void)state;
    init_all(kvw_str("w"), BIG, 0);
    assert_int_equal(version(0, kvw_str("w")), 0);
    for (unsigned i = 1; i <= 5; i++) {
        round_of(kvw_str("w"), BIG, 1);
        assert_int_equal(version(0, kvw_str("w")), i);
        assert_int_equal(version(1, kvw_str("w")), i);
    }
    cluster_kill(&c, 1);
    cluster_restart(&c, 1);
    assert_int_equal(version(0, kvw_str("w")), 5);
}

static void test_async_a_version_counts_everyones_pushes(void **state)
{
    (void)state;
    init_all(kvw_int(1), 3, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    for (unsigned i = 1; i <= 3; i++) {
        round_of(kvw_int(1), 3, 1);
        assert_int_equal(version(1, kvw_int(1)), 2 * i);
    }
}

static void test_a_version_of_a_key_not_registered_here(void **state)
{
    uint64_t rounds = 77;

    (void)state;
    init(0, kvw_str("w"), w[0], 3);
    expect_error(c.kv[1], kvw_get_version(c.kv[1], kvw_str("w"), &rounds),
                 KVW_ENOTFOUND, "key 'w'", "rank 1", NULL);
    assert_int_equal(rounds, 77);
    expect_error(c.kv[0], kvw_get_version(c.kv[0], kvw_str("w"), NULL),
                 KVW_EINVAL, "a place", NULL);
}

/* --- Deletion ------------------------------------------------------------- */

static void test_a_deleted_key_is_gone_for_everyone(void **state)
{
    (void)state;
    init_all(kvw_str("w"), 3, 1);
    init_all(kvw_str("v"), 3, 2);
    round_of(kvw_str("w"), 3, 1);
    delete_key(1, kvw_str("w"));
    expect_gone(0, kvw_str("w"));
    expect_text(kvw_error(c.kv[0]), "deleted");
    expect_gone(1, kvw_str("w"));
    expect_list(0, "'v':0/0[1:3]x1 ");
    round_of(kvw_str("v"), 3, 4); /* Nothing else has changed. */
    expect_all(w[1], 3, 8);
}

static void test_what_waits_for_a_deleted_key_is_told(void **state)
{
    struct kvw_tensor t = kvw_f32(g[0], BIG);
    struct kvw_item i = item(kvw_str("w"), &t);
    struct kvw_op *op;

    (void)state;
    init_all(kvw_str("w"), BIG, 1);
    expect_ok(c.kv[0], kvw_pushpull(c.kv[0], &i, NULL, 1, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, 100), KVW_ETIMEOUT, NULL);
    delete_key(1, kvw_str("w"));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, KVW_FOREVER), KVW_ENOTFOUND,
                 "key 'w'", "rank 0", "deleted", NULL);
}

static void test_ones_own_push_does_not_hold_up_the_deletion(void **state)
{
    (void)state;
    init_all(kvw_str("w"), BIG, 1);
    for (int i = 0; i < 4; i++) { /* The other one pushes nothing. */
        push(0, kvw_str("w"), g[0], BIG);
        pull(0, kvw_str("w"), w[0], BIG);
    }
    delete_key(0, kvw_str("w"));
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER), KVW_ENOTFOUND,
                 "key 'w'", NULL);
}

static void test_a_name_can_be_registered_again_in_another_form(void **state)
{
    (void)state;
    init_all(kvw_str("w"), 3, 1);
    init_all(kvw_str("5"), BIG, 1);
    round_of(kvw_str("w"), 3, 2);
    for (unsigned life = 1; life <= 20; life++) {
        delete_key(life % 2, kvw_str("w"));
        delete_key(life % 2, kvw_str("5"));
        init_all(kvw_str("w"), 3 + life, (float)life);
        init_all(kvw_str("5"), BIG - life, (float)life);
        pull(0, kvw_str("w"), w[0], 3 + life);
        expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
        expect_all(w[0], 3 + life, (float)life);
        assert_int_equal(version(0, kvw_str("w")), 0);
        round_of(kvw_str("5"), BIG - life, 3);
        expect_all(w[1], BIG - life, 6);
        round_of(kvw_str("w"), 3 + life, 4);
        expect_all(w[1], 3 + life, 8);
        assert_int_equal(version(1, kvw_str("w")), 1);
    }
}

/* The slot of the key that this rank still has is another one's by now. */
static void test_a_push_to_a_deleted_key_never_lands_in_another(void **state)
{
    struct kvw_tensor t = kvw_f32(g[1], 3);
    struct kvw_item i = item(kvw_str("w"), &t);

    (void)state;
    init_all(kvw_str("w"), 3, 1);
    init_all(kvw_str("v"), 3, 1);
    delete_key(0, kvw_str("w"));
    delete_key(0, kvw_str("v"));
    init_all(kvw_str("x"), 3, 5);
    init_all(kvw_str("y"), 3, 5);
    push(0, kvw_str("x"), g[0], 3);
    push(0, kvw_str("y"), g[0], 3);
    fill(g[1], 3, 100);
    expect_ok(c.kv[1], kvw_push(c.kv[1], &i, 1, NULL, NULL));
    expect_ok(c.kv[1], kvw_pull(c.kv[1], &i, 1, NULL, NULL));
    expect_error(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER), KVW_ENOTFOUND,
                 "key 'w'", "deleted", NULL);
    fill(g[1], 3, 7);
    push(1, kvw_str("x"), g[1], 3);
    push(1, kvw_str("y"), g[1], 3);
    pull(1, kvw_str("x"), w[1], 3);
    wait_all();
    expect_all(w[1], 3, 7 + g[0][0]);
}

static void test_deleting_what_is_not_there(void **state)
{
    struct kvw_key keys[] = {kvw_str("w"), kvw_str("nobody")};
    struct kvw_key twice[] = {kvw_str("w"), kvw_str("w")};

    (void)state;
    init_all(kvw_str("w"), 3, 1);
    expect_error(c.kv[0], kvw_delete(c.kv[0], keys, 2), KVW_ENOTFOUND,
                 "key 'nobody'", "rank 0", NULL);
    expect_error(c.kv[0], kvw_delete(c.kv[0], twice, 2), KVW_EINVAL, "key 'w'",
                 "twice", NULL);
    expect_error(c.kv[0], kvw_delete(c.kv[0], keys, 0), KVW_EINVAL, NULL);
    round_of(kvw_str("w"), 3, 1); /* It is still there. */
    delete_key(0, kvw_str("w"));
    delete_key(1, kvw_str("w")); /* Its own was deleted: fine. */
    expect_error(c.kv[1], kvw_delete(c.kv[1], keys, 1), KVW_ENOTFOUND,
                 "key 'w'", NULL);
}

static void test_who_deletes_late_does_not_meet_a_later_key(void **state)
{
    (void)state;
    init_all(kvw_str("w"), 3, 1);
    delete_key(0, kvw_str("w"));
    init(0, kvw_str("w"), w[0], 4);
    delete_key(1, kvw_str("w")); /* That which it has registered. */
    expect_list(1, "'w':0/0[1:4]x1 ");
    init(1, kvw_str("w"), w[1], 4);
    round_of(kvw_str("w"), 4, 1);
}

static void test_registering_twice_is_still_an_error(void **state)
{
    struct kvw_tensor t = kvw_f32(w[0], 3);
    struct kvw_item i = item(kvw_str("w"), &t);

    (void)state;
    init_all(kvw_str("w"), 3, 1);
    expect_error(c.kv[0], kvw_init(c.kv[0], &i, 1), KVW_EEXIST, "key 'w'",
                 NULL);
    expect_error(c.kv[1], kvw_init(c.kv[1], &i, 1), KVW_EEXIST, "key 'w'",
                 NULL);
    round_of(kvw_str("w"), 3, 1);
}

static void test_row_sparse_keys_go_as_well(void **state)
{
    float table[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct kvw_tensor t = kvw_f32_rows(table, NULL, 4, 4, 2);
    struct kvw_item rows = {kvw_str("table"), &t, 1};

    (void)state;
    for (int life = 0; life < 3; life++) {
        for (unsigned rank = 0; rank < 2; rank++) {
            expect_ok(c.kv[rank], kvw_init(c.kv[rank], &rows, 1));
        }
        for (unsigned rank = 0; rank < 2; rank++) {
            expect_ok(c.kv[rank], kvw_push(c.kv[rank], &rows, 1, NULL, NULL));
        }
        wait_all();
        assert_int_equal(version(0, kvw_str("table")), 1);
        delete_key(1, kvw_str("table"));
    }
}

/* --- Memory --------------------------------------------------------------- */

static size_t arena_bytes(void)
{
    char command[160];
    size_t bytes = 0;
    FILE *p;

    snprintf(command, sizeof command, "cat %s/*/*.arena | wc -c", c.dir);
    p = popen(command, "r");
    KV_CHECK(p != NULL && fscanf(p, "%zu", &bytes) == 1);
    pclose(p);
    return bytes;
}

static void live_and_die(int lives)
{
    for (int i = 0; i < lives; i++) {
        size_t count = BIG - (size_t)(i % 7) * 1000;

        init_all(kvw_str("big"), count, 1);
        round_of(kvw_str("big"), count, 1);
        delete_key((unsigned)i % 2, kvw_str("big"));
        delete_key((unsigned)(i + 1) % 2, kvw_str("big"));
    }
}

static void test_coming_and_going_takes_no_more_memory(void **state)
{
    size_t before;

    (void)state;
    init_all(kvw_str("stays"), 3, 1);
    live_and_die(20);
    before = arena_bytes();
    live_and_die(100);
    assert_int_equal(arena_bytes(), before);
}

/* --- Kills ---------------------------------------------------------------- */

static void test_killed_servers_do_not_disturb_lives_and_deaths(void **state)
{
    struct killer k = {.over = false, .steps = 0};
    struct kvw_stats s;

    (void)state;
    init_all(kvw_str("stays"), 3, 1);
    pthread_create(&k.thread, NULL, keep_killing, &k);
    for (int i = 0; i < 60; i++) {
        char name[16];

        snprintf(name, sizeof name, "%d", i);
        init_all(kvw_str("w"), BIG, (float)i);
        init_all(kvw_str(name), 100, (float)i);
        atomic_fetch_add(&k.steps, 1);
        round_of(kvw_str("w"), BIG, 1);
        atomic_fetch_add(&k.steps, 1);
        expect_all(w[0], BIG, 2);
        round_of(kvw_str("stays"), 3, (float)i);
        delete_key((unsigned)i % 2, kvw_str("w"));
        delete_key((unsigned)i % 2, kvw_str(name));
        atomic_fetch_add(&k.steps, 1);
    }
    atomic_store(&k.over, true);
    pthread_join(k.thread, NULL);
    expect_ok(c.kv[0], kvw_get_stats(c.kv[0], &s, sizeof s));
    assert_true(s.reconnects > 0);
    assert_int_equal(version(0, kvw_str("stays")), 60);
    expect_list(1, "'stays':0/0[1:3]x1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_any_worker_lists_the_keys_of_the_job, set_up),
        TEST(test_a_list_of_many_comes_in_order, set_up_alone),
        TEST(test_a_version_counts_rounds, set_up),
        TEST(test_async_a_version_counts_everyones_pushes, set_up_async),
        TEST(test_a_version_of_a_key_not_registered_here, set_up),
        TEST(test_a_deleted_key_is_gone_for_everyone, set_up),
        TEST(test_what_waits_for_a_deleted_key_is_told, set_up),
        TEST(test_ones_own_push_does_not_hold_up_the_deletion, set_up),
        TEST(test_a_name_can_be_registered_again_in_another_form, set_up),
        TEST(test_a_push_to_a_deleted_key_never_lands_in_another, set_up),
        TEST(test_deleting_what_is_not_there, set_up),
        TEST(test_who_deletes_late_does_not_meet_a_later_key, set_up),
        TEST(test_registering_twice_is_still_an_error, set_up),
        TEST(test_row_sparse_keys_go_as_well, set_up),
        TEST(test_coming_and_going_takes_no_more_memory, set_up),
        TEST(test_killed_servers_do_not_disturb_lives_and_deaths, set_up),
    };

    return cmocka_run_group_tests_name("worker keys", tests, NULL, NULL);
}
