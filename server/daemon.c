#include "server/daemon_private.h"

#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/legacy_env.h"
#include "common/base/mem.h"
#include "server/config_options.h"
#include "server/process.h"

/* --- The end ------------------------------------------------------------- */

static void on_control_closed(struct control *c)
{
    struct daemon *d = c->data;

    link_hub_close(&d->hub, NULL);
}

static void on_enlist_closed(struct enlist *e)
{
    struct daemon *d = e->data;

    link_hub_close(&d->hub, NULL);
}

/* Nobody comes in any more; let those who are in go. */
static void close_links(struct daemon *d)
{
    for (uint32_t i = 0; i < d->shard_count; i++) {
        shard_thread_stop(&d->shards[i]);
    }
    if (d->controlling) {
        control_close(&d->control, on_control_closed);
    } else if (d->enlisting) {
        enlist_close(&d->enlist, on_enlist_closed);
    } else {
        link_hub_close(&d->hub, NULL);
    }
}

static void on_door_closed(struct door *door)
{
    close_links(door->data);
}

/* A second signal meets no handler: it ends the process at once, and as state
 * is always complete, nothing is lost by that either. */
void daemon_shut_down(struct daemon *d)
{
    if (d->state == DAEMON_CLOSING) {
        return;
    }
    d->state = DAEMON_CLOSING;
    uv_close((uv_handle_t *)&d->on_term, NULL);
    uv_close((uv_handle_t *)&d->on_int, NULL);
    uv_close((uv_handle_t *)&d->warn, NULL);
    uv_close((uv_handle_t *)&d->lifeline, NULL);
    if (d->open) {
        door_close(&d->door, on_door_closed);
    } else {
        close_links(d);
    }
}

/* After a failed start, or when the loop has ended. */
static void finish(struct daemon *d)
{
    if (d->state == DAEMON_LOOPLESS) {
        for (uint32_t i = 0; i < d->shard_count; i++) {
            shard_thread_stop(&d->shards[i]);
        }
    } else {
        daemon_shut_down(d);
        KV_CHECK(uv_run(&d->loop, UV_RUN_DEFAULT) == 0);
        KV_CHECK(uv_loop_close(&d->loop) == 0);
    }
    process_forget();
    for (uint32_t i = 0; i < d->shard_count; i++) {
        shard_thread_fini(&d->shards[i]);
    }
    mem_free(d->shards);
    if (d->controlling) {
        control_fini(&d->control);
    }
    if (d->root_arena != NULL) {
        arena_close(d->root_arena);
    }
    if (d->listen_fd >= 0) {
        close(d->listen_fd);
    }
}

/* --- What happens -------------------------------------------------------- */

void daemon_on_signal(uv_signal_t *handle, int number)
{
    log_info("%s: shutting down", number == SIGTERM ? "SIGTERM" : "SIGINT");
    daemon_shut_down(handle->data);
}

void daemon_on_lifeline_alloc(uv_handle_t *handle, size_t suggested,
                              uv_buf_t *buf)
{
    struct daemon *d = handle->data;

    (void)suggested;
    *buf = uv_buf_init(&d->lifeline_byte, 1);
}

void daemon_on_lifeline(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    if (n < 0) {
        log_info("who started this server is gone: shutting down");
        daemon_shut_down(stream->data);
    }
}

void daemon_warn_exposed(const struct daemon *d)
{
    log_warn("listening on %s without a key: anyone who can reach it can read "
             "and change everything",
             d->address);
}

void daemon_on_done(struct control *c)
{
    struct daemon *d = c->data;

    if (d->config->exit_when_done) {
        daemon_shut_down(d);
    }
}

/* Once taken in, it lets workers in while the root is away, or has something
 * against this server that is not about its state. */
void daemon_on_heard(struct enlist *e, enum kv_status status)
{
    struct daemon *d = e->data;

    if (status == KV_OK || status == KV_EDATALOSS) {
        door_gate(&d->door, status);
    }
}

void daemon_on_admit(struct door *door, int fd, const struct hello *hello)
{
    struct daemon *d = door->data;

    if (hello->target == HANDSHAKE_CONTROL) {
        control_admit(&d->control, fd, hello);
    } else {
        shard_thread_adopt(&d->shards[hello->target], fd, hello);
    }
}

/* --- A life -------------------------------------------------------------- */

int daemon_run(struct config *config)
{
    struct daemon *d = mem_zalloc(1, sizeof *d);
    char who[LOG_WHO_MAX];
    int code;

    if (d == NULL) {
        fprintf(stderr, "kvstored: out of memory\n");
        return DAEMON_EXIT_START;
    }
    d->config = config;
    d->listen_fd = -1;
    snprintf(who, sizeof who, "server %" PRIu64, config->index);
    log_open(who, (enum log_level)config->log_level);
    legacy_env_warn(LEGACY_SERVER);
    settings_warn_slips(config_options, CONFIG_PREFIX);
    process_prepare();
    if (config->has_key) {
        process_protect(config->key, sizeof config->key);
    }
    code = daemon_start(d);
    if (code != 0) {
        fprintf(stderr, "kvstored: %s\n", d->error);
    } else {
        KV_CHECK(uv_run(&d->loop, UV_RUN_DEFAULT) == 0);
    }
    finish(d);
    if (code == 0) {
        log_info("ended; state %s%s",
                 config->in_memory ? "was in memory only" : "is kept in ",
                 config->in_memory ? "" : config->arena_dir);
    }
    mem_free(d);
    return code;
}
