#include "tests/integration/daemon_fixture.h"

#define COUNT 4

/* --- Steps --------------------------------------------------------------- */

static void add_key(struct caller *root, const char *name)
{
    struct message m = {.kind = MESSAGE_KEY};

    m.key.name = name;
    m.key.dims = 1;
    m.key.shape[0] = COUNT;
    assert_int_equal(ask(root, &m, NULL, 0, MESSAGE_PLACED)->key_id, 0);
}

/* Returns its slot; `value` is NULL to attach. */
static uint32_t open_slice(struct caller *shard, const float *value,
                           uint64_t round)
{
    struct message m = {.kind = MESSAGE_OPEN};
    const struct reply *r;

    m.open.count = COUNT;
    m.open.slices = 1;
    r = ask(shard, &m, value, value == NULL ? 0 : COUNT * sizeof *value,
            MESSAGE_OPENED);
    assert_int_equal(r->round, round);
    return r->slot;
}

static void push(struct caller *shard, uint32_t slot, uint64_t round,
                 const float *value)
{
    struct run run = {slot, 1, round, COUNT * sizeof *value};
    struct message m = {.kind = MESSAGE_PUSH};
    const struct reply *r;

    m.batch.runs = &run;
    m.batch.run_count = 1;
    r = ask(shard, &m, value, COUNT * sizeof *value, MESSAGE_ANSWER);
    assert_int_equal(r->round, round);
    assert_int_equal(r->size, 0);
}

static void expect_pulled(struct caller *shard, uint32_t slot, uint64_t round,
                          const float *value)
{
    struct run run = {slot, 1, round, 0};
    struct message m = {.kind = MESSAGE_PULL};
    const struct reply *r;

    m.batch.runs = &run;
    m.batch.run_count = 1;
    r = ask(shard, &m, NULL, 0, MESSAGE_ANSWER);
    assert_int_equal(r->round, round);
    assert_int_equal(r->size, COUNT * sizeof *value);
    assert_memory_equal(r->payload, value, COUNT * sizeof *value);
}

/* --- A life -------------------------------------------------------------- */

static void test_it_starts_says_where_and_ends_when_asked(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *d = launch(f, 0, "--shards 2");

    expect_ready(d);
    assert_non_null(strstr(d->address, "127.0.0.1:"));
    call_root(f, d->address, 0);
    call_shard(f, d->address, 0, 0);
    call_shard(f, d->address, 1, 0);
    assert_int_equal(end(d, SIGTERM), 0);
    d = launch(f, 0, "--shards 2");
    expect_ready(d);
    assert_int_equal(end(d, SIGINT), 0);
}

static void test_a_killed_server_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    static const float first[COUNT] = {1, 2, 3, 4}, second[COUNT] = {5, 6, 7};
    struct daemon_child *d = launch(f, 0, "--shards 1");
    struct caller *root = call_root(f, d->address, 0), *shard;
    uint64_t arena;
    uint32_t slot;

    add_key(root, "w");
    shard = call_shard(f, d->address, 0, 0);
    arena = shard->reply.arena_id;
    slot = open_slice(shard, first, 0);
    expect_pulled(shard, slot, 0, first);
    push(shard, slot, 1, second); /* Without an optimizer: the value. */

    assert_int_equal(end(d, SIGKILL), -SIGKILL);
    d = launch(f, 0, "--shards 1");
    expect_ready(d);

    root = call_root(f, d->address, 0);
    add_key(root, "w");
    shard = call_shard(f, d->address, 0, 0);
    assert_true(shard->reply.arena_id == arena);
    assert_int_equal(open_slice(shard, first, 1), slot);
    push(shard, slot, 1, second); /* The answer might have been lost. */
    expect_pulled(shard, slot, 1, second);
    push(shard, slot, 2, first);
    expect_pulled(shard, slot, 2, first);
    assert_int_equal(end(d, SIGTERM), 0);
}

static void test_it_ends_when_every_rank_has_left(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *d =
        launch(f, 0, "--shards 1 --workers 2 --exit-when-done");
    struct caller *one = call_root(f, d->address, 0);
    struct caller *two = call_root(f, d->address, 1);
    struct message m = {.kind = MESSAGE_LEAVE};

    ask(one, &m, NULL, 0, MESSAGE_OK);
    ask(two, &m, NULL, 0, MESSAGE_OK);
    assert_int_equal(outcome(d), 0);
}

static void test_it_ends_when_its_lifeline_is_cut(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *d;
    char options[64];
    int fd[2];

    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    snprintf(options, sizeof options, "--shards 1 --lifeline-fd %d", fd[0]);
    f->ours = fd[1];
    d = launch(f, 0, options);
    expect_ready(d);
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(outcome(d), 0);
}

static void test_it_serves_a_socket_that_it_inherits(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_storage at;
    char error[256], options[64], address[ADDRESS_TEXT_MAX];
    int fd = -1;

    KV_CHECK(address_resolve("127.0.0.1:0", &at, error, sizeof error) == KV_OK);
    KV_CHECK(address_bind(&at, &fd, error, sizeof error) == KV_OK);
    address_of_socket(fd, &at);
    address_format(&at, address, sizeof address);
    snprintf(options, sizeof options, "--shards 1 --listen-fd %d", fd);
    assert_string_equal(launch(f, 0, options)->address, address);
    call_root(f, address, 0);
    assert_int_equal(end(&f->daemon[0], SIGKILL), -SIGKILL);
    assert_string_equal(launch(f, 0, options)->address, address);
    call_root(f, address, 0);
    close(fd);
}

/* --- Ranks on a shard ---------------------------------------------------- */

static void test_a_newer_connection_of_a_rank_ends_the_older(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *d = launch(f, 0, "--shards 1 --workers 2");
    struct caller *old = call_shard(f, d->address, 0, 1), *stale;

    call_shard(f, d->address, 0, 1); /* The same process again. */
    assert_false(listen_to(old));
    f->incarnation = 9;
    call_shard(f, d->address, 0, 1);
    f->incarnation = 8;
    stale = call(f, d->address, 0, 1, KV_POLICY_SYNC);
    assert_int_equal(stale->reply.kind, MESSAGE_ERROR);
    assert_int_equal(stale->reply.id, 0);
    assert_string_equal(kv_strstatus(stale->reply.status),
                        kv_strstatus(KV_ESTALE));
    assert_non_null(strstr(stale->reply.text, "rank 1"));
    assert_false(listen_to(stale));
}

static void test_another_policy_is_refused_by_a_shard(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *d = launch(f, 0, "--shards 1 --workers 2");
    struct caller *c;

    call_shard(f, d->address, 0, 0);
    c = call(f, d->address, 0, 1, KV_POLICY_ASYNC);
    assert_int_equal(c->reply.kind, MESSAGE_ERROR);
    assert_string_equal(kv_strstatus(c->reply.status),
                        kv_strstatus(KV_EMISMATCH));
    assert_false(listen_to(c));
}

/* --- What keeps it from starting ----------------------------------------- */

static void test_a_second_server_on_an_arena_does_not_start(void **state)
{
    struct fixture *f = *state;

    expect_ready(launch(f, 0, "--shards 1"));
    expect_failure(launch(f, 1, "--shards 1"), 1);
    call_root(f, f->daemon[0].address, 0);
}

static void test_the_state_of_another_job_is_not_touched(void **state)
{
    struct fixture *f = *state;
    const char *other = "--shards 1 --job 00112233445566778899aabbccddeeff";
    char options[128];

    assert_int_equal(end(launch(f, 0, "--shards 1"), SIGTERM), 0);
    expect_failure(launch(f, 0, other), 1);
    snprintf(options, sizeof options, "%s --new-job", other);
    assert_int_equal(end(launch(f, 0, options), SIGTERM), 0);
    expect_failure(launch(f, 0, "--shards 1"), 1);
}

static void test_other_numbers_than_before_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(end(launch(f, 0, "--shards 1"), SIGTERM), 0);
    expect_failure(launch(f, 0, "--shards 2"), 1);
    expect_failure(launch(f, 0, "--shards 1 --workers 2"), 1);
    expect_failure(launch(f, 0, "--shards 1 --slice-bytes 1M"), 1);
    assert_int_equal(end(launch(f, 0, "--shards 1"), SIGTERM), 0);
}

static void test_shards_without_their_directory_are_not_served(void **state)
{
    struct fixture *f = *state;
    static const float value[COUNT] = {1};
    char path[128];
    struct daemon_child *d = launch(f, 0, "--shards 1");

    add_key(call_root(f, d->address, 0), "w");
    open_slice(call_shard(f, d->address, 0, 0), value, 0);
    assert_int_equal(end(d, SIGTERM), 0);
    snprintf(path, sizeof path, "%s/server-0-root.arena", f->dir);
    assert_int_equal(unlink(path), 0);
    expect_failure(launch(f, 0, "--shards 1"), 1);
}

static void test_after_a_crash_the_operator_is_asked(void **state)
{
    struct fixture *f = *state;

    expect_ready(launch(f, 0, "--shards 1"));
    assert_int_not_equal(end(&f->daemon[0], SIGSEGV), 0);
    expect_failure(launch(f, 0, "--shards 1"), 1);
    assert_int_equal(end(launch(f, 0, "--shards 1 --trust-arena"), SIGTERM), 0);
    assert_int_equal(end(launch(f, 0, "--shards 1"), SIGTERM), 0);
}

static void test_an_address_in_use_is_said_so(void **state)
{
    struct fixture *f = *state;
    char options[128];

    expect_ready(launch(f, 0, "--shards 1 --volatile"));
    snprintf(options, sizeof options, "--shards 1 --volatile --listen %s",
             f->daemon[0].address);
    expect_failure(launch(f, 1, options), 1);
}

static void test_beyond_loopback_it_wants_a_key(void **state)
{
    struct fixture *f = *state;

    expect_failure(launch(f, 0, "--listen 0.0.0.0:0 --volatile"), 2);
    expect_failure(
        launch(f, 0, "--listen 0.0.0.0:0 --volatile --insecure --servers 2"),
        2);
}

static void test_listening_everywhere_it_says_where_it_was_reached(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *d =
        launch(f, 0, "--listen 0.0.0.0:0 --insecure --volatile --shards 1");
    char address[ADDRESS_TEXT_MAX];

    assert_memory_equal(d->address, "0.0.0.0:", 8);
    snprintf(address, sizeof address, "127.0.0.1:%s", d->address + 8);
    assert_string_equal(call_root(f, address, 0)->reply.address, address);
}

/* --- Several servers ----------------------------------------------------- */

static struct daemon_child *launch_second(struct fixture *f)
{
    char options[128];

    snprintf(options, sizeof options,
             "--shards 1 --servers 2 --index 1 --root %s",
             f->daemon[0].address);
    return launch(f, 1, options);
}

static void test_servers_find_their_root_and_find_it_again(void **state)
{
    struct fixture *f = *state;
    struct daemon_child *root = launch(f, 0, "--shards 1 --servers 2");
    struct daemon_child *other = launch_second(f);
    struct caller *c;
    char before[ADDRESS_TEXT_MAX], options[128];

    expect_ready(other);
    c = call_root(f, root->address, 0);
    assert_int_equal(c->reply.servers, 2);
    assert_string_equal(c->reply.address, other->address);

    snprintf(before, sizeof before, "%s", root->address);
    assert_int_equal(end(root, SIGKILL), -SIGKILL);
    snprintf(options, sizeof options, "--shards 1 --servers 2 --listen %s",
             before);
    expect_ready(launch(f, 0, options));

    assert_int_equal(end(other, SIGKILL), -SIGKILL);
    other = launch_second(f); /* At another address now. */
    expect_ready(other);
    c = call_root(f, root->address, 0);
    for (int i = 0; i < 1000 && strcmp(c->reply.address, other->address) != 0;
         i++) {
        join(c);
    }
    assert_int_equal(end(other, SIGTERM), 0);
    assert_int_equal(end(root, SIGTERM), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_starts_says_where_and_ends_when_asked),
        TEST(test_a_killed_server_goes_on_where_it_was),
        TEST(test_it_ends_when_every_rank_has_left),
        TEST(test_it_ends_when_its_lifeline_is_cut),
        TEST(test_it_serves_a_socket_that_it_inherits),
        TEST(test_a_newer_connection_of_a_rank_ends_the_older),
        TEST(test_another_policy_is_refused_by_a_shard),
        TEST(test_a_second_server_on_an_arena_does_not_start),
        TEST(test_the_state_of_another_job_is_not_touched),
        TEST(test_other_numbers_than_before_are_refused),
        TEST(test_shards_without_their_directory_are_not_served),
        TEST(test_after_a_crash_the_operator_is_asked),
        TEST(test_an_address_in_use_is_said_so),
        TEST(test_beyond_loopback_it_wants_a_key),
        TEST(test_listening_everywhere_it_says_where_it_was_reached),
        TEST(test_servers_find_their_root_and_find_it_again),
    };

    return cmocka_run_group_tests_name("daemon", tests, NULL, NULL);
}
