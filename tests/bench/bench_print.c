/* What a case prints: a line to read, and the same as JSON. */
#include "tests/bench/bench.h"

void bench_print_head(void)
{
    printf("raw: blocking sockets, one thread a process, one direction after "
           "the other\nduplex: the same with a thread for each direction\n"
           "cpu: ms of processor time for a worker's round, of all "
           "processes\n");
    printf("%-22s %8s %7s %9s %7s %7s %8s %12s %11s\n", "case", "seconds",
           "GB/s", "raw GB/s", "ratio", "cpu", "raw cpu", "duplex GB/s",
           "server MiB");
}

void bench_print_rates(const struct bench_case *b, const struct bench_rates *r,
                       size_t memory)
{
    double bytes = 2.0 * (double)b->model_bytes * b->rounds;
    double rate = bytes * b->workers / r->seconds * 1e-9;
    double raw = bytes / r->raw * 1e-9;
    double duplex = bytes / r->duplex * 1e-9;
    double cpu = r->cpu / (b->rounds * b->workers);
    double raw_cpu = r->raw_cpu / b->rounds;

    printf("%-22s %8.4f %7.3f %9.3f %7.3f %7.1f %8.1f %12.3f %11.1f\n", b->name,
           r->seconds, rate, raw, rate / raw, cpu * 1e3, raw_cpu * 1e3, duplex,
           (double)memory / (1024 * 1024));
    printf("{\"case\":\"%s\",\"commit\":\"%s\",\"servers\":%u,\"shards\":%u,"
           "\"workers\":%u,\"key_bytes\":%zu,\"model_bytes\":%zu,"
           "\"rounds\":%u,\"codec\":\"%s\",\"policy\":\"%s\","
           "\"optimizer\":\"%s\",\"scattered\":%s,\"volatile\":%s,"
           "\"repeats\":%u,"
           "\"seconds\":%.6f,\"gbytes_per_s\":%.4f,"
           "\"raw_gbytes_per_s\":%.4f,\"ratio\":%.4f,"
           "\"cpu_seconds\":%.6f,\"raw_cpu_seconds\":%.6f,"
           "\"raw_duplex_gbytes_per_s\":%.4f,\"server_bytes\":%zu}\n",
           b->name, b->commit, b->servers, b->shards, b->workers, b->key_bytes,
           b->model_bytes, b->rounds, b->codec, b->policy, b->optimizer,
           b->scattered ? "true" : "false", b->in_memory ? "true" : "false",
           b->repeats, r->seconds, rate, raw, rate / raw, cpu, raw_cpu, duplex,
           memory);
    fflush(stdout);
}

void bench_print_pair(const struct bench_case *b, const char *name,
                      const char *unit, double value, double yardstick)
{
    printf("%-26s %9.2f %s against %.2f: ratio %.3f\n", name, value, unit,
           yardstick, value / yardstick);
    printf("{\"case\":\"%s\",\"commit\":\"%s\",\"unit\":\"%s\","
           "\"repeats\":%u,\"value\":%.4f,\"yardstick\":%.4f,"
           "\"ratio\":%.4f}\n",
           name, b->commit, unit, b->repeats, value, yardstick,
           value / yardstick);
    fflush(stdout);
}
