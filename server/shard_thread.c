#include "server/shard_thread_private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/compute/denormals.h"

#define REFUSALS_LOGGED 20 /* In REFUSALS_MS. */
#define REFUSALS_MS 10000

struct adoption {
    struct mail mail;
    int fd;
    struct hello hello;
};

/* --- The end ------------------------------------------------------------- */

static void on_mailbox_closed(struct mailbox *mb)
{
    (void)mb; /* The loop ends when the last handle has closed. */
}

void shard_thread_wind_down(struct shard_thread *t)
{
    if (t->shard != NULL) {
        shard_free(t->shard); /* Has buffers of the hub. */
        t->shard = NULL;
    }
    link_hub_close(&t->hub, NULL);
    mailbox_close(&t->mailbox, on_mailbox_closed);
    uv_close((uv_handle_t *)&t->tick, NULL);
}

static void stop(struct shard_thread *t)
{
    t->stopping = true;
    if (list_empty(&t->seats)) {
        shard_thread_wind_down(t);
        return;
    }
    LIST_EACH(&t->seats, node, after)
    {
        struct seat *seat = LIST_ENTRY(node, struct seat, among_seats);

        seat_leave(seat);
        link_finish(&seat->link);
    }
}

/* --- Mail ---------------------------------------------------------------- */

static void on_mail(struct mailbox *mb, struct mail *mail)
{
    struct shard_thread *t = mb->data;
    struct adoption *a;

    if (mail == &t->stop) {
        stop(t);
        return;
    }
    a = LIST_ENTRY(mail, struct adoption, mail);
    seat_adopt(t, a->fd, &a->hello);
    mem_free(a);
}

void shard_thread_adopt(struct shard_thread *t, int fd,
                        const struct hello *hello)
{
    struct adoption *a = mem_alloc(sizeof *a);

    if (a == NULL) {
        close(fd);
        return;
    }
    a->fd = fd;
    a->hello = *hello;
    if (!mailbox_send(&t->mailbox, &a->mail)) {
        close(fd);
        mem_free(a);
    }
}

/* --- Both ends of a life ------------------------------------------------- */

/* Nothing of it runs yet: as it would end by itself, but now. */
static void abandon(struct shard_thread *t)
{
    t->stopping = true;
    shard_thread_wind_down(t);
    KV_CHECK(uv_run(&t->loop, UV_RUN_DEFAULT) == 0);
    shard_thread_fini(t);
}

static enum kv_status open_loop(struct shard_thread *t)
{
    enum kv_status status;

    if (uv_loop_init(&t->loop) != 0) {
        return KV_ENOMEM;
    }
    status = link_hub_open(&t->hub, &t->loop);
    if (status != KV_OK) {
        goto err_loop;
    }
    status = mailbox_open(&t->mailbox, &t->loop, on_mail);
    if (status != KV_OK) {
        goto err_hub;
    }
    t->mailbox.data = t;
    KV_CHECK(uv_timer_init(&t->loop, &t->tick) == 0);
    t->tick.data = t;
    return KV_OK;

err_hub:
    link_hub_close(&t->hub, NULL);
    KV_CHECK(uv_run(&t->loop, UV_RUN_DEFAULT) == 0);
err_loop:
    KV_CHECK(uv_loop_close(&t->loop) == 0);
    return status;
}

enum kv_status shard_thread_open(struct shard_thread *t, uint32_t index,
                                 const struct arena_config *config, char *error,
                                 size_t error_size)
{
    struct shard_events events;
    enum kv_status status;

    memset(t, 0, sizeof *t);
    t->index = index;
    t->workers = config->identity.workers;
    t->refusals = (struct log_limit){.about = "workers turned away",
                                     .count_max = REFUSALS_LOGGED,
                                     .interval_ms = REFUSALS_MS};
    list_init(&t->seats);
    list_init(&t->dirty);
    snprintf(error, error_size, "no memory or descriptors for a shard");
    status = open_loop(t);
    if (status != KV_OK) {
        return status;
    }
    t->by_rank = mem_zalloc(t->workers, sizeof(struct seat *));
    t->waits = mem_zalloc(t->workers, sizeof *t->waits);
    status = t->by_rank == NULL || t->waits == NULL ? KV_ENOMEM : KV_OK;
    if (status == KV_OK) {
        status = arena_open(config, &t->arena, error, error_size);
    }
    if (status == KV_OK) {
        seats_events(t, &events);
        status = shard_new(t->arena, t->workers, &t->hub.buffers, &events,
                           &t->shard, error, error_size);
    }
    if (status != KV_OK) {
        abandon(t);
    }
    return status;
}

void shard_thread_census(const struct shard_thread *t, struct shard_census *out)
{
    shard_census(t->shard, out);
}

static void run(void *arg)
{
    struct shard_thread *t = arg;

    kv_flush_denormals();
    KV_CHECK(uv_run(&t->loop, UV_RUN_DEFAULT) == 0);
}

enum kv_status shard_thread_start(struct shard_thread *t)
{
    t->started = uv_thread_create(&t->thread, run, t) == 0;
    return t->started ? KV_OK : KV_ENOMEM;
}

void shard_thread_stop(struct shard_thread *t)
{
    if (t->started) {
        KV_CHECK(mailbox_send(&t->mailbox, &t->stop));
    } else {
        stop(t);
        KV_CHECK(uv_run(&t->loop, UV_RUN_DEFAULT) == 0);
    }
}

void shard_thread_fini(struct shard_thread *t)
{
    if (t->started) {
        KV_CHECK(uv_thread_join(&t->thread) == 0);
    }
    mailbox_fini(&t->mailbox);
    KV_CHECK(uv_loop_close(&t->loop) == 0);
    if (t->arena != NULL) {
        arena_close(t->arena);
    }
    mem_free(t->by_rank);
    mem_free(t->waits);
}
