#include "tests/integration/link_fixture.h"

#include <netinet/tcp.h>

static uint64_t uv_allocations; /* libuv's own. */

/* --- Data ---------------------------------------------------------------- */

static uint32_t any_size(uint64_t seed, uint64_t n)
{
    static const uint32_t edges[] = {
        0,
        1,
        4,
        1000,
        KV_DIRECT_MIN - 1,
        KV_DIRECT_MIN,
        KV_DIRECT_MIN + 1,
        65536,
        KV_BATCH_PAYLOAD_MAX,
        KV_BATCH_PAYLOAD_MAX + 1,
        524288,
        KV_PAYLOAD_MAX - 1,
        KV_PAYLOAD_MAX,
    };
    uint64_t r = mix(seed + n);

    if (r % 3 == 0) {
        return (uint32_t)((r >> 8) % 2000);
    }
    if (r % 3 == 1) {
        return (uint32_t)((r >> 8) % 300000);
    }
    return edges[(r >> 8) % (sizeof edges / sizeof edges[0])];
}

static void exchange(struct fixture *f, uint64_t seed, uint64_t count)
{
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t n = 0; n < count; n++) {
        send_frame(&f->left, any_size(seed, n));
        send_frame(&f->right, any_size(~seed, n));
    }
    run_until(f, &f->right.frames, count);
    run_until(f, &f->left.frames, count);
    run_until(f, &f->left.sent, count);
    run_until(f, &f->right.sent, count);
    assert_int_equal(f->left.wrong, 0);
    assert_int_equal(f->right.wrong, 0);
    assert_int_equal(link_queued(&f->left.link), 0);
    assert_int_equal(f->left.link.bytes_out, f->right.link.bytes_in);
    assert_int_equal(f->right.link.bytes_out, f->left.link.bytes_in);
}

static void test_all_sizes_both_ways_at_once(void **state)
{
    exchange(*state, (uint64_t)time(NULL), 300);
}

static void test_all_sizes_with_checksums(void **state)
{
    struct fixture *f = *state;

    f->left.link.checksum = true;
    f->right.link.checksum = true;
    exchange(f, (uint64_t)time(NULL) + 1, 100);
}

static void test_large_slices_go_to_the_sink(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 20; i++) {
        send_frame(&f->left, 524288);
    }
    run_until(f, &f->right.frames, 20);
    assert_int_equal(f->right.direct, 20);
    assert_int_equal(f->right.wrong, 0);
}

/* Two links share a scratch; each still sees its own message at its end. */
static void test_links_of_a_hub_do_not_mix_their_messages(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 50; i++) {
        send_frame(&f->left, 400000);
        send_frame(&f->right, 400000);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    run_until(f, &f->right.frames, 50);
    run_until(f, &f->left.frames, 50);
    assert_int_equal(f->left.wrong, 0);
    assert_int_equal(f->right.wrong, 0);
}

static void test_nothing_is_written_before_the_callbacks_are_over(void **state)
{
    struct fixture *f = *state;

    send_frame(&f->left, 100);
    send_frame(&f->left, 200);
    assert_int_equal(f->left.sent, 0);
    assert_in_range(link_queued(&f->left.link), 300, 1000);
    link_flush(&f->left.link);
    assert_int_equal(f->left.sent, 2);
    assert_int_equal(link_queued(&f->left.link), 0);
    run_until(f, &f->right.frames, 2);
}

static void test_the_steady_state_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t before = 0, uv_before = 0;

    for (uint64_t round = 1; round <= 30; round++) {
        for (uint64_t n = 0; n < 20; n++) {
            send_frame(&f->left, n % 2 == 0 ? 300 : 300000);
            send_frame(&f->right, n % 2 == 0 ? 300000 : 300);
        }
        run_until(f, &f->left.frames, 20 * round);
        run_until(f, &f->right.frames, 20 * round);
        if (round == 5) {
            before = mem_allocations();
            uv_before = uv_allocations;
        }
    }
    assert_int_equal(mem_allocations(), before);
    assert_int_equal(uv_allocations, uv_before);
    assert_in_range(before, 1, UINT64_MAX);
    assert_in_range(uv_before, 1, UINT64_MAX);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

/* --- Pressure ------------------------------------------------------------ */

static void test_a_blocked_link_reads_no_more(void **state)
{
    struct fixture *f = *state;

    f->right.block = 1;
    for (int i = 0; i < 40; i++) {
        send_frame(&f->left, KV_PAYLOAD_MAX);
    }
    run_until(f, &f->right.heads, 1);
    for (int i = 0; i < 2000; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(f->right.heads, 1);
    assert_int_equal(f->right.frames, 0);
    assert_false(uv_is_active((uv_handle_t *)&f->right.link.tcp));
    assert_in_range(link_queued(&f->left.link), KV_PAYLOAD_MAX, SIZE_MAX);
    link_resume(&f->right.link);
    assert_int_equal(f->right.heads, 1); /* Not from here. */
    run_until(f, &f->right.frames, 40);
    assert_int_equal(f->right.heads, 41);
    assert_int_equal(f->right.wrong, 0);
}

/* So many that the socket fills up in the middle of heads, too. */
static void test_a_flood_of_tiny_frames(void **state)
{
    struct fixture *f = *state;

    f->right.block = 1;
    for (int i = 0; i < 150000; i++) {
        send_frame(&f->left, 5);
    }
    run_until(f, &f->right.heads, 1);
    run_on(f);
    assert_in_range(link_queued(&f->left.link), 1, SIZE_MAX);
    link_resume(&f->right.link);
    run_until(f, &f->right.frames, 150000);
    run_until(f, &f->left.sent, 150000);
    assert_int_equal(f->right.wrong, 0);
    assert_int_equal(f->left.wrong, 0);
}

static void test_blocking_now_and_then_loses_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = (uint64_t)time(NULL);

    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t n = 0; n < 200; n++) {
        send_frame(&f->left, any_size(seed, n) % 200000);
    }
    for (int i = 0; i < 1000000 && f->right.frames < 200; i++) {
        f->right.block = mix(seed + (uint64_t)i) % 4 == 0;
        uv_run(&f->loop, UV_RUN_NOWAIT);
        link_resume(&f->right.link);
        link_resume(&f->right.link);
    }
    assert_int_equal(f->right.frames, 200);
    assert_int_equal(f->right.wrong, 0);
}

/* One link's event resumes the other: the other's messages must not be parsed
 * over the one that the event still looks at. */
static void test_resuming_another_link_from_an_event(void **state)
{
    struct fixture *f = *state;

    f->right.block = 1;
    for (int i = 0; i < 10; i++) {
        send_frame(&f->left, 500);
    }
    run_until(f, &f->right.heads, 1);
    f->left.wake = &f->right;
    send_frame(&f->right, 700);
    send_frame(&f->right, 700);
    run_until(f, &f->left.frames, 2);
    run_until(f, &f->right.frames, 10);
    assert_int_equal(f->left.wrong, 0);
    assert_int_equal(f->right.wrong, 0);
}

/* The kernel would cut off a peer that does not read for 10 s. */
static void test_a_peer_that_does_not_read_is_borne_with(void **state)
{
    struct fixture *f = *state;
    uint64_t give_up = uv_hrtime() + UINT64_C(20000000000);
    unsigned ms = 10000;
    uv_os_fd_t fd;

    assert_int_equal(uv_fileno((uv_handle_t *)&f->left.link.tcp, &fd), 0);
    assert_int_equal(
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms), 0);
    f->right.block = 1;
    for (int i = 0; i < 20; i++) {
        send_frame(&f->left, KV_PAYLOAD_MAX);
    }
    run_until(f, &f->right.heads, 1);
    while (option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) > 0 &&
           uv_hrtime() < give_up) {
        hurry(f, &f->left, 1);
    }
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    link_resume(&f->right.link);
    run_until(f, &f->right.frames, 20);
    run_until(f, &f->left.sent, 20);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 10000);
    hurry(f, &f->left, 1);
    assert_false(uv_is_active((uv_handle_t *)&f->left.link.timer));
}

static void test_drained_comes_at_the_low_water(void **state)
{
    struct fixture *f = *state;

    f->left.link.low_water = 1 << 20;
    for (int i = 0; i < 40; i++) {
        send_frame(&f->left, KV_PAYLOAD_MAX);
    }
    run_until(f, &f->right.frames, 40);
    assert_int_equal(f->left.drained, 1);
    assert_int_equal(f->left.wrong, 0);
    send_frame(&f->left, 100); /* Never above it. */
    run_until(f, &f->right.frames, 41);
    assert_int_equal(f->left.drained, 1);
}

/* --- Two threads --------------------------------------------------------- */

struct thread {
    uv_thread_t id;
    int fd;
    unsigned char *pattern;
    uint64_t count, wrong, frames, sent;
};

static void on_thread(void *arg)
{
    struct thread *t = arg;
    uint64_t give_up = uv_hrtime() + UINT64_C(20000000000);
    struct link_hub hub;
    struct side side;
    uv_loop_t loop;

    KV_CHECK(uv_loop_init(&loop) == 0);
    KV_CHECK(link_hub_open(&hub, &loop) == KV_OK);
    open_side(&side, &hub, t->fd, t->pattern);
    for (uint64_t n = 0; n < t->count; n++) {
        send_frame(&side, any_size(7, n));
    }
    while ((side.frames < t->count || side.sent < t->count) && side.open &&
           uv_hrtime() < give_up) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    t->wrong = side.wrong;
    t->frames = side.frames;
    t->sent = side.sent;
    link_finish(&side.link);
    uv_run(&loop, UV_RUN_DEFAULT);
    /* Whoever is slower may find the other gone before it is done itself. */
    t->wrong += side.status != KV_OK && side.status != KV_ECONN;
    link_hub_close(&hub, on_hub_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    KV_CHECK(uv_loop_close(&loop) == 0);
    free(side.sink);
}

static void test_two_loops_in_two_threads(void **state)
{
    unsigned char *pattern = make_pattern();
    struct thread t[2];
    int fd[2];

    (void)state;
    connect_pair(fd);
    for (int i = 0; i < 2; i++) {
        t[i] = (struct thread){.fd = fd[i], .pattern = pattern, .count = 200};
        assert_int_equal(uv_thread_create(&t[i].id, on_thread, &t[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        uv_thread_join(&t[i].id);
        assert_int_equal(t[i].wrong, 0);
        assert_int_equal(t[i].frames, 200);
        assert_int_equal(t[i].sent, 200);
    }
    free(pattern);
}

/* --- Sockets ------------------------------------------------------------- */

static void test_sockets_are_tuned(void **state)
{
    char name[16] = "";
    socklen_t size = sizeof name;
    int fd[2];

    (void)state;
    connect_pair(fd);
    assert_int_equal(option(fd[0], IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd[0], SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd[0], IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    assert_int_equal(option(fd[0], IPPROTO_TCP, TCP_KEEPIDLE), 5);
    assert_int_equal(
        getsockopt(fd[1], IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
    assert_true(strcmp(name, "cubic") == 0 || strcmp(name, "reno") == 0);
    link_tune_socket(fd[0], "reno");
    link_tune_socket(fd[0], "no such thing"); /* Left as it was. */
    assert_int_equal(
        getsockopt(fd[0], IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
    assert_string_equal(name, "reno");
    close(fd[0]);
    close(fd[1]);
}

/* --- Main ---------------------------------------------------------------- */

static void *count_malloc(size_t size)
{
    __atomic_fetch_add(&uv_allocations, 1, __ATOMIC_RELAXED);
    return malloc(size);
}

static void *count_realloc(void *p, size_t size)
{
    __atomic_fetch_add(&uv_allocations, 1, __ATOMIC_RELAXED);
    return realloc(p, size);
}

static void *count_calloc(size_t count, size_t size)
{
    __atomic_fetch_add(&uv_allocations, 1, __ATOMIC_RELAXED);
    return calloc(count, size);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_sizes_both_ways_at_once),
        TEST(test_all_sizes_with_checksums),
        TEST(test_large_slices_go_to_the_sink),
        TEST(test_links_of_a_hub_do_not_mix_their_messages),
        TEST(test_nothing_is_written_before_the_callbacks_are_over),
        TEST(test_the_steady_state_allocates_nothing),
        TEST(test_a_blocked_link_reads_no_more),
        TEST(test_a_flood_of_tiny_frames),
        TEST(test_blocking_now_and_then_loses_nothing),
        TEST(test_resuming_another_link_from_an_event),
        TEST(test_a_peer_that_does_not_read_is_borne_with),
        TEST(test_drained_comes_at_the_low_water),
        cmocka_unit_test(test_two_loops_in_two_threads),
        cmocka_unit_test(test_sockets_are_tuned),
    };

    signal(SIGPIPE, SIG_IGN);
    uv_replace_allocator(count_malloc, count_realloc, count_calloc, free);
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
