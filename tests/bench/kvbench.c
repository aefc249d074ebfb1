/* kvbench - how fast a job on this machine is, against what the machine can
 * do: each measurement is followed by its yardstick, medians are compared. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"

static const size_t KIB = 1024, MIB = 1024 * 1024;

static void run_suite(const struct bench_case *base)
{
    static const struct {
        const char *name;
        unsigned shards, workers;
        size_t key_bytes;
        unsigned rounds;
        bool scattered;
    } cases[] = {
        {"dense-4MiB-1-worker", 2, 1, 4 << 20, 20, false},
        {"dense-4MiB-2-workers", 2, 2, 4 << 20, 10, false},
        {"one-64MiB-key", 2, 1, 64 << 20, 20, false},
        {"keys-64KiB", 2, 1, 64 << 10, 20, false},
        {"keys-4KiB", 2, 1, 4 << 10, 10, false},
        {"keys-1KiB", 2, 1, 1 << 10, 10, false},
        {"keys-4KiB-1-shard", 1, 1, 4 << 10, 10, false},
        {"keys-1KiB-1-shard", 1, 1, 1 << 10, 10, false},
        {"keys-1KiB-scattered", 1, 1, 1 << 10, 10, true},
    };

    struct bench_case many = *base;

    many.rounds *= 5; /* Where a round takes a millisecond or three. */
    bench_print_head();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench_case b = *base;

        b.name = cases[i].name;
        b.shards = cases[i].shards;
        b.workers = cases[i].workers;
        b.key_bytes = cases[i].key_bytes;
        b.rounds = cases[i].rounds;
        b.scattered = cases[i].scattered;
        bench_transfer(&b);
    }
    bench_tiny(&many);
    bench_rows(&many);
    bench_rules(base);
    bench_local(base);
    bench_arena(base);
    bench_kill(base);
    bench_ping(base); /* Last: it keeps this process on one processor. */
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
    "  --scattered         no two keys' tensors side by side in memory\n"
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
    SCATTERED,
    VOLATILE,
    REPEATS,
    COMMIT,
    HELP
};

static const struct option options[] = {
    {"suite", 0, NULL, SUITE},
    {"case", 1, NULL, CASE},
    {"servers", 1, NULL, SERVERS},
    {"shards", 1, NULL, SHARDS},
    {"workers", 1, NULL, WORKERS},
    {"key-bytes", 1, NULL, KEY},
    {"model-bytes", 1, NULL, MODEL},
    {"rounds", 1, NULL, ROUNDS},
    {"codec", 1, NULL, CODEC},
    {"policy", 1, NULL, POLICY},
    {"optimizer", 1, NULL, OPTIMIZER},
    {"volatile", 0, NULL, VOLATILE},
    {"scattered", 0, NULL, SCATTERED},
    {"repeats", 1, NULL, REPEATS},
    {"commit", 1, NULL, COMMIT},
    {"help", 0, NULL, HELP},
    {NULL, 0, NULL, 0},
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
        case SCATTERED:
            b->scattered = true;
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
        default:
            fputs(usage, c == HELP ? stdout : stderr);
            exit(c == HELP ? 0 : 2);
        }
    }
    return what;
}

static void run_alone(const struct bench_case *b)
{
    bench_print_head();
    bench_transfer(b);
}

static const struct {
    const char *name;
    void (*run)(const struct bench_case *b);
} runs[] = {
    {"suite", run_suite},   {"transfer", run_alone}, {"tiny", bench_tiny},
    {"rows", bench_rows},   {"rules", bench_rules},  {"local", bench_local},
    {"arena", bench_arena}, {"kill", bench_kill},    {"ping", bench_ping},
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
