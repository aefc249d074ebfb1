/**
 * daemon_private - what the files of the daemon share.
 *
 *   daemon_start.c   from a config to a server that is ready
 *   daemon.c         what happens then, and the end
 */
#ifndef KV_SERVER_DAEMON_PRIVATE_H
#define KV_SERVER_DAEMON_PRIVATE_H

#include "server/control.h"
#include "server/daemon.h"
#include "server/door.h"
#include "server/enlist.h"
#include "server/shard_thread.h"

#define DAEMON_EXIT_START 1
#define DAEMON_EXIT_USAGE 2

struct daemon {
    struct config *config; /* Borrowed. */
    enum { DAEMON_LOOPLESS, DAEMON_SERVING, DAEMON_CLOSING } state;
    char address[KV_ADDRESS_MAX + 1]; /* As advertised. */
    bool anywhere;                    /* It is a wildcard. */
    char error[512];
    int listen_fd; /* Bound, until the door takes it; -1. */
    struct shard_thread *shards;
    uint32_t shard_count;     /* Opened. */
    struct arena *root_arena; /* NULL on others. */
    uv_loop_t loop;
    struct link_hub hub;
    struct control control;
    struct enlist enlist;
    struct door door;
    bool controlling, enlisting, open; /* Which of them are there. */
    uv_signal_t on_term, on_int;
    uv_timer_t warn; /* Listening beyond loopback without a key. */
    uv_pipe_t lifeline;
    char lifeline_byte;
};

/* 0, or an exit code with a sentence in d->error; then too daemon_finish(). */
int daemon_start(struct daemon *d);

/* Begin to end: nobody comes in any more, those who are in go. */
void daemon_shut_down(struct daemon *d);

/* Listening beyond loopback without a key. */
void daemon_warn_exposed(const struct daemon *d);

void daemon_on_admit(struct door *door, int fd, const struct hello *hello);
void daemon_on_done(struct control *c);
void daemon_on_heard(struct enlist *e, enum kv_status status);
void daemon_on_signal(uv_signal_t *handle, int number);
void daemon_on_lifeline_alloc(uv_handle_t *handle, size_t suggested,
                              uv_buf_t *buf);
void daemon_on_lifeline(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

#endif
