/**
 * control_fixture - the root's service, and clients that talk to it.
 *
 * All in one loop, over socket pairs. A client keeps what it was answered;
 * events only record, steps and tests assert.
 */
#ifndef KV_TESTS_UNIT_CONTROL_FIXTURE_H
#define KV_TESTS_UNIT_CONTROL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "server/control.h"
#include "tests/unit/arena_fixture.h"

#define WORKERS 3
#define SLICE_BYTES 1024
#define ANSWERS_MAX 64
#define CLIENTS_MAX 8
#define SERVER_STATE 5

struct answer {
    enum message_kind kind;
    uint64_t id;
    enum kv_status status;
    char text[KV_TEXT_MAX + 1];
    uint32_t rank, workers, servers, shards, key_id;
    uint64_t barrier, slice_count, arena_id, deletions;
    uint32_t dead;
    char address[KV_ADDRESS_MAX + 1]; /* The last one. */
    uint32_t place[16];
    size_t payload_size;
};

struct client {
    struct link link;
    struct answer answer[ANSWERS_MAX];
    unsigned answers, taken;
    bool open;
};

struct fixture {
    struct home home;
    uv_loop_t loop;
    struct link_hub hub;
    struct control control;
    struct client client[CLIENTS_MAX];
    unsigned clients, done, closed;
    uint32_t servers;
    char error[512];
};

/* --- A client ------------------------------------------------------------ */

static inline enum kv_status client_head(struct link *l,
                                         const struct frame_head *head,
                                         const struct message *m, void **sink)
{
    (void)l;
    (void)head;
    (void)m;
    (void)sink;
    return KV_OK;
}

static inline void note_joined(struct answer *a, const struct message *m)
{
    a->rank = m->joined.rank;
    a->workers = m->joined.workers;
    a->servers = m->joined.server_count;
    a->barrier = m->joined.barrier;
    for (uint32_t i = 0; i < m->joined.server_count; i++) {
        a->shards += m->joined.shards[i];
        snprintf(a->address, sizeof a->address, "%s", m->joined.address[i]);
    }
}

static inline enum kv_status client_frame(struct link *l,
                                          const struct frame_head *head,
                                          const struct message *m,
                                          const void *payload)
{
    struct client *c = l->data;
    struct answer *a = &c->answer[c->answers++ % ANSWERS_MAX];
    const unsigned char *bytes = payload;

    memset(a, 0, sizeof *a);
    a->kind = m->kind;
    a->id = head->request_id;
    a->payload_size = head->payload_size;
    if (m->kind == MESSAGE_WELCOME) {
        a->rank = m->welcome.rank;
        a->arena_id = m->welcome.arena_id;
    } else if (m->kind == MESSAGE_ERROR) {
        a->status = m->error.status;
        snprintf(a->text, sizeof a->text, "%s", m->error.text);
    } else if (m->kind == MESSAGE_DEAD_COUNT) {
        a->dead = m->dead_count.count;
    } else if (m->kind == MESSAGE_JOINED) {
        note_joined(a, m);
    } else if (m->kind == MESSAGE_PLACED) {
        a->key_id = m->placed.key_id;
        a->slice_count = m->placed.slice_count;
        a->deletions = m->placed.deletions;
        for (size_t i = 0; i < 16 && 4 * i < head->payload_size; i++) {
            a->place[i] = bytes_get_u32(bytes + 4 * i);
        }
    }
    return KV_OK;
}

static inline void client_closed(struct link *l, enum kv_status status,
                                 const char *text)
{
    struct client *c = l->data;

    (void)status;
    (void)text;
    c->open = false;
}

static const struct link_events client_events = {
    .head = client_head, .frame = client_frame, .closed = client_closed};

/* --- Turning the loop ---------------------------------------------------- */

/* Both ends are in this loop, so a few turns settle everything. */
static inline void settle(struct fixture *f)
{
    for (int i = 0; i < 20; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

static inline void run_until(struct fixture *f, const bool *flag, bool value)
{
    uint64_t give_up = uv_hrtime() + UINT64_C(20000000000);

    while (*flag != value && uv_hrtime() < give_up) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(*flag, value);
}

/* --- Set up -------------------------------------------------------------- */

static inline void on_done(struct control *c)
{
    struct fixture *f = c->data;

    f->done++;
}

static inline void on_control_closed(struct control *c)
{
    struct fixture *f = c->data;

    f->closed++;
}

static inline enum kv_status try_control(struct fixture *f)
{
    struct control_config config = {.hub = &f->hub,
                                    .arena = f->home.arena,
                                    .workers = WORKERS,
                                    .servers = f->servers,
                                    .slice_bytes = SLICE_BYTES,
                                    .shards = 2,
                                    .state = SERVER_STATE,
                                    .address = "root:1"};
    enum kv_status status =
        control_open(&f->control, &config, f->error, sizeof f->error);

    f->control.data = f;
    f->control.done = on_done;
    return status;
}

static inline void start(struct fixture *f)
{
    home_open(&f->home);
    KV_CHECK(uv_loop_init(&f->loop) == 0);
    KV_CHECK(link_hub_open(&f->hub, &f->loop) == KV_OK);
    if (try_control(f) != KV_OK) {
        fprintf(stderr, "%s\n", f->error);
        abort();
    }
}

static inline void stop(struct fixture *f)
{
    for (unsigned i = 0; i < f->clients; i++) {
        if (f->client[i].open) {
            link_close(&f->client[i].link, KV_OK, "the test ends");
        }
    }
    f->closed = 0;
    control_close(&f->control, on_control_closed);
    control_close(&f->control, on_control_closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    KV_CHECK(f->closed == 1);
    link_hub_close(&f->hub, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    KV_CHECK(uv_loop_close(&f->loop) == 0);
    control_fini(&f->control);
    home_drop(&f->home);
    f->clients = 0;
}

static inline struct fixture *new_fixture(uint32_t servers)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->servers = servers;
    home_make(&f->home);
    start(f);
    return f;
}

static inline int set_up(void **state)
{
    *state = new_fixture(1);
    return 0;
}

static inline int set_up_two_servers(void **state)
{
    *state = new_fixture(2);
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    stop(f);
    home_remove(&f->home);
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

static inline struct answer *next(struct fixture *f, struct client *c)
{
    settle(f);
    assert_true(c->taken < c->answers);
    return &c->answer[c->taken++ % ANSWERS_MAX];
}

static inline void expect_nothing(struct fixture *f, struct client *c)
{
    settle(f);
    assert_int_equal(c->taken, c->answers);
}

static inline void expect_ok(struct fixture *f, struct client *c, uint64_t id)
{
    struct answer *a = next(f, c);

    assert_string_equal(message_kind_name(a->kind),
                        message_kind_name(MESSAGE_OK));
    assert_int_equal(a->id, id);
}

static inline void expect_error(struct fixture *f, struct client *c,
                                uint64_t id, enum kv_status status,
                                const char *text)
{
    struct answer *a = next(f, c);

    assert_string_equal(message_kind_name(a->kind),
                        message_kind_name(MESSAGE_ERROR));
    assert_int_equal(a->id, id);
    assert_string_equal(kv_strstatus(a->status), kv_strstatus(status));
    assert_non_null(strstr(a->text, text));
}

static inline struct client *admit(struct fixture *f, const struct hello *hello)
{
    struct client *c = &f->client[f->clients++];
    int fd[2];

    KV_CHECK(f->clients <= CLIENTS_MAX);
    KV_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
    memset(c, 0, sizeof *c);
    c->link.data = c;
    KV_CHECK(link_open(&c->link, &f->hub, fd[0], &client_events) == KV_OK);
    c->open = true;
    control_admit(&f->control, fd[1], hello);
    assert_int_equal(next(f, c)->kind, MESSAGE_WELCOME);
    return c;
}

static inline struct client *come(struct fixture *f, uint32_t rank,
                                  uint64_t incarnation, uint64_t token)
{
    struct hello h = {.role = HANDSHAKE_WORKER,
                      .target = HANDSHAKE_CONTROL,
                      .rank = rank,
                      .policy = KV_POLICY_SYNC,
                      .incarnation = incarnation,
                      .token = token};

    return admit(f, &h);
}

static inline struct client *come_server(struct fixture *f, uint32_t index,
                                         uint64_t incarnation)
{
    struct hello h = {.role = HANDSHAKE_SERVER,
                      .target = HANDSHAKE_CONTROL,
                      .rank = index,
                      .incarnation = incarnation};

    return admit(f, &h);
}

static inline void ask(struct client *c, uint64_t id, const struct message *m)
{
    KV_CHECK(link_send(&c->link, m, id, NULL, 0, NULL, NULL, NULL) == KV_OK);
}

static inline void ask_join(struct client *c, uint64_t id)
{
    struct message m = {.kind = MESSAGE_JOIN};

    m.join.policy = KV_POLICY_SYNC;
    ask(c, id, &m);
}

static inline void ask_enlist(struct client *c, uint64_t id, uint32_t index,
                              const char *address, uint32_t shards)
{
    struct message m = {.kind = MESSAGE_ENLIST};

    m.enlist.index = index;
    m.enlist.address = address;
    m.enlist.shards = shards;
    m.enlist.state = SERVER_STATE;
    ask(c, id, &m);
}

static inline void ask_key(struct client *c, uint64_t id, const char *name,
                           uint64_t count)
{
    struct message m = {.kind = MESSAGE_KEY};

    m.key.name = name;
    m.key.dims = 1;
    m.key.shape[0] = count;
    ask(c, id, &m);
}

static inline void ask_delete(struct client *c, uint64_t id, const char *name,
                              enum kv_delete_step step, uint32_t key_id)
{
    struct message m = {.kind = MESSAGE_DELETE};

    m.delete.name = name;
    m.delete.step = step;
    m.delete.key_id = key_id;
    ask(c, id, &m);
}

static inline void ask_barrier(struct client *c, uint64_t id,
                               uint64_t generation)
{
    struct message m = {.kind = MESSAGE_BARRIER};

    m.barrier.generation = generation;
    ask(c, id, &m);
}

static inline void ask_leave(struct client *c, uint64_t id)
{
    struct message m = {.kind = MESSAGE_LEAVE};

    ask(c, id, &m);
}

/* Comes, joins, and is answered at once. */
static inline struct client *join(struct fixture *f, uint32_t rank,
                                  uint64_t incarnation)
{
    struct client *c = come(f, rank, incarnation, 100 + rank);
    struct answer *a;

    ask_join(c, 1);
    a = next(f, c);
    assert_int_equal(a->kind, MESSAGE_JOINED);
    assert_int_equal(a->rank, rank);
    return c;
}

static inline void leave_abruptly(struct fixture *f, struct client *c)
{
    link_close(&c->link, KV_ECONN, "gone");
    run_until(f, &c->open, false);
    settle(f);
}

#endif
