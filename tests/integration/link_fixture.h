/**
 * link_fixture - two links, left and right, over loopback and on one loop.
 *
 * Frame number n of a side has request id n + 1 and a payload that both sides
 * know: a piece of `pattern`. What is large goes to a sink. Events only record;
 * the test looks at the records afterwards.
 */
#ifndef KV_TESTS_INTEGRATION_LINK_FIXTURE_H
#define KV_TESTS_INTEGRATION_LINK_FIXTURE_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "proto/link.h"

#define PATTERN_SIZE ((size_t)8 << 20)

enum when { NEVER, IN_HEAD, IN_FRAME, IN_SENT, IN_DRAINED };

struct side {
    struct link link;
    struct link_hub *hub;
    unsigned char *pattern; /* The fixture's. */
    unsigned char *sink;
    uint64_t queued, heads, frames, sent, drained, closed;
    uint64_t direct; /* Frames that came through the sink. */
    uint64_t wrong;  /* Anything that is not as it must be. */
    uint64_t block;  /* Heads to be put off. */
    enum kv_status status;
    char text[128];
    enum when close_in, finish_in;
    enum kv_status head_status;
    struct side *wake; /* Resumed from inside `frame`. */
    bool open;
};

struct fixture {
    uv_loop_t loop;
    struct link_hub hub;
    struct side left, right;
    unsigned char *pattern;
    int peer; /* The right end as a bare socket, when it is no link; or -1. */
};

/* --- What both sides know ------------------------------------------------ */

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline const unsigned char *payload_of(const unsigned char *pattern,
                                              uint64_t id)
{
    return pattern + mix(id) % (PATTERN_SIZE - KV_PAYLOAD_MAX);
}

static inline uint32_t slot_of(uint64_t id)
{
    return (uint32_t)(mix(id + 99) % KV_SLOTS_MAX);
}

/* --- Events -------------------------------------------------------------- */

static inline void act(struct side *s, enum when now)
{
    if (s->close_in == now) {
        link_close(&s->link, KV_ECANCELED, "closed by the test");
    }
    if (s->finish_in == now) {
        link_finish(&s->link);
    }
}

static inline void look(struct side *s, const struct frame_head *head,
                        const struct message *m)
{
    uint64_t id = s->frames + 1;

    s->wrong += s->closed != 0 || !s->open || head->request_id != id;
    if (m->kind == MESSAGE_PUSH) {
        s->wrong += m->batch.run_count != 1 ||
                    m->batch.runs[0].slot != slot_of(id) ||
                    m->batch.runs[0].size != head->payload_size;
    }
}

static inline enum kv_status on_head(struct link *l,
                                     const struct frame_head *head,
                                     const struct message *m, void **sink)
{
    struct side *s = l->data;

    s->heads++;
    look(s, head, m);
    if (s->block > 0) {
        s->block--;
        return KV_EAGAIN;
    }
    if (message_direct(m) != NULL) {
        *sink = s->sink;
    }
    act(s, IN_HEAD);
    return s->head_status;
}

static inline enum kv_status on_frame(struct link *l,
                                      const struct frame_head *head,
                                      const struct message *m,
                                      const void *payload)
{
    struct side *s = l->data;

    if (s->wake != NULL) {
        link_resume(&s->wake->link);
    }
    look(s, head, m);
    s->frames++;
    if (message_direct(m) != NULL) {
        s->direct++;
        s->wrong += payload != s->sink;
    }
    s->wrong += memcmp(payload, payload_of(s->pattern, head->request_id),
                       head->payload_size) != 0;
    act(s, IN_FRAME);
    return KV_OK;
}

static inline void on_drained(struct link *l)
{
    struct side *s = l->data;

    s->drained++;
    s->wrong += !s->open || link_queued(l) > l->low_water;
    act(s, IN_DRAINED);
}

static inline void on_link_closed(struct link *l, enum kv_status status,
                                  const char *text)
{
    struct side *s = l->data;

    s->closed++;
    s->open = false;
    s->status = status;
    snprintf(s->text, sizeof s->text, "%s", text);
    s->wrong += s->sent != s->queued; /* Each has had its `sent` before. */
}

static inline void on_sent(struct out_frame *f)
{
    struct side *s = f->owner[0];
    uint64_t id = (uint64_t)(uintptr_t)f->owner[1];

    s->sent++;
    s->wrong += !s->open || id != s->sent;
    act(s, IN_SENT);
}

static const struct link_events events = {on_head, on_frame, on_drained,
                                          on_link_closed};

/* --- Set up -------------------------------------------------------------- */

static inline void connect_pair(int fd[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    KV_CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    KV_CHECK(listen(listener, 1) == 0);
    KV_CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    KV_CHECK(connect(fd[0], (struct sockaddr *)&address, size) == 0);
    fd[1] = accept(listener, NULL, NULL);
    KV_CHECK(fd[1] >= 0);
    close(listener);
    link_tune_socket(fd[0], NULL);
    link_tune_socket(fd[1], NULL);
}

static inline void open_side(struct side *s, struct link_hub *hub, int fd,
                             unsigned char *pattern)
{
    memset(s, 0, sizeof *s);
    s->hub = hub;
    s->pattern = pattern;
    s->sink = malloc(KV_PAYLOAD_MAX);
    s->link.data = s;
    s->open = true;
    KV_CHECK(link_open(&s->link, hub, fd, &events) == KV_OK);
}

static inline unsigned char *make_pattern(void)
{
    unsigned char *pattern = malloc(PATTERN_SIZE);

    for (size_t i = 0; i < PATTERN_SIZE; i++) {
        pattern[i] = (unsigned char)(mix(i) >> 7);
    }
    return pattern;
}

static inline struct fixture *new_fixture(void)
{
    struct fixture *f = calloc(1, sizeof *f);

    KV_CHECK(uv_loop_init(&f->loop) == 0);
    KV_CHECK(link_hub_open(&f->hub, &f->loop) == KV_OK);
    f->pattern = make_pattern();
    f->peer = -1;
    return f;
}

/* Left and right, links both. */
static inline int set_up(void **state)
{
    struct fixture *f = new_fixture();
    int fd[2];

    connect_pair(fd);
    open_side(&f->left, &f->hub, fd[0], f->pattern);
    open_side(&f->right, &f->hub, fd[1], f->pattern);
    *state = f;
    return 0;
}

/* The right end is a bare, blocking socket in the test's hands. */
static inline int set_up_bare(void **state)
{
    struct fixture *f = new_fixture();
    int fd[2];

    connect_pair(fd);
    open_side(&f->left, &f->hub, fd[0], f->pattern);
    f->peer = fd[1];
    *state = f;
    return 0;
}

static inline void on_hub_closed(uv_handle_t *handle)
{
    (void)handle;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->left.open) {
        link_close(&f->left.link, KV_ECANCELED, "torn down");
    }
    if (f->right.open) {
        link_close(&f->right.link, KV_ECANCELED, "torn down");
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    link_hub_close(&f->hub, on_hub_closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    KV_CHECK(uv_loop_close(&f->loop) == 0);
    if (f->peer >= 0) {
        close(f->peer);
    }
    free(f->left.sink);
    free(f->right.sink);
    free(f->pattern);
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

static inline void send_frame(struct side *s, uint32_t size)
{
    uint64_t id = s->queued + 1;
    struct run run = {slot_of(id), 1, id, size};
    struct message m = {.kind = MESSAGE_OK};

    if (size > 0) {
        m.kind = MESSAGE_PUSH;
        m.batch = (struct message_batch){.runs = &run, .run_count = 1};
    }
    KV_CHECK(link_send(&s->link, &m, id, payload_of(s->pattern, id), size,
                       on_sent, s, (void *)(uintptr_t)id) == KV_OK);
    s->queued++;
}

/* Until `*count` is `target`, or nothing has moved for long. */
static inline void run_until(struct fixture *f, const uint64_t *count,
                             uint64_t target)
{
    uint64_t give_up = uv_hrtime() + UINT64_C(20000000000);

    while (*count < target && uv_hrtime() < give_up) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(*count, target);
}

/* A few turns of the loop, for what must not happen. */
static inline void run_on(struct fixture *f)
{
    for (int i = 0; i < 50; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

static inline void expect_closed(struct fixture *f, struct side *s,
                                 enum kv_status status, const char *text)
{
    run_until(f, &s->closed, 1);
    run_on(f);
    assert_int_equal(s->closed, 1);
    assert_string_equal(kv_strstatus(s->status), kv_strstatus(status));
    assert_non_null(strstr(s->text, text));
    assert_int_equal(s->sent, s->queued);
    assert_int_equal(s->wrong, 0);
}

/* Timers that would fire seconds later fire now, each `turns` times. */
static inline void hurry(struct fixture *f, struct side *s, int turns)
{
    for (int i = 0; i < turns && s->open; i++) {
        assert_true(uv_is_active((uv_handle_t *)&s->link.timer));
        KV_CHECK(uv_timer_start(&s->link.timer, s->link.timer.timer_cb, 0,
                                uv_timer_get_repeat(&s->link.timer)) == 0);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

#endif
