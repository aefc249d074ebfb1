/**
 * daemon_fixture - whole daemons in child processes, and a worker that talks
 * to them over plain blocking sockets, one request at a time.
 */
#ifndef KV_TESTS_INTEGRATION_DAEMON_FIXTURE_H
#define KV_TESTS_INTEGRATION_DAEMON_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/frame.h"
#include "proto/handshake.h"
#include "proto/message.h"
#include "server/address.h"
#include "server/config.h"
#include "server/daemon.h"

#define ARGS_MAX 32
#define DAEMONS_MAX 3
#define CALLERS_MAX 8
#define PATIENCE_S 20

struct daemon_child {
    pid_t pid;
    char address[ADDRESS_TEXT_MAX]; /* "" if it did not get ready. */
};

struct reply {
    enum message_kind kind;
    enum kv_status status;
    char text[KV_TEXT_MAX + 1];
    uint64_t id, round, arena_id, slice_count;
    uint32_t rank, servers, key_id, slot, size;
    char address[KV_ADDRESS_MAX + 1]; /* Of the last server. */
    unsigned char payload[4096];
};

struct caller {
    int fd; /* -1: hung up. */
    struct frame_reader reader;
    struct scratch scratch;
    char *memory;
    unsigned replies;
    struct reply reply; /* The last one. */
};

struct fixture {
    char dir[64];
    struct daemon_child daemon[DAEMONS_MAX];
    struct caller caller[CALLERS_MAX];
    unsigned callers;
    uint64_t incarnation;
    int ours; /* A descriptor that a daemon must not inherit; -1. */
};

/* --- Daemons ------------------------------------------------------------- */

/* In the child; `line` is split at spaces. */
static inline void run_daemon(const char *line, int ready_fd)
{
    static struct config config;
    struct settings_error error;
    char copy[1024], *argv[ARGS_MAX] = {"kvstored"}, *save = NULL;
    int argc = 1, code;

    snprintf(copy, sizeof copy, "%s --ready-fd %d --log-level error", line,
             ready_fd);
    for (char *word = strtok_r(copy, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        argv[argc++] = word;
    }
    if (config_load(&config, argc, argv, &error) != KV_OK) {
        fprintf(stderr, "%s\n", error.text);
        _exit(2);
    }
    code = daemon_run(&config);
    _exit(code);
}

static inline void read_address(struct daemon_child *d, int fd)
{
    size_t got = 0;
    ssize_t n;

    while (got + 1 < sizeof d->address &&
           (n = read(fd, d->address + got, sizeof d->address - 1 - got)) > 0) {
        got += (size_t)n;
    }
    d->address[got] = '\0';
    d->address[strcspn(d->address, "\n")] = '\0';
    close(fd);
}

/* Start number `i` with these options besides the usual ones, and wait until
 * it is ready or has given up. */
static inline struct daemon_child *launch(struct fixture *f, unsigned i,
                                          const char *options)
{
    struct daemon_child *d = &f->daemon[i];
    pid_t parent = getpid();
    char line[512];
    int fd[2];

    KV_CHECK(d->pid == 0);
    KV_CHECK(pipe(fd) == 0);
    snprintf(line, sizeof line, "--listen 127.0.0.1:0 --arena-dir %s %s",
             f->dir, options);
    fflush(NULL);
    d->pid = fork();
    KV_CHECK(d->pid >= 0);
    if (d->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* The next line: not dead yet? */
        if (getppid() != parent) {
            _exit(1);
        }
        close(fd[0]);
        if (f->ours >= 0) {
            close(f->ours);
        }
        run_daemon(line, fd[1]);
    }
    close(fd[1]);
    read_address(d, fd[0]);
    return d;
}

/* The exit code, or minus the signal. */
static inline int outcome(struct daemon_child *d)
{
    int status;

    KV_CHECK(waitpid(d->pid, &status, 0) == d->pid);
    d->pid = 0;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int end(struct daemon_child *d, int number)
{
    KV_CHECK(kill(d->pid, number) == 0);
    return outcome(d);
}

static inline void expect_ready(const struct daemon_child *d)
{
    assert_string_not_equal(d->address, "");
}

static inline void expect_failure(struct daemon_child *d, int code)
{
    assert_string_equal(d->address, "");
    assert_int_equal(outcome(d), code);
}

/* --- Set up -------------------------------------------------------------- */

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->dir, sizeof f->dir, "/tmp/kv-test-XXXXXX");
    KV_CHECK(mkdtemp(f->dir) != NULL);
    f->incarnation = 1;
    f->ours = -1;
    *state = f;
    return 0;
}

static inline void hang_up(struct caller *c)
{
    if (c->memory != NULL) {
        frame_reader_fini(&c->reader);
        free(c->memory);
        c->memory = NULL;
    }
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

static inline void empty(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[400];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    closedir(d);
    (void)rmdir(dir);
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < f->callers; i++) {
        hang_up(&f->caller[i]);
    }
    for (unsigned i = 0; i < DAEMONS_MAX; i++) {
        if (f->daemon[i].pid != 0) {
            (void)end(&f->daemon[i], SIGKILL);
        }
    }
    empty(f->dir);
    free(f);
    return 0;
}

/* --- A worker ------------------------------------------------------------ */

static inline enum kv_status take_head(void *ctx, const struct frame_head *head,
                                       const void *meta, void **sink)
{
    (void)ctx;
    (void)head;
    (void)meta;
    (void)sink;
    return KV_OK;
}

static inline void note_reply(struct reply *r, const struct message *m)
{
    r->kind = m->kind;
    if (m->kind == MESSAGE_WELCOME) {
        r->arena_id = m->welcome.arena_id;
        r->rank = m->welcome.rank;
    } else if (m->kind == MESSAGE_ERROR) {
        r->status = m->error.status;
        snprintf(r->text, sizeof r->text, "%s", m->error.text);
    } else if (m->kind == MESSAGE_JOINED) {
        r->rank = m->joined.rank;
        r->servers = m->joined.server_count;
        snprintf(r->address, sizeof r->address, "%s",
                 m->joined.address[r->servers - 1]);
    } else if (m->kind == MESSAGE_PLACED) {
        r->key_id = m->placed.key_id;
        r->slice_count = m->placed.slice_count;
    } else if (m->kind == MESSAGE_OPENED) {
        r->slot = m->opened.slot;
        r->round = m->opened.round;
    } else if (m->kind == MESSAGE_ANSWER) {
        r->slot = m->batch.runs[0].slot;
        r->round = m->batch.runs[0].round;
    }
}

static inline enum kv_status take_frame(void *ctx,
                                        const struct frame_head *head,
                                        const void *meta, const void *payload)
{
    struct caller *c = ctx;
    struct message m;
    const char *reason = "";

    scratch_reset(&c->scratch);
    if (message_unpack(&c->scratch, meta, head->meta_size, head->payload_size,
                       &m, &reason) != KV_OK) {
        fprintf(stderr, "%s\n", reason);
        return KV_EPROTO;
    }
    memset(&c->reply, 0, sizeof c->reply);
    c->reply.id = head->request_id;
    c->reply.size = head->payload_size;
    note_reply(&c->reply, &m);
    if (head->payload_size <= sizeof c->reply.payload) {
        memcpy(c->reply.payload, payload, head->payload_size);
    }
    c->replies++;
    return KV_OK;
}

/* The next frame; false when the server has hung up. */
static inline bool listen_to(struct caller *c)
{
    unsigned before = c->replies;

    while (c->replies == before) {
        size_t size;
        void *to = frame_reader_want(&c->reader, &size);
        ssize_t n = recv(c->fd, to, size, 0);

        if (n <= 0) {
            assert_int_not_equal(n < 0 ? errno : 0, EAGAIN); /* Too long. */
            return false;
        }
        /* One frame at a time, for there is never a second one to come. */
        assert_int_equal(frame_reader_fed(&c->reader, (size_t)n), KV_OK);
    }
    return true;
}

static inline bool hears_all(int fd, void *out, size_t size)
{
    return recv(fd, out, size, MSG_WAITALL) == (ssize_t)size;
}

/* Connect and prove; with the key of those who have none. */
static inline void shake_hands(int fd, const struct hello *h)
{
    static const unsigned char key[HANDSHAKE_KEY_SIZE];
    unsigned char hello[HANDSHAKE_HELLO_SIZE];
    unsigned char challenge[HANDSHAKE_CHALLENGE_SIZE];
    unsigned char proof[HANDSHAKE_PROOF_SIZE];
    struct challenge c;

    handshake_pack_hello(h, hello);
    assert_int_equal(send(fd, hello, sizeof hello, MSG_NOSIGNAL), sizeof hello);
    assert_true(hears_all(fd, challenge, sizeof challenge));
    assert_int_equal(handshake_check_challenge(challenge, key, hello, &c),
                     KV_OK);
    handshake_pack_proof(key, hello, challenge, proof);
    assert_int_equal(send(fd, proof, sizeof proof, MSG_NOSIGNAL), sizeof proof);
}

/* Which daemon of the job that is; 0 for one of another. */
static inline uint32_t server_at(const struct fixture *f, const char *address)
{
    uint32_t server = DAEMONS_MAX;

    while (--server > 0 && strcmp(f->daemon[server].address, address) != 0) {
    }
    return server;
}

/* Up to the first frame. */
static inline struct caller *call(struct fixture *f, const char *address,
                                  uint16_t target, uint32_t rank,
                                  uint32_t policy)
{
    struct caller *c = &f->caller[f->callers++];
    struct timeval patience = {.tv_sec = PATIENCE_S};
    struct sockaddr_storage to;
    char error[256];
    struct hello h = {.version_min = KV_VERSION_MIN,
                      .version_max = KV_VERSION_MAX,
                      .role = HANDSHAKE_WORKER,
                      .target = target,
                      .rank = rank,
                      .policy = policy,
                      .server = server_at(f, address),
                      .incarnation = f->incarnation,
                      .token = 1000 + f->incarnation};

    KV_CHECK(f->callers <= CALLERS_MAX);
    KV_CHECK(address_resolve(address, &to, error, sizeof error) == KV_OK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    KV_CHECK(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                        sizeof patience) == 0);
    KV_CHECK(connect(c->fd, (struct sockaddr *)&to,
                     sizeof(struct sockaddr_in)) == 0);
    c->memory = aligned_alloc(64, MESSAGE_SCRATCH_SIZE);
    scratch_init(&c->scratch, c->memory, MESSAGE_SCRATCH_SIZE);
    KV_CHECK(frame_reader_init(&c->reader, c, take_head, take_frame) == KV_OK);
    handshake_random(h.nonce, sizeof h.nonce);
    shake_hands(c->fd, &h);
    assert_true(listen_to(c));
    return c;
}

static inline void tell(struct caller *c, const struct message *m,
                        const void *payload, size_t size)
{
    unsigned char out[FRAME_PREFIX_SIZE + MESSAGE_BATCH_META_MAX];
    size_t meta;

    assert_int_equal(message_pack(m, out + FRAME_PREFIX_SIZE,
                                  sizeof out - FRAME_PREFIX_SIZE, &meta),
                     KV_OK);
    frame_seal(out, 7, meta, payload, size, false);
    assert_int_equal(send(c->fd, out, FRAME_PREFIX_SIZE + meta, MSG_NOSIGNAL),
                     FRAME_PREFIX_SIZE + meta);
    if (size > 0) {
        assert_int_equal(send(c->fd, payload, size, MSG_NOSIGNAL), size);
    }
}

/* Ask, and expect that kind of answer. */
static inline const struct reply *ask(struct caller *c, const struct message *m,
                                      const void *payload, size_t size,
                                      enum message_kind kind)
{
    tell(c, m, payload, size);
    assert_true(listen_to(c));
    if (c->reply.kind == MESSAGE_ERROR && kind != MESSAGE_ERROR) {
        assert_string_equal(c->reply.text, "");
    }
    assert_string_equal(message_kind_name(c->reply.kind),
                        message_kind_name(kind));
    return &c->reply;
}

static inline const struct reply *join(struct caller *c)
{
    struct message m = {.kind = MESSAGE_JOIN};

    m.join.policy = KV_POLICY_SYNC;
    return ask(c, &m, NULL, 0, MESSAGE_JOINED);
}

static inline struct caller *call_root(struct fixture *f, const char *address,
                                       uint32_t rank)
{
    struct caller *c =
        call(f, address, HANDSHAKE_CONTROL, rank, KV_POLICY_SYNC);

    assert_int_equal(c->reply.kind, MESSAGE_WELCOME);
    assert_int_equal(join(c)->rank, rank);
    return c;
}

static inline struct caller *call_shard(struct fixture *f, const char *address,
                                        uint16_t shard, uint32_t rank)
{
    struct caller *c = call(f, address, shard, rank, KV_POLICY_SYNC);

    assert_int_equal(c->reply.kind, MESSAGE_WELCOME);
    assert_int_equal(c->reply.rank, rank);
    return c;
}

#endif
