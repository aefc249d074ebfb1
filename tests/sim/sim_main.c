#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/compute/denormals.h"
#include "tests/sim/sim.h"

#define JOBS_MAX 64
#define SEED_SECONDS 120 /* One that takes longer hangs. */
#define TWICE_EVERY 64   /* Seeds that are played twice. */

#if defined(__SANITIZE_ADDRESS__)
#define SEEDS_DEFAULT 1000
#else
#define SEEDS_DEFAULT 20000
#endif

/* What a job tells; in memory that it shares with the parent. */
struct report {
    uint64_t seed, seeds, steps, trace;
    struct sim_faults faults;
    bool failed;
    char reason[512];
};

struct options {
    uint64_t first, last;
    unsigned jobs;
    bool verbose;
};

/* A failed check anywhere ends the run, not the program without a word. */
_Noreturn void kv_check_failed(const char *file, int line, const char *expr)
{
    if (sim_current == NULL) {
        fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expr);
        abort();
    }
    sim_fail(sim_current, "%s:%d: check failed: %s", file, line, expr);
}

/* --- One job ---------------------------------------------------------------
 */

static void fail(struct report *r, const char *reason)
{
    r->failed = true;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
}

static void count(struct report *r, const struct sim *sim)
{
    r->seeds++;
    r->steps += sim->steps;
    r->trace += sim->trace; /* In any order. */
    r->faults.cuts += sim->faults.cuts;
    r->faults.kills += sim->faults.kills;
    r->faults.crashes += sim->faults.crashes;
    r->faults.intruders += sim->faults.intruders;
    r->faults.halves += sim->faults.halves;
    r->faults.waits += sim->faults.waits;
    r->faults.sheds += sim->faults.sheds;
    r->faults.stale += sim->faults.stale;
    r->faults.spans += sim->faults.spans;
    r->faults.spoiled += sim->faults.spoiled;
    r->faults.gone += sim->faults.gone;
    r->faults.retold += sim->faults.retold;
    r->faults.torn += sim->faults.torn;
    r->faults.ripe += sim->faults.ripe;
}

static void play(struct report *r, uint64_t seed, const char *dir, bool verbose)
{
    static struct sim sim;
    uint64_t trace;

    r->seed = seed;
    alarm(SEED_SECONDS);
    if (!sim_run(&sim, seed, dir, verbose)) {
        fail(r, sim.reason);
        return;
    }
    count(r, &sim);
    if (seed % TWICE_EVERY != 0) {
        return;
    }
    trace = sim.trace;
    if (!sim_run(&sim, seed, dir, false)) {
        fail(r, sim.reason);
    } else if (sim.trace != trace) {
        fail(r, "the same seed played twice is not the same");
    }
}

static void run_job(const struct options *o, unsigned job, struct report *r,
                    const char *dir)
{
    char own[128];

    snprintf(own, sizeof own, "%s/%u", dir, job);
    kv_flush_denormals();
    for (uint64_t seed = o->first + job; seed <= o->last && !r->failed;
         seed += o->jobs) {
        play(r, seed, own, o->verbose);
    }
}

/* --- All of them -----------------------------------------------------------
 */

static void remove_dir(const char *dir, unsigned jobs)
{
    char path[192];

    for (unsigned job = 0; job < jobs; job++) {
        for (unsigned shard = 0; shard < PLAN_SHARDS_MAX; shard++) {
            snprintf(path, sizeof path, "%s/%u/shard-%u.arena", dir, job,
                     shard);
            (void)unlink(path);
        }
        snprintf(path, sizeof path, "%s/%u", dir, job);
        (void)rmdir(path);
    }
    (void)rmdir(dir);
}

static void wait_for(pid_t child, struct report *r)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0) {
        KV_CHECK(errno == EINTR);
    }
    if (!r->failed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
        r->failed = true;
        snprintf(r->reason, sizeof r->reason, "died with status %d, signal %d",
                 WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                 WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
}

static void run_jobs(const struct options *o, struct report *reports,
                     const char *dir)
{
    pid_t children[JOBS_MAX];

    fflush(stdout);
    for (unsigned job = 0; job < o->jobs; job++) {
        children[job] = fork();
        KV_CHECK(children[job] >= 0);
        if (children[job] == 0) {
            run_job(o, job, &reports[job], dir);
            fflush(stdout);
            _exit(0);
        }
    }
    for (unsigned job = 0; job < o->jobs; job++) {
        wait_for(children[job], &reports[job]);
    }
}

static bool summarize(const struct options *o, const struct report *reports,
                      double seconds)
{
    struct report all = {0};
    struct sim_faults *f = &all.faults;

    for (unsigned job = 0; job < o->jobs; job++) {
        const struct report *r = &reports[job];
        struct sim one = {
            .steps = r->steps, .trace = r->trace, .faults = r->faults};

        count(&all, &one);
        all.seeds += r->seeds - 1;
        if (r->failed) {
            printf("seed %" PRIu64 ": %s\n", r->seed, r->reason);
            all.failed = true;
        }
    }
    printf("kvsim: seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " played, %" PRIu64
           " steps, %" PRIu64 " cuts (%" PRIu64 " within a frame), %" PRIu64
           " servers and %" PRIu64 " workers killed, %" PRIu64
           " intruders, %" PRIu64 " stale turned away, %" PRIu64
           " waits and %" PRIu64 " sheddings, %" PRIu64 " spans, %" PRIu64
           " pushes left out, %" PRIu64 " slices found gone, %" PRIu64
           " totals sent again, %" PRIu64 " slices ahead of their key, %" PRIu64
           " pulls put off for a full link, trace %016" PRIx64 ", %.1f s: %s\n",
           o->first, o->last, all.seeds, all.steps, f->cuts, f->halves,
           f->kills, f->crashes, f->intruders, f->stale, f->waits, f->sheds,
           f->spans, f->spoiled, f->gone, f->retold, f->torn, f->ripe,
           all.trace, seconds, all.failed ? "FAILED" : "ok");
    return !all.failed;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool run_all(const struct options *o)
{
    char dir[] = "/dev/shm/kvsim-XXXXXX";
    struct report *reports =
        mmap(NULL, JOBS_MAX * sizeof *reports, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double start = now();
    bool good;

    KV_CHECK(reports != MAP_FAILED);
    if (mkdtemp(dir) == NULL) {
        perror("/dev/shm");
        return false;
    }
    run_jobs(o, reports, dir);
    remove_dir(dir, o->jobs);
    good = summarize(o, reports, now() - start);
    munmap(reports, JOBS_MAX * sizeof *reports);
    return good;
}

/* --- Arguments --------------------------------------------------------------
 */

static int usage(void)
{
    fprintf(stderr,
            "usage: kvsim [--seeds FIRST..LAST] [--jobs N] "
            "[--verbose SEED]\n"
            "Plays one whole training job a seed, with faults. The "
            "default is 0..%d.\n",
            SEEDS_DEFAULT - 1);
    return 2;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.last = SEEDS_DEFAULT - 1,
                        .jobs =
                            cpus > 0 && cpus < JOBS_MAX ? (unsigned)cpus : 1};

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            return usage();
        }
        if (strcmp(argv[i], "--seeds") == 0) {
            if (sscanf(argv[i + 1], "%" SCNu64 "..%" SCNu64, &o.first,
                       &o.last) != 2) {
                return usage();
            }
        } else if (strcmp(argv[i], "--jobs") == 0) {
            o.jobs = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--verbose") == 0) {
            o.first = strtoull(argv[i + 1], NULL, 10);
            o.last = o.first;
            o.jobs = 1;
            o.verbose = true;
        } else {
            return usage();
        }
    }
    if (o.jobs == 0 || o.jobs > JOBS_MAX || o.last < o.first) {
        return usage();
    }
    return run_all(&o) ? 0 : 1;
}
