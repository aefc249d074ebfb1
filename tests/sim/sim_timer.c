#include <string.h>

#include "tests/sim/sim.h"

#define STALL_MS 5000

/* What a call works on. */
struct job {
    struct sim_server *s;
    bool blocked[PLAN_WORKERS_MAX];
};

static void on_stall(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                     uint64_t since_ms, const uint32_t *missing,
                     uint32_t missing_count)
{
    struct sim_server *s = ctx;
    bool connected[PLAN_WORKERS_MAX];

    if (s->session[rank] == NULL) {
        sim_fail(s->sim, "rank %u waits without a session", rank);
    }
    if (missing_count == 0) {
        return; /* For other slices of its key. */
    }
    for (uint32_t i = 0; i < missing_count; i++) {
        connected[i] = s->session[missing[i]] != NULL;
    }
    session_stalled(&s->session[rank]->session, slot, round,
                    (uint32_t)(s->sim->now_ms - since_ms) / 1000, missing,
                    connected, missing_count);
}

static void do_stalls(void *arg)
{
    struct job *job = arg;

    shard_stalls(job->s->shard, job->s->sim->now_ms, STALL_MS, on_stall,
                 job->s);
}

static void on_wait(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                    uint64_t since_ms, const uint32_t *missing,
                    uint32_t missing_count)
{
    struct sim_server *s = ctx;

    (void)slot;
    (void)round;
    (void)since_ms;
    (void)missing;
    (void)missing_count;
    s->waits[rank] = true;
}

static void do_look(void *arg)
{
    struct job *job = arg;

    memset(job->s->waits, 0, sizeof job->s->waits);
    shard_stalls(job->s->shard, job->s->sim->now_ms, 0, on_wait, job->s);
}

static void do_untangle(void *arg)
{
    struct job *job = arg;

    shard_untangle(job->s->shard, job->blocked);
}

bool sim_server_untangle(struct sim_server *s, uint32_t blocked)
{
    struct job job = {.s = s};

    if (s->down || blocked == 0) {
        return false;
    }
    for (uint32_t rank = 0; rank < s->sim->plan.workers; rank++) {
        job.blocked[rank] = (blocked >> rank & 1) != 0;
    }
    s->sim->faults.sheds++;
    sim_note(s->sim, "untangle", s->index, blocked, 0);
    (void)sim_server_run(s, do_untangle, &job);
    return true;
}

/* The ranks that read no further, or 0 if anyone can still act. */
static uint32_t gridlocked(const struct sim_server *s)
{
    uint32_t blocked = 0;

    for (uint32_t rank = 0; rank < s->sim->plan.workers; rank++) {
        const struct sim_conn *c = s->session[rank];

        if (!shard_is_member(s->shard, rank)) {
            continue;
        }
        if (c == NULL || (!c->blocked && !s->waits[rank])) {
            return 0;
        }
        blocked |= (uint32_t)c->blocked << rank;
    }
    return blocked;
}

bool sim_server_tick(struct sim_server *s)
{
    struct job job = {.s = s};
    bool acted = false;
    uint64_t commits;

    if (s->down || !sim_server_run(s, do_stalls, &job) ||
        !sim_server_run(s, do_look, &job)) {
        return false;
    }
    commits = shard_commits(s->shard);
    if (commits == s->commits_seen) {
        acted = sim_server_untangle(s, gridlocked(s));
    }
    s->commits_seen = commits;
    return acted;
}
