/* --- Life ----------------------------------------------------------------- */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"
#include "tests/sim/sim_audit.h"
#include "tests/sim/sim_heap.h"

static size_t bytes_wanted(const struct sim_server *s)
{
    const struct plan *p = &s->sim->plan;
    size_t size = (size_t)64 << 10;

    for (uint32_t i = 0; i < p->slices; i++) {
        if (p->slice[i].shard == s->index) {
            size += 3 * (p->slice[i].size + 8 * p->slice[i].count + 4096);
        }
    }
    return size;
}

static void do_recover(void *arg)
{
    struct sim_server *s = arg;
    struct shard_events events;
    char error[256];

    sim_server_events(s, &events);
    if (shard_new(s->arena, s->sim->plan.workers, &s->buffers, &events,
                  &s->shard, error, sizeof error) != KV_OK) {
        sim_fail(s->sim, "shard %u does not come back: %s", s->index, error);
    }
}

static void open_arena(struct sim_server *s)
{
    struct arena_config config = {.dir = s->dir,
                                  .name = s->name,
                                  .size_max = (size_t)64 << 20,
                                  .size_initial = bytes_wanted(s)};
    char error[512];

    config.identity.shard = s->index;
    config.identity.shards = s->sim->plan.shards;
    config.identity.workers = s->sim->plan.workers;
    if (arena_open(&config, &s->arena, error, sizeof error) != KV_OK) {
        sim_fail(s->sim, "shard %u: %s", s->index, error);
    }
    if (s->arena_id != 0 && s->arena_id != arena_id(s->arena)) {
        sim_fail(s->sim, "shard %u lost its arena", s->index);
    }
    s->arena_id = arena_id(s->arena);
}

bool sim_server_start(struct sim_server *s)
{
    unsigned before;

    if (!s->down) {
        return false;
    }
    sim_note(s->sim, "start", s->index, 0, 0);
    before = sim_heap_enter(s->process);
    bufpool_init(&s->buffers, (size_t)4 << 20);
    s->shard = NULL;
    s->commits_seen = 0;
    open_arena(s);
    sim_heap_enter(before);
    s->down = false;
    if (sim_server_run(s, do_recover, s)) {
        sim_audit_recovered(s);
    }
    return true;
}

void sim_server_kill(struct sim_server *s)
{
    struct sim *sim = s->sim;

    if (s->down) {
        return;
    }
    sim->faults.kills++;
    sim_note(sim, "kill", s->index, 0, 0);
    for (size_t i = 0; i < sim->conn_count; i++) {
        if (sim->conns[i]->shard == s->index) {
            sim_close_server_end(sim, sim->conns[i], true);
        }
    }
    memset(s->session, 0, sizeof s->session);
    arena_close(s->arena);
    sim_heap_kill(s->process);
    s->down = true;
}

/* --- The end -------------------------------------------------------------- */

static void end_session(struct sim_server *s, struct sim_conn *c)
{
    if (c->server_end == SIM_END_UP) {
        session_fini(&c->session);
        s->session[c->rank] = NULL;
    }
    sim_close_server_end(s->sim, c, false);
}

static void shut(struct sim_server *s)
{
    if (s->buffers.out_count != 0) {
        sim_fail(s->sim, "shard %u has not given back %zu buffers", s->index,
                 s->buffers.out_count);
    }
    sim_audit_blocks(s);
    shard_free(s->shard);
    bufpool_fini(&s->buffers);
    arena_close(s->arena);
    if (sim_heap_live(s->process) != 0) {
        sim_fail(s->sim, "shard %u leaks %zu pieces of memory", s->index,
                 sim_heap_live(s->process));
    }
    s->down = true;
}

/* What was there before the end must be there after it. */
void sim_server_audit(struct sim_server *s)
{
    unsigned before = sim_heap_enter(s->process);

    for (size_t i = 0; i < s->sim->conn_count; i++) {
        if (s->sim->conns[i]->shard == s->index) {
            end_session(s, s->sim->conns[i]);
        }
    }
    sim_audit_final(s);
    shut(s);
    (void)sim_server_start(s);
    sim_audit_final(s);
    shut(s);
    sim_heap_enter(before);
    sim_server_remove(s);
}

void sim_server_remove(struct sim_server *s)
{
    char path[sizeof s->dir + sizeof s->name];

    snprintf(path, sizeof path, "%s/%s", s->dir, s->name);
    (void)unlink(path);
}

void sim_server_make(struct sim *sim, uint32_t index, const char *dir)
{
    struct sim_server *s = &sim->servers[index];

    memset(s, 0, sizeof *s);
    s->sim = sim;
    s->index = index;
    s->process = 1 + index;
    s->down = true;
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    snprintf(s->name, sizeof s->name, "shard-%u.arena", index);
    sim_server_remove(s);
}
