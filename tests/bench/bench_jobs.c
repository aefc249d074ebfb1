/* Cases that a job on loopback plays: its servers, its workers, and beside it
 * the yardstick or another job. */
#include "tests/bench/bench.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double cpu_of(const struct bench_cluster *c,
                     const struct bench_workers *w)
{
    double seconds = 0;

    for (unsigned i = 0; i < c->spec->servers; i++) {
        seconds += bench_cpu(c->pids[i]);
    }
    for (unsigned i = 0; i < w->count; i++) {
        seconds += bench_cpu(w->pids[i]);
    }
    return seconds;
}

static double raw_cpu_of(const struct bench_raw *r)
{
    return bench_cpu(getpid()) + bench_cpu(r->pid);
}

void bench_transfer(const struct bench_case *b)
{
    double kv[BENCH_REPEATS_MAX], cpu[BENCH_REPEATS_MAX],
        raw[BENCH_REPEATS_MAX], raw_cpu[BENCH_REPEATS_MAX],
        duplex[BENCH_REPEATS_MAX];
    struct bench_cluster cluster;
    struct bench_workers workers;
    struct bench_raw yardstick;
    struct bench_rates rates;
    size_t memory;

    bench_raw_start(&yardstick, b->model_bytes);
    bench_cluster_start(&cluster, b);
    bench_workers_start(&workers, &cluster);
    bench_workers_rounds(&workers, 2);
    bench_raw_rounds(&yardstick, 2, false);
    for (unsigned i = 0; i < b->repeats; i++) {
        cpu[i] = -cpu_of(&cluster, &workers);
        kv[i] = bench_workers_rounds(&workers, b->rounds);
        cpu[i] += cpu_of(&cluster, &workers);
        raw_cpu[i] = -raw_cpu_of(&yardstick);
        raw[i] = bench_raw_rounds(&yardstick, b->rounds, false);
        raw_cpu[i] += raw_cpu_of(&yardstick);
        duplex[i] = bench_raw_rounds(&yardstick, b->rounds, true);
    }
    memory = bench_cluster_memory(&cluster);
    bench_workers_stop(&workers);
    bench_cluster_stop(&cluster);
    bench_raw_stop(&yardstick);
    rates.seconds = bench_median(kv, b->repeats);
    rates.cpu = bench_median(cpu, b->repeats);
    rates.raw = bench_median(raw, b->repeats);
    rates.raw_cpu = bench_median(raw_cpu, b->repeats);
    rates.duplex = bench_median(duplex, b->repeats);
    bench_print_rates(b, &rates, memory);
}

void bench_ping(const struct bench_case *base)
{
    enum { COUNT = 2000 };
    struct bench_case b = *base;
    double callback[BENCH_REPEATS_MAX], waiting[BENCH_REPEATS_MAX],
        echo[BENCH_REPEATS_MAX], echo_again[BENCH_REPEATS_MAX];
    struct bench_cluster cluster;
    struct bench_workers workers;
    struct bench_echo yardstick;

    b.key_bytes = b.model_bytes = 4;
    b.workers = 1;
    b.apart = true;
    bench_echo_start(&yardstick);
    bench_cluster_start(&cluster, &b);
    bench_workers_start(&workers, &cluster);
    bench_pin(0); /* The echo's client. */
    bench_workers_ping(&workers, COUNT, false);
    for (unsigned i = 0; i < b.repeats; i++) {
        callback[i] = bench_workers_ping(&workers, COUNT, false);
        echo[i] = bench_echo_ping(&yardstick, COUNT);
        waiting[i] = bench_workers_ping(&workers, COUNT, true);
    }
    bench_workers_stop(&workers);
    bench_cluster_stop(&cluster);
    bench_echo_stop(&yardstick);
    memcpy(echo_again, echo, sizeof echo);
    bench_print_pair(&b, "ping-callback", "us",
                     bench_median(callback, b.repeats),
                     bench_median(echo, b.repeats));
    bench_print_pair(&b, "ping-wait", "us", bench_median(waiting, b.repeats),
                     bench_median(echo_again, b.repeats));
}

#define BESIDE_MAX 3

/* Jobs side by side, in turns: the median seconds of each, with its own number
 * of rounds. */
static void run_beside(const struct bench_case *cases, size_t count,
                       double seconds[BESIDE_MAX])
{
    double times[BESIDE_MAX][BENCH_REPEATS_MAX];
    struct bench_cluster clusters[BESIDE_MAX];
    struct bench_workers workers[BESIDE_MAX];

    for (size_t i = 0; i < count; i++) {
        bench_cluster_start(&clusters[i], &cases[i]);
        bench_workers_start(&workers[i], &clusters[i]);
        bench_workers_rounds(&workers[i], 2);
    }
    for (unsigned n = 0; n < cases->repeats; n++) {
        for (size_t i = 0; i < count; i++) {
            times[i][n] = bench_workers_rounds(&workers[i], cases[i].rounds);
        }
    }
    for (size_t i = 0; i < count; i++) {
        bench_workers_stop(&workers[i]);
        bench_cluster_stop(&clusters[i]);
        seconds[i] = bench_median(times[i], cases->repeats);
    }
}

void bench_arena(const struct bench_case *base)
{
    struct bench_case cases[] = {*base, *base};
    double seconds[BESIDE_MAX];

    cases[0].in_memory = false;
    cases[1].in_memory = true;
    run_beside(cases, 2, seconds);
    bench_print_pair(base, "arena-against-volatile", "s", seconds[0],
                     seconds[1]);
}

/* What many keys cost beyond their bytes: the same bytes as one key. */
void bench_tiny(const struct bench_case *base)
{
    enum { KEYS = 10000, BYTES = 256 };
    struct bench_case cases[] = {*base, *base};
    double seconds[BESIDE_MAX], scale = 1e3 / base->rounds;

    cases[0].model_bytes = cases[1].model_bytes = (size_t)KEYS * BYTES;
    cases[0].key_bytes = BYTES;
    cases[1].key_bytes = cases[1].model_bytes;
    run_beside(cases, 2, seconds);
    bench_print_pair(cases, "tiny-10000-keys", "ms a round", seconds[0] * scale,
                     seconds[1] * scale);
}

/* Rows of a table, against as many bytes of a dense value with the same
 * optimizer, and of one with sgd. */
void bench_rows(const struct bench_case *base)
{
    enum { ROWS = 4096, LENGTH = 64, TABLE_ROWS = 1 << 20 };
    static const char *const optimizers[] = {"sgd", "adagrad", "adam"};
    double moved = 2.0 * ROWS * base->rounds * 1e-6;

    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++) {
        struct bench_case cases[BESIDE_MAX] = {*base, *base, *base};
        size_t row = LENGTH * sizeof(float), count = i == 0 ? 2 : 3;
        double seconds[BESIDE_MAX];
        char name[40];

        cases[0].rows = ROWS;
        cases[0].key_bytes = row;
        cases[0].model_bytes = TABLE_ROWS * row;
        cases[0].optimizer = cases[1].optimizer = optimizers[i];
        cases[1].key_bytes = cases[1].model_bytes = ROWS * row;
        cases[2].key_bytes = cases[2].model_bytes = ROWS * row;
        run_beside(cases, count, seconds);
        for (size_t other = 1; other < count; other++) {
            snprintf(name, sizeof name, "rows-%s%s", optimizers[i],
                     other == 1 ? "" : "-to-dense-sgd");
            bench_print_pair(base, name, "million rows/s", moved / seconds[0],
                             moved / seconds[other]);
        }
    }
}

static void nap(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* From the kill to the first push acknowledged by the restarted server. */
void bench_kill(const struct bench_case *b)
{
    double lost[BENCH_REPEATS_MAX], worst = 0;
    struct bench_cluster cluster;
    struct bench_workers workers;

    bench_cluster_start(&cluster, b);
    bench_workers_start(&workers, &cluster);
    bench_workers_run(&workers);
    for (unsigned i = 0; i < b->repeats; i++) {
        uint64_t killed, start = bench_now_ns();
        _Atomic uint64_t *last = &workers.shared->last_push_ns;

        while (atomic_load(last) < start) {
            nap(1000); /* It runs again: now it may be killed again. */
        }
        killed = bench_cluster_kill(&cluster, 0);
        while (atomic_load(last) < killed + 1000000) {
            nap(100);
        }
        lost[i] = (double)(atomic_load(last) - killed) * 1e-6;
        worst = lost[i] > worst ? lost[i] : worst;
    }
    bench_workers_halt(&workers);
    bench_workers_stop(&workers);
    bench_cluster_stop(&cluster);
    bench_print_pair(b, "kill-to-first-push", "ms",
                     bench_median(lost, b->repeats), 250);
    bench_print_pair(b, "kill-worst", "ms", worst, 250);
}
