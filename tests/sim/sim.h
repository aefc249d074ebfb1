/**
 * sim - a whole job in one thread: the real courier, messages, session, shard
 * and arena, under faults that a seed chooses.
 *
 *   sim_main     seeds, processes, the summary
 *   sim_run      one job: chaos, then calm, then the audit
 *   sim_plan     what the job is: drawn from the seed
 *   sim_rows     which rows of a row_sparse slice a push or a pull has
 *   sim_oracle   what must come out: the fold, computed without a server
 *   sim_worker   a training process: a courier a shard
 *   sim_norms    its part in norms of whole keys
 *   sim_app      the program in it: opens, settings, and steps (sim_step),
 *                members (sim_member), deletions (sim_delete)
 *   sim_server   a shard, its sessions, its arena; dies at any crash point
 *   sim_life     how it starts and ends
 *   sim_timer    what its clock does
 *   sim_audit    what its arena must hold at any time
 *   sim_crash    where it dies: link-time seams round the arena
 *   sim_net      connections that delay, lose, and cut frames in half
 *   sim_heap     the allocator: what a dead process had is gone with it
 *
 * The same seed gives the same run, to the bit: sim.trace says so.
 */
#ifndef KV_TESTS_SIM_SIM_H
#define KV_TESTS_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/sim_net.h"
#include "tests/sim/sim_oracle.h"
#include "tests/sim/sim_plan.h"
#include "tests/sim/sim_server.h"
#include "tests/sim/sim_worker.h"

/* What sets the ids of keys that are made again apart. */
#define SIM_AGAIN 100

struct sim_faults {
    uint64_t cuts, kills, crashes, intruders, halves, waits, sheds, stale,
        spans, spoiled, gone, retold, torn, ripe;
};

struct sim {
    struct plan plan;
    struct oracle oracle;
    struct sim_server servers[PLAN_SHARDS_MAX];
    struct sim_worker workers[PLAN_WORKERS_MAX];
    struct sim_conn *conns[SIM_CONNS_MAX];
    size_t conn_count;
    uint32_t conns_made;
    uint64_t random, trace, now_ms;
    uint64_t steps; /* That did something. */
    bool calm;      /* No more faults. */
    bool verbose;
    struct sim_faults faults;
    jmp_buf failed;
    char reason[512];
};

/* The one that runs, for the seams. */
extern struct sim *sim_current;

/* Play one job. False: sim->reason says what broke. */
bool sim_run(struct sim *sim, uint64_t seed, const char *dir, bool verbose);

/* End the run. */
_Noreturn void sim_fail(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Into the trace: what happened, and with which numbers. */
void sim_note(struct sim *sim, const char *what, uint64_t a, uint64_t b,
              uint64_t c);

/* Below `bound`, which is not 0. */
uint32_t sim_below(struct sim *sim, uint32_t bound);

static inline bool sim_chance(struct sim *sim, uint32_t percent)
{
    return sim_below(sim, 100) < percent;
}

#endif
