#include "tests/integration/link_fixture.h"

#include <fcntl.h>

#include "tests/fakes/fault_mem.h"

static void test_a_hub_that_cannot_open(void **state)
{
    struct link_hub hub;
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    fault_mem_fail(1);
    assert_int_equal(link_hub_open(&hub, &loop), KV_ENOMEM);
    fault_mem_fail(0);
    assert_int_equal(fault_mem_live(), 0);
    assert_int_equal(uv_loop_close(&loop), 0); /* No handle is left open. */
}

static void test_a_link_that_cannot_open_closes_its_socket(void **state)
{
    struct fixture *f = new_fixture();
    size_t live = fault_mem_live();
    enum kv_status status = KV_ENOMEM;
    unsigned failures = 0;

    (void)state;
    for (unsigned n = 1; status != KV_OK; n++) {
        struct link link = {.data = NULL};
        int fd[2];

        connect_pair(fd);
        fault_mem_fail(n);
        status = link_open(&link, &f->hub, fd[0], &events);
        fault_mem_fail(0);
        close(fd[1]);
        if (status != KV_OK) {
            failures++;
            assert_int_equal(status, KV_ENOMEM);
            assert_int_equal(fcntl(fd[0], F_GETFD), -1);
            assert_int_equal(fault_mem_live(), live);
            continue;
        }
        link.data = &f->left;
        f->left.open = true;
        link_close(&link, KV_ECANCELED, "enough");
        run_until(f, &f->left.closed, 1);
    }
    assert_in_range(failures, 1, 10);
    assert_int_equal(f->left.wrong, 0);
    tear_down((void **)&f);
    assert_int_equal(fault_mem_live(), 0);
}

static void test_what_cannot_be_sent_is_not_queued(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_OK};

    fault_mem_fail(1);
    assert_int_equal(
        link_send(&f->left.link, &m, 1, NULL, 0, on_sent, &f->left, NULL),
        KV_ENOMEM);
    fault_mem_fail(0);
    assert_int_equal(link_queued(&f->left.link), 0);
    send_frame(&f->left, 100);
    run_until(f, &f->right.frames, 1);
    assert_int_equal(f->left.sent, 1);
    assert_int_equal(f->left.wrong, 0);
}

/* Where many keys are registered, many such are under way. */
static void test_a_short_message_takes_no_large_frame(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_OPENED};

    assert_int_equal(link_send(&f->left.link, &m, 1, NULL, 0, NULL, NULL, NULL),
                     KV_OK);
    run_until(f, &f->right.frames, 1);
    assert_false(list_empty(&f->hub.frames.small)); /* It is back. */
    assert_true(list_empty(&f->hub.frames.large));
}

/* It is tried in a small frame first. */
static void test_a_long_message_goes_as_a_short_one_does(void **state)
{
    struct fixture *f = *state;
    struct message m = {.kind = MESSAGE_ERROR};
    char text[KV_TEXT_MAX + 1];

    memset(text, 'x', KV_TEXT_MAX);
    text[KV_TEXT_MAX] = '\0';
    m.error.status = KV_EINVAL;
    m.error.text = text;
    fault_mem_fail(2);
    assert_int_equal(link_send(&f->left.link, &m, 1, NULL, 0, NULL, NULL, NULL),
                     KV_ENOMEM);
    fault_mem_fail(0);
    assert_int_equal(link_queued(&f->left.link), 0);
    assert_int_equal(link_send(&f->left.link, &m, 1, NULL, 0, NULL, NULL, NULL),
                     KV_OK);
    assert_true(link_queued(&f->left.link) > KV_TEXT_MAX);
    run_until(f, &f->right.frames, 1);
    assert_int_equal(f->left.wrong + f->right.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hub_that_cannot_open),
        cmocka_unit_test(test_a_link_that_cannot_open_closes_its_socket),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_sent_is_not_queued,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_short_message_takes_no_large_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_long_message_goes_as_a_short_one_does, set_up, tear_down),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("link_memory", tests, NULL, NULL);
}
