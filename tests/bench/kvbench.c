/* kvbench - how fast a job on this machine is, against what the machine can
 * do: each measurement is followed by its yardstick, medians are compared. */
#include <getopt.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"

static const size_t KIB = 1024, MIB = 1024 * 1024;

/* --- Cases ---------------------------------------------------------------- */

static void run_transfer(const struct bench_case *b)
{
    double kv[BENCH_REPEATS_MAX], raw[BENCH_REPEATS_MAX],
        duplex[BENCH_REPEATS_MAX];
    struct bench_cluster cluster;
    struct bench_workers workers;
    struct bench_raw yardstick;
    size_t memory;

    bench_raw_start(&yardstick, b->model_bytes);
    bench_cluster_start(&cluster, b);
    bench_workers_start(&workers, &cluster);
    bench_workers_rounds(&workers, 2);
    bench_raw_rounds(&yardstick, 2, false);
    for (unsigned i = 0; i < b->repeats; i++) {
        kv[i] = bench_workers_rounds(&workers, b->rounds);
        raw[i] = bench_raw_rounds(&yardstick, b->rounds, false);
        duplex[i] = bench_raw_rounds(&yardstick, b->rounds, true);
    }
    memory = bench_cluster_memory(&cluster);
    bench_workers_stop(&workers);
    bench_cluster_stop(&cluster);
    bench_raw_stop(&yardstick);
    bench_print_rates(b, bench_median(kv, b->repeats),
                      bench_median(raw, b->repeats),
                      bench_median(duplex, b->repeats), memory);
}

static void run_ping(const struct bench_case *base)
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

/* Two jobs side by side, in turns: the median seconds of each, and its own
 * number of rounds. */
static void run_beside(const struct bench_case *ours,
                       const struct bench_case *other, double *seconds,
                       double *other_seconds)
{
    double times[2][BENCH_REPEATS_MAX];
    const struct bench_case *cases[2] = {ours, other};
    struct bench_cluster clusters[2];
    struct bench_workers workers[2];

    for (int i = 0; i < 2; i++) {
        bench_cluster_start(&clusters[i], cases[i]);
        bench_workers_start(&workers[i], &clusters[i]);
        bench_workers_rounds(&workers[i], 2);
    }
    for (unsigned n = 0; n < ours->repeats; n++) {
        for (int i = 0; i < 2; i++) {
            times[i][n] = bench_workers_rounds(&workers[i], cases[i]->rounds);
        }
    }
    for (int i = 0; i < 2; i++) {
        bench_workers_stop(&workers[i]);
        bench_cluster_stop(&clusters[i]);
    }
    *seconds = bench_median(times[0], ours->repeats);
    *other_seconds = bench_median(times[1], ours->repeats);
}

static void run_arena(const struct bench_case *base)
{
    struct bench_case file = *base, memory = *base;
    double in_file, in_memory;

    file.in_memory = false;
    memory.in_memory = true;
    run_beside(&file, &memory, &in_file, &in_memory);
    bench_print_pair(base, "arena-against-volatile", "s", in_file, in_memory);
}

/* What many keys cost beyond their bytes: the same bytes as one key. */
static void run_tiny(const struct bench_case *base)
{
    enum { KEYS = 10000, BYTES = 256 };
    struct bench_case tiny = *base, one;
    double seconds, yardstick;

    tiny.key_bytes = BYTES;
    tiny.model_bytes = (size_t)KEYS * BYTES;
    one = tiny;
    one.key_bytes = one.model_bytes;
    run_beside(&tiny, &one, &seconds, &yardstick);
    bench_print_pair(&tiny, "tiny-10000-keys", "ms a round",
                     seconds * 1e3 / tiny.rounds, yardstick * 1e3 / one.rounds);
}

/* Rows of a table, against as many bytes of a dense value with sgd. */
static void run_rows(const struct bench_case *base)
{
    enum { ROWS = 4096, LENGTH = 64 };
    static const char *const optimizers[] = {"sgd", "adagrad", "adam"};

    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++) {
        struct bench_case table = *base, dense = *base;
        double seconds, yardstick, moved = 2.0 * ROWS * base->rounds * 1e-6;
        char name[32];

        table.rows = ROWS;
        table.key_bytes = LENGTH * sizeof(float);
        table.model_bytes = MIB * table.key_bytes; /* 1 Mi rows. */
        table.optimizer = optimizers[i];
        dense.key_bytes = dense.model_bytes = ROWS * table.key_bytes;
        run_beside(&table, &dense, &seconds, &yardstick);
        snprintf(name, sizeof name, "rows-%s", optimizers[i]);
        bench_print_pair(base, name, "million rows/s", moved / seconds,
                         moved / yardstick);
    }
}

static void nap(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* From the kill to the first push acknowledged by the restarted server. */
static void run_kill(const struct bench_case *b)
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

static void run_suite(const struct bench_case *base)
{
    static const struct {
        const char *name;
        unsigned shards, workers;
        size_t key_bytes;
        unsigned rounds;
    } cases[] = {
        {"dense-4MiB-1-worker", 2, 1, 4 << 20, 20},
        {"dense-4MiB-2-workers", 2, 2, 4 << 20, 10},
        {"one-64MiB-key", 2, 1, 64 << 20, 20},
        {"keys-64KiB", 2, 1, 64 << 10, 20},
        {"keys-4KiB", 2, 1, 4 << 10, 10},
        {"keys-1KiB", 2, 1, 1 << 10, 10},
        {"keys-4KiB-1-shard", 1, 1, 4 << 10, 10},
        {"keys-1KiB-1-shard", 1, 1, 1 << 10, 10},
    };

    bench_print_head();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench_case b = *base;

        b.name = cases[i].name;
        b.shards = cases[i].shards;
        b.workers = cases[i].workers;
        b.key_bytes = cases[i].key_bytes;
        b.rounds = cases[i].rounds;
        run_transfer(&b);
    }
    run_tiny(base);
    run_rows(base);
    bench_rules(base);
    bench_local(base);
    run_arena(base);
    run_kill(base);
    run_ping(base); /* Last: it keeps this process on one processor. */
}

/* --- Command line --------------------------------------------------------- */

static const char usage[] =
    "usage: kvbench [--suite] [options]\n"
    "  --suite             all cases of tests/bench/RESULTS.md (default when\n"
    "                      nothing else is given); else one transfer case\n"
    "  --case NAME         transfer; tiny: 10,000 keys; rows: of a table;\n"
    "                      rules: each optimizer's arithmetic; local: the sum\n"
    "                      of a local store; arena, kill, ping (transfer)\n"
    "  --servers N         kvstored processes (1)\n"
    "  --shards N          threads of each (2)\n"
    "  --workers N         processes (1)\n"
    "  --key-bytes SIZE    of each key, K, M, G allowed (4M)\n"
    "  --model-bytes SIZE  of all keys (64M)\n"
    "  --rounds N          of push and pull a measurement (20)\n"
    "  --codec NAME        none, fp16 (none)\n"
    "  --policy NAME       sync, async (sync)\n"
    "  --optimizer NAME    none, sgd, adam (sgd)\n"
    "  --volatile          no arena file\n"
    "  --repeats N         measurements; medians are printed (7, at least 5)\n"
    "  --commit NAME       written into the JSON lines\n";

static size_t parse_size(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    size_t unit = *end == 'K'   ? KIB
                  : *end == 'M' ? MIB
                  : *end == 'G' ? KIB * MIB
                                : 1;

    if (value <= 0 || (*end != '\0' && end[1] != '\0') ||
        (*end != '\0' && unit == 1)) {
        fprintf(stderr, "kvbench: '%s' is no size such as 4096, 64K, 4M\n",
                text);
        exit(2);
    }
    return (size_t)(value * (double)unit);
}

static unsigned parse_count(const char *text, unsigned max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*end != '\0' || value < 1 || value > max) {
        fprintf(stderr, "kvbench: '%s' is no number from 1 to %u\n", text, max);
        exit(2);
    }
    return (unsigned)value;
}

enum {
    SUITE = 256,
    CASE,
    SERVERS,
    SHARDS,
    WORKERS,
    KEY,
    MODEL,
    ROUNDS,
    CODEC,
    POLICY,
    OPTIMIZER,
    VOLATILE,
    REPEATS,
    COMMIT,
    HELP
};

static const struct option options[] = {
    {"suite", 0, NULL, SUITE},         {"case", 1, NULL, CASE},
    {"servers", 1, NULL, SERVERS},     {"shards", 1, NULL, SHARDS},
    {"workers", 1, NULL, WORKERS},     {"key-bytes", 1, NULL, KEY},
    {"model-bytes", 1, NULL, MODEL},   {"rounds", 1, NULL, ROUNDS},
    {"codec", 1, NULL, CODEC},         {"policy", 1, NULL, POLICY},
    {"optimizer", 1, NULL, OPTIMIZER}, {"volatile", 0, NULL, VOLATILE},
    {"repeats", 1, NULL, REPEATS},     {"commit", 1, NULL, COMMIT},
    {"help", 0, NULL, HELP},           {NULL, 0, NULL, 0},
};

/* What to run: "suite" or a case. */
static const char *parse(int argc, char **argv, struct bench_case *b)
{
    const char *what = argc == 1 ? "suite" : "transfer";
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case SUITE:
            what = "suite";
            break;
        case CASE:
            what = optarg;
            break;
        case SERVERS:
            b->servers = parse_count(optarg, BENCH_SERVERS_MAX);
            break;
        case SHARDS:
            b->shards = parse_count(optarg, 64);
            break;
        case WORKERS:
            b->workers = parse_count(optarg, BENCH_WORKERS_MAX);
            break;
        case KEY:
            b->key_bytes = parse_size(optarg);
            break;
        case MODEL:
            b->model_bytes = parse_size(optarg);
            break;
        case ROUNDS:
            b->rounds = parse_count(optarg, 100000);
            break;
        case CODEC:
            b->codec = optarg;
            break;
        case POLICY:
            b->policy = optarg;
            break;
        case OPTIMIZER:
            b->optimizer = optarg;
            break;
        case VOLATILE:
            b->in_memory = true;
            break;
        case REPEATS:
            b->repeats = parse_count(optarg, BENCH_REPEATS_MAX);
            break;
        case COMMIT:
            b->commit = optarg;
            break;
        case HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    return what;
}

static void run_alone(const struct bench_case *b)
{
    bench_print_head();
    run_transfer(b);
}

static const struct {
    const char *name;
    void (*run)(const struct bench_case *b);
} runs[] = {
    {"suite", run_suite}, {"transfer", run_alone}, {"tiny", run_tiny},
    {"rows", run_rows},   {"rules", bench_rules},  {"local", bench_local},
    {"arena", run_arena}, {"kill", run_kill},      {"ping", run_ping},
};

int main(int argc, char **argv)
{
    struct bench_case b = {.name = "transfer",
                           .servers = 1,
                           .shards = 2,
                           .workers = 1,
                           .key_bytes = 4 * 1024 * 1024,
                           .model_bytes = 64 * 1024 * 1024,
                           .rounds = 20,
                           .codec = "none",
                           .policy = "sync",
                           .optimizer = "sgd",
                           .repeats = 7,
                           .commit = "unknown"};
    const char *what = parse(argc, argv, &b);

    if (b.key_bytes % sizeof(float) != 0 || b.model_bytes < b.key_bytes) {
        fprintf(stderr, "kvbench: a key is a multiple of 4 bytes and no larger "
                        "than the model\n");
        return 2;
    }
    b.model_bytes -= b.model_bytes % b.key_bytes;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        if (strcmp(what, runs[i].name) == 0) {
            runs[i].run(&b);
            return 0;
        }
    }
    fputs(usage, stderr);
    return 2;
}
