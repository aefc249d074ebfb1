#include "server/daemon_private.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/address.h"
#include "server/process.h"
#include "version.h"

#define INSECURE_LINE_MS 60000
#define SHARD_ARENA_INITIAL ((size_t)1 << 20)
#define ROOT_ARENA_INITIAL ((size_t)256 << 10)
#define ROOT_ARENA_MAX ((size_t)16 << 30) /* Address space. */

#define STATE_FACTOR UINT64_C(0x9e3779b97f4a7c15) /* So that order counts. */

static bool is_root(const struct daemon *d)
{
    return d->config->index == 0;
}

static bool is_exposed(const struct daemon *d)
{
    return d->config->insecure && !d->config->has_key;
}

/* --- Listening ----------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int
failed(struct daemon *d, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, args);
    va_end(args);
    return code;
}

static int check_exposure(struct daemon *d, const struct sockaddr_storage *at)
{
    const struct config *c = d->config;
    char text[ADDRESS_TEXT_MAX];

    address_format(at, text, sizeof text);
    if (!address_is_loopback(at) && !c->has_key && !c->insecure) {
        return failed(d, DAEMON_EXIT_USAGE,
                      "--listen %s: beyond loopback a --key-file is needed "
                      "(or --insecure)",
                      text);
    }
    if (address_is_wildcard(at) && c->servers > 1 && c->advertise[0] == '\0') {
        return failed(d, DAEMON_EXIT_USAGE,
                      "--listen %s: with several servers, --advertise must "
                      "say where this one is",
                      text);
    }
    return 0;
}

/* The socket is bound, so nobody can take the port any more. */
static int bind_door(struct daemon *d)
{
    const struct config *c = d->config;
    struct sockaddr_storage at;
    char reason[256];
    int code;

    d->listen_fd = c->listen_fd;
    if (d->listen_fd >= 0) {
        address_of_socket(d->listen_fd, &at);
        if (at.ss_family != AF_INET && at.ss_family != AF_INET6) {
            return failed(d, DAEMON_EXIT_USAGE, "--listen-fd %d: no TCP socket",
                          d->listen_fd);
        }
    } else if (address_resolve(c->listen, &at, reason, sizeof reason) !=
               KV_OK) {
        return failed(d, DAEMON_EXIT_START, "--listen %s", reason);
    }
    code = check_exposure(d, &at);
    if (code != 0) {
        return code;
    }
    if (d->listen_fd < 0 &&
        address_bind(&at, &d->listen_fd, reason, sizeof reason) != KV_OK) {
        return failed(d, DAEMON_EXIT_START, "%s", reason);
    }
    address_of_socket(d->listen_fd, &at);
    if (c->advertise[0] != '\0') {
        snprintf(d->address, sizeof d->address, "%s", c->advertise);
    } else {
        address_format(&at, d->address, sizeof d->address);
        d->anywhere = address_is_wildcard(&at);
    }
    return 0;
}

static int open_door(struct daemon *d)
{
    const struct config *c = d->config;
    struct door_config config = {.key = c->key,
                                 .epoch = arena_life(d->shards[0].arena),
                                 .shards = d->shard_count,
                                 .server = (uint32_t)c->index,
                                 .workers = (uint32_t)c->workers};
    int fd = d->listen_fd;

    memcpy(config.job, c->job, sizeof config.job);
    door_limits(&config);
    d->open = true;
    d->listen_fd = -1;
    d->door.data = d;
    if (door_open(&d->door, &d->loop, &config, fd, daemon_on_admit, d->error,
                  sizeof d->error) != KV_OK) {
        return DAEMON_EXIT_START;
    }
    if (!is_root(d)) { /* Which knows what state this server should have. */
        door_gate(&d->door, KV_EAGAIN);
    }
    return 0;
}

/* --- State --------------------------------------------------------------- */

static struct arena_config arena_of(const struct daemon *d, uint32_t shard,
                                    const char *name)
{
    const struct config *c = d->config;
    struct arena_config a = {.dir = c->in_memory ? NULL : c->arena_dir,
                             .name = name,
                             .new_job = c->new_job,
                             .trust_suspect = c->trust_arena};

    memcpy(a.identity.job, c->job, sizeof a.identity.job);
    a.identity.server = (uint32_t)c->index;
    a.identity.shard = shard;
    a.identity.shards = (uint32_t)c->shards;
    a.identity.workers = (uint32_t)c->workers;
    return a;
}

static int open_shards(struct daemon *d)
{
    const struct config *c = d->config;
    char name[64];

    d->shards = mem_zalloc(c->shards, sizeof *d->shards);
    if (d->shards == NULL) {
        return failed(d, DAEMON_EXIT_START, "out of memory");
    }
    for (uint32_t i = 0; i < c->shards; i++) {
        struct arena_config a = arena_of(d, i, name);

        snprintf(name, sizeof name,
                 "server-%" PRIu64 "-shard-%" PRIu32 ".arena", c->index, i);
        a.size_initial = SHARD_ARENA_INITIAL;
        a.size_max = (size_t)(c->arena_max / c->shards);
        if (shard_thread_open(&d->shards[i], i, &a, d->error,
                              sizeof d->error) != KV_OK) {
            return DAEMON_EXIT_START;
        }
        d->shard_count++;
        process_suspect(arena_suspect(d->shards[i].arena));
    }
    return 0;
}

/* Of all shards. */
struct holdings {
    uint64_t slices, round; /* The highest of any. */
    uint64_t state;         /* Which arenas; not 0. */
    bool used;
};

static struct holdings total_up(const struct daemon *d)
{
    struct holdings h = {0};

    for (uint32_t i = 0; i < d->shard_count; i++) {
        struct shard_census census;

        shard_thread_census(&d->shards[i], &census);
        h.slices += census.slices;
        h.round = census.rounds_max > h.round ? census.rounds_max : h.round;
        h.used = h.used || census.used;
        h.state = h.state * STATE_FACTOR + arena_id(d->shards[i].arena);
    }
    h.state = h.state == 0 ? 1 : h.state;
    return h;
}

static int open_root(struct daemon *d)
{
    const struct config *c = d->config;
    struct arena_config a = arena_of(d, UINT32_MAX, "server-0-root.arena");
    struct control_config config = {.hub = &d->hub,
                                    .workers = (uint32_t)c->workers,
                                    .servers = (uint32_t)c->servers,
                                    .slice_bytes = (uint32_t)c->slice_bytes,
                                    .shards = d->shard_count,
                                    .address = d->address,
                                    .anywhere = d->anywhere};
    struct holdings h = total_up(d);

    a.size_initial = ROOT_ARENA_INITIAL;
    a.size_max = ROOT_ARENA_MAX;
    if (arena_open(&a, &d->root_arena, d->error, sizeof d->error) != KV_OK) {
        return DAEMON_EXIT_START;
    }
    process_suspect(arena_suspect(d->root_arena));
    if (arena_life(d->root_arena) == 1 && h.slices > 0) {
        return failed(d, DAEMON_EXIT_START,
                      "%s: the shards hold %" PRIu64
                      " slices, but %s, which says of which keys, is gone; "
                      "remove the other files to start afresh",
                      c->arena_dir, h.slices, a.name);
    }
    config.arena = d->root_arena;
    config.state = h.state;
    config.used = h.used;
    if (control_open(&d->control, &config, d->error, sizeof d->error) !=
        KV_OK) {
        return DAEMON_EXIT_START;
    }
    d->controlling = true;
    d->control.data = d;
    d->control.done = daemon_on_done;
    return 0;
}

static void open_enlist(struct daemon *d)
{
    const struct config *c = d->config;
    struct holdings h = total_up(d);
    struct enlist_config config = {.hub = &d->hub,
                                   .root = c->root,
                                   .address = d->address,
                                   .key = c->key,
                                   .index = (uint32_t)c->index,
                                   .shards = d->shard_count,
                                   .state = h.state,
                                   .used = h.used,
                                   .heard = daemon_on_heard};

    memcpy(config.job, c->job, sizeof config.job);
    d->enlisting = true;
    d->enlist.data = d;
    enlist_open(&d->enlist, &config);
}

/* --- Starting ------------------------------------------------------------ */

static void on_warn(uv_timer_t *timer)
{
    daemon_warn_exposed(timer->data);
}

static int open_loop(struct daemon *d)
{
    const struct config *c = d->config;

    if (uv_loop_init(&d->loop) != 0) {
        return failed(d, DAEMON_EXIT_START, "no descriptors for an event loop");
    }
    if (link_hub_open(&d->hub, &d->loop) != KV_OK) {
        KV_CHECK(uv_loop_close(&d->loop) == 0);
        return failed(d, DAEMON_EXIT_START, "out of memory");
    }
    d->state = DAEMON_SERVING;
    KV_CHECK(uv_signal_init(&d->loop, &d->on_term) == 0);
    KV_CHECK(uv_signal_init(&d->loop, &d->on_int) == 0);
    KV_CHECK(uv_timer_init(&d->loop, &d->warn) == 0);
    KV_CHECK(uv_pipe_init(&d->loop, &d->lifeline, 0) == 0);
    d->on_term.data = d;
    d->on_int.data = d;
    d->warn.data = d;
    d->lifeline.data = d;
    if (c->lifeline_fd >= 0 &&
        (uv_pipe_open(&d->lifeline, c->lifeline_fd) != 0 ||
         uv_read_start((uv_stream_t *)&d->lifeline, daemon_on_lifeline_alloc,
                       daemon_on_lifeline) != 0)) {
        return failed(d, DAEMON_EXIT_START, "--lifeline-fd %d: cannot be read",
                      c->lifeline_fd);
    }
    if (is_exposed(d)) {
        KV_CHECK(uv_timer_start(&d->warn, on_warn, INSECURE_LINE_MS,
                                INSECURE_LINE_MS) == 0);
    }
    KV_CHECK(uv_signal_start(&d->on_term, daemon_on_signal, SIGTERM) == 0);
    KV_CHECK(uv_signal_start(&d->on_int, daemon_on_signal, SIGINT) == 0);
    return 0;
}

static int start_threads(struct daemon *d)
{
    for (uint32_t i = 0; i < d->shard_count; i++) {
        if (shard_thread_start(&d->shards[i]) != KV_OK) {
            return failed(d, DAEMON_EXIT_START, "cannot start thread %" PRIu32,
                          i);
        }
    }
    return 0;
}

/* "(new)" or "(resumed 12 keys, round 340)" */
static void describe_state(const struct daemon *d, char *out, size_t size)
{
    const struct config *c = d->config;
    struct holdings h;
    uint64_t count;
    int used;

    used = c->in_memory ? snprintf(out, size, "state in memory only")
                        : snprintf(out, size, "state in %s", c->arena_dir);
    if (used < 0 || (size_t)used >= size) {
        return;
    }
    out += used;
    size -= (size_t)used;
    if (c->in_memory) {
        return;
    }
    if (arena_life(d->shards[0].arena) == 1) {
        snprintf(out, size, " (new)");
        return;
    }
    h = total_up(d);
    count = is_root(d) ? control_keys(&d->control) : h.slices;
    snprintf(out, size, " (resumed %" PRIu64 " %s%s, round %" PRIu64 ")", count,
             is_root(d) ? "key" : "slice", count == 1 ? "" : "s", h.round);
}

/* Whatever the log level: people and scripts wait for this line. */
/* Always one line, but for a launcher that is told on its descriptor and wants
 * to hear of errors only. */
static void say_ready(const struct daemon *d, const char *state)
{
    const struct config *c = d->config;

    if (c->ready_fd >= 0 && c->log_level == LOG_ERROR) {
        return;
    }
    fprintf(stderr,
            "kvstored %s: server %" PRIu64 " of %" PRIu64
            " ready on %s, %" PRIu32 " shard%s, %" PRIu64 " worker%s, %s%s\n",
            KV_VERSION, c->index, c->servers, d->address, d->shard_count,
            d->shard_count == 1 ? "" : "s", c->workers,
            c->workers == 1 ? "" : "s", state,
            c->has_key    ? ""
            : c->insecure ? ", no key file: INSECURE"
                          : ", no key file: loopback only");
    if (is_exposed(d)) {
        daemon_warn_exposed(d);
    }
}

static void tell_launcher(struct daemon *d)
{
    char line[KV_ADDRESS_MAX + 2];
    int size = snprintf(line, sizeof line, "%s\n", d->address);

    if (d->config->ready_fd < 0) {
        return;
    }
    if (write(d->config->ready_fd, line, (size_t)size) != size) {
        log_warn("--ready-fd %d: %s", d->config->ready_fd, strerror(errno));
    }
    close(d->config->ready_fd);
}

int daemon_start(struct daemon *d)
{
    char state[CONFIG_PATH_MAX + 128] = "";
    int code = bind_door(d);

    if (code == 0) {
        code = open_shards(d);
    }
    if (code == 0) {
        code = open_loop(d);
    }
    if (code == 0 && is_root(d)) {
        code = open_root(d);
    } else if (code == 0) {
        open_enlist(d);
    }
    if (code != 0) {
        return code;
    }
    describe_state(d, state, sizeof state);
    process_catch_crashes();
    code = start_threads(d);
    if (code == 0) {
        code = open_door(d);
    }
    if (code == 0) {
        say_ready(d, state);
        tell_launcher(d);
    }
    return code;
}
