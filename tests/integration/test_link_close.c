#include "tests/integration/link_fixture.h"

/* --- Steps --------------------------------------------------------------- */

/* A sealed frame of the right kind for look(), as bytes. */
static size_t seal_push(const struct fixture *f, uint64_t id, uint32_t size,
                        unsigned char *out)
{
    struct run run = {slot_of(id), 1, id, size};
    struct message m = {.kind = MESSAGE_PUSH};
    size_t meta_size;

    m.batch = (struct message_batch){.runs = &run, .run_count = 1};
    KV_CHECK(message_pack(&m, out + FRAME_PREFIX_SIZE, 200, &meta_size) ==
             KV_OK);
    frame_seal(out, id, meta_size, payload_of(f->pattern, id), size, true);
    memcpy(out + FRAME_PREFIX_SIZE + meta_size, payload_of(f->pattern, id),
           size);
    return FRAME_PREFIX_SIZE + meta_size + size;
}

static void write_bare(const struct fixture *f, const void *data, size_t size)
{
    assert_int_equal(send(f->peer, data, size, MSG_NOSIGNAL), size);
}

static void close_bare(struct fixture *f)
{
    close(f->peer);
    f->peer = -1;
}

/* --- Closing ourselves --------------------------------------------------- */

static void test_closing_inside_any_event(void **state)
{
    struct fixture *f = *state;

    (void)f;
    for (enum when when = IN_HEAD; when <= IN_DRAINED; when++) {
        for (int finish = 0; finish < 2; finish++) {
            struct fixture *each;
            uint64_t frames;

            set_up((void **)&each);
            *(finish ? &each->right.finish_in : &each->right.close_in) = when;
            for (int i = 0; i < 60; i++) {
                send_frame(&each->left, i % 2 == 0 ? 100 : 100000);
                send_frame(&each->right, i % 2 == 0 ? 100 : 100000);
            }
            run_until(each, &each->left.closed, 1);
            hurry(each, &each->right, 1);
            expect_closed(each, &each->right, finish ? KV_OK : KV_ECANCELED,
                          finish ? "finished" : "by the test");
            frames = each->right.frames;
            assert_in_range(frames, 0, when <= IN_FRAME ? 1 : 60);
            assert_int_equal(each->left.wrong, 0);
            tear_down((void **)&each);
        }
    }
}

static void test_the_first_reason_wins(void **state)
{
    struct fixture *f = *state;

    send_frame(&f->left, 100);
    link_close(&f->left.link, KV_ESTALE, "first");
    link_close(&f->left.link, KV_ENOMEM, "second");
    link_finish(&f->left.link);
    link_flush(&f->left.link);
    link_resume(&f->left.link);
    assert_int_equal(f->left.closed, 0); /* Not from inside. */
    assert_int_equal(f->left.sent, 0);
    expect_closed(f, &f->left, KV_ESTALE, "first");
    link_close(&f->left.link, KV_ENOMEM, "third");
    expect_closed(f, &f->right, KV_ECONN, "peer closed");
    assert_int_equal(f->right.frames, 0);
}

static void test_what_is_queued_is_let_go(void **state)
{
    struct fixture *f = *state;

    f->right.block = 1;
    for (int i = 0; i < 30; i++) {
        send_frame(&f->left, KV_PAYLOAD_MAX);
    }
    run_until(f, &f->right.heads, 1);
    run_on(f);
    assert_in_range(f->left.sent, 0, 29);
    link_close(&f->left.link, KV_ECANCELED, "enough");
    send_frame(&f->left, 100); /* Queued only to be dropped. */
    expect_closed(f, &f->left, KV_ECANCELED, "enough");
    assert_int_equal(f->left.sent, 31);
}

static void test_a_refused_frame_ends_the_link(void **state)
{
    struct fixture *f = *state;

    f->right.head_status = KV_ESTALE;
    send_frame(&f->left, 100000);
    send_frame(&f->left, 100);
    expect_closed(f, &f->right, KV_ESTALE, "older life");
    assert_int_equal(f->right.frames, 0);
}

/* --- Finishing ----------------------------------------------------------- */

static void test_finishing_delivers_what_is_queued(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 20; i++) {
        send_frame(&f->left, 500000);
    }
    link_finish(&f->left.link);
    expect_closed(f, &f->right, KV_ECONN, "peer closed");
    assert_int_equal(f->right.frames, 20);
    expect_closed(f, &f->left, KV_OK, "finished");
}

/* Closing a socket with unread bytes resets the connection, and the peer would
 * lose the last words that it has not read yet. */
static void test_the_last_words_survive_what_was_not_read(void **state)
{
    struct fixture *f = *state;

    f->left.block = UINT64_MAX;
    for (int i = 0; i < 30; i++) {
        send_frame(&f->right, 500000);
    }
    run_until(f, &f->left.heads, 1);
    send_frame(&f->left, 100);
    link_finish(&f->left.link);
    run_until(f, &f->right.frames, 1);
    assert_int_equal(f->left.closed, 0); /* It lingers. */
    expect_closed(f, &f->right, KV_ECONN, "peer closed");
    expect_closed(f, &f->left, KV_OK, "finished");
    assert_int_equal(f->left.frames, 0);
}

static void test_both_may_finish(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++) {
        send_frame(&f->left, 100000);
        send_frame(&f->right, 100000);
    }
    link_finish(&f->left.link);
    link_finish(&f->right.link);
    expect_closed(f, &f->left, KV_OK, "finished");
    expect_closed(f, &f->right, KV_OK, "finished");
}

static void test_finishing_waits_for_nobody_long(void **state)
{
    struct fixture *f = *state;

    send_frame(&f->left, KV_PAYLOAD_MAX);
    send_frame(&f->left, KV_PAYLOAD_MAX);
    link_finish(&f->left.link);
    run_on(f);
    assert_int_equal(f->left.closed, 0);
    hurry(f, &f->left, 1);
    expect_closed(f, &f->left, KV_OK, "finished");
}

/* --- The peer ------------------------------------------------------------ */

static void test_a_peer_that_vanishes_anywhere(void **state)
{
    unsigned char bytes[2000];
    bool whole = false;

    (void)state;
    for (size_t cut = 0; !whole; cut += 1 + cut / 3) {
        struct fixture *f;
        size_t first, size, sent;

        set_up_bare((void **)&f);
        first = seal_push(f, 1, 900, bytes);
        size = first + seal_push(f, 2, 900, bytes + first);
        whole = cut >= size;
        sent = whole ? size : cut;
        write_bare(f, bytes, sent);
        close_bare(f);
        expect_closed(f, &f->left, KV_ECONN,
                      sent == 0 || sent == first || whole
                          ? "peer closed"
                          : "in the middle of a frame");
        assert_int_equal(f->left.frames, (sent >= first) + whole);
        tear_down((void **)&f);
    }
}

static void test_a_peer_that_resets(void **state)
{
    struct linger linger = {1, 0};
    struct fixture *f = *state;

    for (int i = 0; i < 10; i++) {
        send_frame(&f->left, KV_PAYLOAD_MAX);
    }
    run_on(f);
    assert_int_equal(
        setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close_bare(f);
    expect_closed(f, &f->left, KV_ECONN, "");
}

static void test_a_stalled_frame_ends_the_link(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[2000];
    size_t size = seal_push(f, 1, 900, bytes);

    write_bare(f, bytes, size - 1);
    run_until(f, &f->left.heads, 1);
    hurry(f, &f->left, 4);
    assert_int_equal(f->left.closed, 0);
    hurry(f, &f->left, 1);
    expect_closed(f, &f->left, KV_ETIMEOUT, "half-way");
}

/* A byte now and then does not count; a frame, or 64 KiB, does. */
static void test_slow_is_not_stalled(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = malloc(200000);
    size_t size = seal_push(f, 1, 150000, bytes);
    size_t at = 0;

    for (int i = 0; i < 2; i++) {
        write_bare(f, bytes + at, 70000);
        at += 70000;
        while (f->left.link.bytes_in < at) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        hurry(f, &f->left, 4);
        assert_int_equal(f->left.closed, 0);
    }
    write_bare(f, bytes + at, size - at);
    run_until(f, &f->left.frames, 1);
    hurry(f, &f->left, 1); /* Stops by itself: nothing is midway. */
    assert_false(uv_is_active((uv_handle_t *)&f->left.link.timer));

    (void)seal_push(f, 2, 20000, bytes);
    for (at = 0; at < 4; at++) {
        write_bare(f, bytes + at, 1);
        while (!frame_reader_midway(&f->left.link.reader) ||
               f->left.link.reader.end - f->left.link.reader.begin < at + 1) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        hurry(f, &f->left, 1);
    }
    hurry(f, &f->left, 1);
    expect_closed(f, &f->left, KV_ETIMEOUT, "half-way");
    free(bytes);
}

static void test_a_blocked_link_does_not_time_out(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[2000];
    size_t size = seal_push(f, 1, 900, bytes);

    write_bare(f, bytes, size / 2);
    run_until(f, &f->left.heads, 1);
    f->left.block = 1;
    write_bare(f, bytes + size / 2, size - size / 2);
    run_until(f, &f->left.frames, 1);
    size = seal_push(f, 2, 900, bytes);
    write_bare(f, bytes, size);
    run_until(f, &f->left.heads, 2);
    for (int i = 0; i < 10 && uv_is_active((uv_handle_t *)&f->left.link.timer);
         i++) {
        hurry(f, &f->left, 1);
    }
    assert_false(uv_is_active((uv_handle_t *)&f->left.link.timer));
    link_resume(&f->left.link);
    run_until(f, &f->left.frames, 2);
    assert_int_equal(f->left.closed, 0);
}

/* --- Hostile bytes ------------------------------------------------------- */

static void test_what_is_no_frame_is_refused(void **state)
{
    struct fixture *f = *state;

    write_bare(f, "GET / HTTP/1.1\r\nHost: localhost:9700\r\n\r\n", 39);
    expect_closed(f, &f->left, KV_EPROTO, "not a frame");
    assert_int_equal(f->left.heads, 0);
}

static void test_metadata_that_lies_is_refused(void **state)
{
    struct fixture *f = *state;
    unsigned char bytes[2000] = {0};
    struct run run = {0, 1, 1, 901};
    struct message m = {.kind = MESSAGE_PUSH};
    size_t meta_size;

    m.batch = (struct message_batch){.runs = &run, .run_count = 1};
    assert_int_equal(
        message_pack(&m, bytes + FRAME_PREFIX_SIZE, 200, &meta_size), KV_OK);
    frame_seal(bytes, 1, meta_size, bytes, 900, false);
    write_bare(f, bytes, FRAME_PREFIX_SIZE + meta_size + 900);
    expect_closed(f, &f->left, KV_EPROTO, "payload differ");
    assert_int_equal(f->left.heads, 0);
}

static void test_a_damaged_payload_is_refused(void **state)
{
    static const uint32_t sizes[] = {900, 50000}; /* In staging, in a sink. */

    (void)state;
    for (int i = 0; i < 2; i++) {
        unsigned char *bytes = malloc(60000);
        struct fixture *f;
        size_t size;

        set_up_bare((void **)&f);
        size = seal_push(f, 1, sizes[i], bytes);
        bytes[size - 1] ^= 4;
        write_bare(f, bytes, size);
        expect_closed(f, &f->left, KV_EPROTO, "checksum of a payload");
        assert_int_equal(f->left.frames, 0);
        tear_down((void **)&f);
        free(bytes);
    }
}

static void test_random_bytes_end_the_link(void **state)
{
    uint64_t seed = (uint64_t)time(NULL);

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < 200; i++) {
        unsigned char bytes[4000];
        struct fixture *f;
        size_t size;

        set_up_bare((void **)&f);
        size = seal_push(f, 1, 900, bytes);
        size += seal_push(f, 2, 900, bytes + size);
        for (uint64_t n = 1 + mix(seed + i) % 5; n > 0; n--) {
            uint64_t r = mix(seed + 1000 * i + n);

            bytes[(r >> 8) % size] ^= (unsigned char)(1 + r % 255);
        }
        write_bare(f, bytes, size);
        close_bare(f);
        run_until(f, &f->left.closed, 1);
        assert_in_range(f->left.frames, 0, 1);
        tear_down((void **)&f);
    }
}

static void test_what_is_too_big_is_not_queued(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_OK};

    /* Nothing is queued when it cannot be sent. */
    assert_int_equal(link_send(&f->left.link, &m, 1, f->pattern,
                               KV_PAYLOAD_MAX + 1, on_sent, &f->left, NULL),
                     KV_ETOOBIG);
    assert_int_equal(link_queued(&f->left.link), 0);
    run_on(f);
    assert_int_equal(f->left.sent, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define BARE(name) cmocka_unit_test_setup_teardown(name, set_up_bare, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closing_inside_any_event),
        TEST(test_the_first_reason_wins),
        TEST(test_what_is_queued_is_let_go),
        TEST(test_a_refused_frame_ends_the_link),
        TEST(test_finishing_delivers_what_is_queued),
        TEST(test_the_last_words_survive_what_was_not_read),
        TEST(test_both_may_finish),
        BARE(test_finishing_waits_for_nobody_long),
        cmocka_unit_test(test_a_peer_that_vanishes_anywhere),
        BARE(test_a_peer_that_resets),
        BARE(test_a_stalled_frame_ends_the_link),
        BARE(test_slow_is_not_stalled),
        BARE(test_a_blocked_link_does_not_time_out),
        BARE(test_what_is_no_frame_is_refused),
        BARE(test_metadata_that_lies_is_refused),
        cmocka_unit_test(test_a_damaged_payload_is_refused),
        cmocka_unit_test(test_random_bytes_end_the_link),
        TEST(test_what_is_too_big_is_not_queued),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("link_close", tests, NULL, NULL);
}
