#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_crash.h"
#include "tests/sim/sim_heap.h"

#define CALM_STEPS_MAX 200000 /* To end the job once faults have stopped. */
#define IDLE_MAX 400          /* Random tries without effect. */

struct sim *sim_current;

/* --- Chance and trace ----------------------------------------------------- */

uint32_t sim_below(struct sim *sim, uint32_t bound)
{
    return (uint32_t)(plan_draw(&sim->random) >> 32) % bound;
}

void sim_note(struct sim *sim, const char *what, uint64_t a, uint64_t b,
              uint64_t c)
{
    uint64_t hash = sim->trace;

    for (const char *at = what; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    }
    hash = (hash ^ a) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ c) * UINT64_C(0x9e3779b97f4a7c15);
    sim->trace = hash ^ hash >> 29;
    if (sim->verbose) {
        printf("%7llu %-15s %llu %llu %llu\n", (unsigned long long)sim->steps,
               what, (unsigned long long)a, (unsigned long long)b,
               (unsigned long long)c);
    }
}

_Noreturn void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(sim->reason, sizeof sim->reason, format, args);
    va_end(args);
    longjmp(sim->failed, 1);
}

/* --- What can happen ------------------------------------------------------ */

static struct sim_conn *any_conn(struct sim *sim)
{
    return sim->conn_count == 0
               ? NULL
               : sim->conns[sim_below(sim, (uint32_t)sim->conn_count)];
}

static bool on_conn(struct sim *sim, struct sim_conn *c, uint32_t choice)
{
    struct sim_server *s = &sim->servers[c->shard];
    struct sim_worker *w = &sim->workers[c->rank];

    switch (choice) {
    case 0:
        return sim_write(sim, c, true);
    case 1:
        return sim_write(sim, c, false);
    case 2:
        return sim_server_receive(s, c);
    case 3:
        return sim_worker_receive(w, c);
    case 4:
        return sim_server_notice(s, c);
    default:
        return sim_worker_notice(w, c);
    }
}

static bool work(struct sim *sim)
{
    uint32_t shard = sim_below(sim, sim->plan.shards);
    struct sim_worker *w = &sim->workers[sim_below(sim, sim->plan.workers)];
    struct sim_conn *c = any_conn(sim);
    uint32_t dice = sim_below(sim, 100);

    if (dice < 65) {
        static const uint32_t choices[] = {0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5};

        return c != NULL && on_conn(sim, c, choices[sim_below(sim, 12)]);
    }
    if (dice < 80) {
        return sim_worker_app(w);
    }
    if (dice < 88) {
        return sim_worker_pump(w, shard);
    }
    if (dice < 91) {
        return sim_worker_connect(w, shard);
    }
    if (dice < 98) {
        return sim_server_flush(&sim->servers[shard]);
    }
    if (dice < 99) {
        return sim_server_start(&sim->servers[shard]);
    }
    return sim_chance(sim, 10) && sim_server_tick(&sim->servers[shard]);
}

/* --- Faults --------------------------------------------------------------- */

/* An earlier life of the rank, or an impostor of this one. */
static void intrude(struct sim *sim)
{
    uint32_t rank = sim_below(sim, sim->plan.workers);
    uint32_t shard = sim_below(sim, sim->plan.shards);
    uint64_t life = sim->workers[rank].incarnation - sim_below(sim, 2);
    uint64_t token = plan_draw(&sim->random) & ~UINT64_C(1);

    if (sim->conn_count + 32 > SIM_CONNS_MAX) {
        return;
    }
    sim->faults.intruders++;
    sim_connect(sim, rank, shard, life, token, true)->cut = true;
}

static bool fault(struct sim *sim)
{
    const struct plan_weather *w = &sim->plan.weather;
    uint32_t dice = sim_below(sim, 100000);
    uint32_t shard = sim_below(sim, sim->plan.shards);
    uint32_t rank = sim_below(sim, sim->plan.workers);

    if (dice < w->cut) {
        struct sim_conn *c = any_conn(sim);

        if (c != NULL && !c->cut) {
            sim->faults.cuts++;
            sim_cut(sim, c);
        }
        return true;
    }
    dice -= w->cut;
    if (dice < w->kill) {
        sim_server_kill(&sim->servers[shard]);
        return true;
    }
    dice -= w->kill;
    if (dice < w->crash) {
        sim_worker_crash(&sim->workers[rank]);
        return true;
    }
    dice -= w->crash;
    if (dice < w->shed) {
        (void)sim_server_untangle(&sim->servers[shard],
                                  sim_below(sim, 1u << sim->plan.workers));
        return true;
    }
    dice -= w->shed;
    if (dice < w->intruder) {
        intrude(sim);
        return true;
    }
    return false;
}

/* --- The job -------------------------------------------------------------- */

static bool finished(const struct sim *sim)
{
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        if (sim->workers[rank].app != SIM_APP_DONE) {
            return false;
        }
    }
    return true;
}

/* Try everything there is, in order. */
static bool sweep(struct sim *sim)
{
    bool acted = false;

    for (uint32_t i = 0; i < sim->plan.shards; i++) {
        acted |= sim_server_start(&sim->servers[i]);
        acted |= sim_server_flush(&sim->servers[i]);
        for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
            acted |= sim_worker_connect(&sim->workers[rank], i);
            acted |= sim_worker_pump(&sim->workers[rank], i);
        }
    }
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        acted |= sim_worker_app(&sim->workers[rank]);
    }
    for (size_t i = 0; i < sim->conn_count; i++) {
        for (uint32_t choice = 0; choice < 6; choice++) {
            acted |= on_conn(sim, sim->conns[i], choice);
        }
    }
    for (uint32_t i = 0; !acted && i < sim->plan.shards; i++) {
        acted |= sim_server_tick(&sim->servers[i]);
    }
    return acted;
}

static void play(struct sim *sim)
{
    uint32_t idle = 0, calm_steps = 0;

    while (!finished(sim)) {
        if (!sim->calm && sim->steps >= sim->plan.weather.chaos_steps) {
            sim_note(sim, "calm", 0, 0, 0);
            sim->calm = true;
        }
        sim->now_ms += sim_below(sim, 20);
        if ((!sim->calm && fault(sim)) || work(sim)) {
            sim->steps++;
            calm_steps += sim->calm;
            idle = 0;
        } else if (++idle > IDLE_MAX) {
            idle = 0;
            /* Twice: the first tick sees what the second judges by. */
            if (!sweep(sim) && !sweep(sim)) {
                sim_fail(sim, "nothing can go on");
            }
            calm_steps += sim->calm;
        }
        if (calm_steps > CALM_STEPS_MAX) {
            sim_fail(sim, "no end %u steps after the last fault", calm_steps);
        }
        sim_sweep_conns(sim);
    }
}

static void audit(struct sim *sim)
{
    sim->calm = true;
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        sim_worker_audit(&sim->workers[rank]);
    }
    for (uint32_t i = 0; i < sim->plan.shards; i++) {
        (void)sim_server_start(&sim->servers[i]);
        sim_server_audit(&sim->servers[i]);
    }
    sim_sweep_conns(sim);
    KV_CHECK(sim->conn_count == 0);
}

static void begin(struct sim *sim, const char *dir)
{
    sim_crash_held_factor(sim->plan.weather.held_factor);
    oracle_make(&sim->oracle, &sim->plan);
    for (uint32_t i = 0; i < sim->plan.shards; i++) {
        sim_server_make(sim, i, dir);
    }
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        sim_worker_make(sim, rank);
        sim_worker_start(&sim->workers[rank]);
    }
}

bool sim_run(struct sim *sim, uint64_t seed, const char *dir, bool verbose)
{
    memset(sim, 0, sizeof *sim);
    sim_current = sim;
    sim->verbose = verbose;
    sim->random = seed ^ UINT64_C(0x6a09e667f3bcc909);
    plan_make(&sim->plan, seed);
    if (setjmp(sim->failed) != 0) {
        return false; /* What it had is lost; a failure ends the process. */
    }
    begin(sim, dir);
    play(sim);
    audit(sim);
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        sim_worker_free_saved(&sim->workers[rank]);
    }
    oracle_free(&sim->oracle);
    return true;
}
