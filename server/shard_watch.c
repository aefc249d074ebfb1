#include "server/shard_thread_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/log.h"

#define TICK_MS 1000
#define NOTICE_MS 1000 /* Then tell the rank that waits who is missing... */
#define STALL_MS 5000  /* ...and then the log. */
#define STALL_TICKS (STALL_MS / TICK_MS)
#define STALL_LINE_MS 10000

/* "rank 3 is missing (not connected)"; of a round that is measured, none is. */
static void log_stall(struct shard_thread *t, uint32_t slot, uint64_t round,
                      const uint32_t *missing, uint32_t count)
{
    char more[32] = "", left[32] = "";
    uint32_t gone = shard_left(t->shard);

    if (count == 0) {
        log_warn("shard %" PRIu32 " slot %" PRIu32 " round %" PRIu64
                 ": its norms wait for other slices of the key",
                 t->index, slot, round);
        return;
    }
    if (count > 1) {
        snprintf(more, sizeof more, ", and %" PRIu32 " more", count - 1);
    }
    if (gone > 0) {
        snprintf(left, sizeof left, "; %" PRIu32 " left before", gone);
    }
    log_warn("shard %" PRIu32 " slot %" PRIu32 " round %" PRIu64
             ": rank %" PRIu32 " is missing%s%s%s",
             t->index, slot, round, missing[0],
             t->by_rank[missing[0]] == NULL ? " (not connected)" : "", more,
             left);
}

/* Is it the tick after which who has waited since then is told: the first of
 * that age, and then every few seconds? */
static bool notice_due(const struct shard_thread *t, uint64_t since_ms)
{
    return since_ms + NOTICE_MS <= uv_now(&t->loop) &&
           (since_ms + NOTICE_MS > t->ticked_ms || t->ticks % STALL_TICKS == 0);
}

static bool line_due(struct shard_thread *t, uint64_t since_ms)
{
    uint64_t now = uv_now(&t->loop);

    if (t->ticks % STALL_TICKS != 0 || since_ms + STALL_MS > now ||
        now < t->line_ms) {
        return false;
    }
    t->line_ms = now + STALL_LINE_MS;
    return true;
}

/* To the rank that waits, and in the end to the log. */
static void on_stall(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                     uint64_t since_ms, const uint32_t *missing, uint32_t count)
{
    struct shard_thread *t = ctx;
    uint64_t now = uv_now(&t->loop);
    bool connected[KV_MISSING_MAX];

    if (line_due(t, since_ms)) {
        log_stall(t, slot, round, missing, count);
    }
    if (count == 0 || t->by_rank[rank] == NULL || !notice_due(t, since_ms)) {
        return; /* Norms: its ranks know. */
    }
    for (uint32_t i = 0; i < count && i < KV_MISSING_MAX; i++) {
        connected[i] = t->by_rank[missing[i]] != NULL;
    }
    session_stalled(&seat_answering(t, rank)->session, slot, round,
                    (uint32_t)((now - since_ms) / 1000), missing, connected,
                    count);
}

/* A slice that is not there yet waits for rank 0, which brings its value. */
static void watch_opens(struct shard_thread *t)
{
    const char *what =
        t->by_rank[0] == NULL ? "rank 0 (not connected)" : "rank 0";
    uint64_t now = uv_now(&t->loop), id, since;

    for (uint32_t rank = 0; rank < t->workers; rank++) {
        if (t->by_rank[rank] == NULL ||
            !shard_open_waits(t->shard, rank, &id, &since)) {
            continue;
        }
        if (line_due(t, since)) {
            log_warn("shard %" PRIu32 ": rank %" PRIu32
                     " waits for a first value from %s",
                     t->index, rank, what);
        }
        if (notice_due(t, since)) {
            session_waiting(&seat_answering(t, rank)->session, id, what,
                            (uint32_t)((now - since) / 1000));
        }
    }
}

static void on_wait(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                    uint64_t since_ms, const uint32_t *missing, uint32_t count)
{
    struct shard_thread *t = ctx;

    (void)slot;
    (void)round;
    (void)since_ms;
    (void)missing;
    (void)count;
    t->waits[rank] = true;
}

/* The ranks block each other if each either waits for the others or may push
 * no more. A rank that is free to act, or not there, is only to be waited
 * for, unless it has left. */
static bool gridlocked(const struct shard_thread *t)
{
    bool blocked = false;

    for (uint32_t rank = 0; rank < t->workers; rank++) {
        const struct seat *seat = t->by_rank[rank];

        if (!shard_is_member(t->shard, rank)) {
            continue;
        }
        if (seat == NULL || (!seat->session.blocked && !t->waits[rank])) {
            return false;
        }
        blocked = blocked || seat->session.blocked;
    }
    return blocked;
}

/* True if any rank waits or is blocked. */
static bool look_who_waits(struct shard_thread *t)
{
    uint64_t id, since;
    bool any = false;

    memset(t->waits, 0, t->workers * sizeof *t->waits);
    shard_stalls(t->shard, uv_now(&t->loop), 0, on_wait, t);
    for (uint32_t rank = 0; rank < t->workers; rank++) {
        const struct seat *seat = t->by_rank[rank];

        any = any || t->waits[rank] ||
              (seat != NULL && seat->session.blocked) ||
              shard_open_waits(t->shard, rank, &id, &since);
    }
    return any;
}

static void untangle(struct shard_thread *t)
{
    for (uint32_t rank = 0; rank < t->workers; rank++) {
        t->waits[rank] =
            t->by_rank[rank] != NULL && t->by_rank[rank]->session.blocked;
    }
    shard_untangle(t->shard, t->waits);
}

static void on_tick(uv_timer_t *timer)
{
    struct shard_thread *t = timer->data;
    uint64_t commits = shard_commits(t->shard);

    t->ticks++;
    if (!look_who_waits(t)) {
        uv_timer_stop(timer); /* Idle takes no CPU. */
    } else if (commits == t->commits && gridlocked(t)) {
        untangle(t);
    }
    shard_stalls(t->shard, uv_now(&t->loop), NOTICE_MS, on_stall, t);
    watch_opens(t);
    t->ticked_ms = uv_now(&t->loop);
    t->commits = commits;
    seats_flush(t);
}

void shard_watch(struct shard_thread *t)
{
    if (!t->stopping && !uv_is_active((uv_handle_t *)&t->tick)) {
        KV_CHECK(uv_timer_start(&t->tick, on_tick, TICK_MS, TICK_MS) == 0);
    }
}
