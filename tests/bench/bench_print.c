/* What a case prints: a line to read, and the same as JSON. */
#include "tests/bench/bench.h"

void bench_print_head(void)
{
    printf("raw: blocking sockets, one thread a process, one direction after "
           "the other\nduplex: the same with a thread for each direction\n");
    printf("%-22s %9s %7s %9s %7s %12s %11s\n", "case", "seconds", "GB/s",
           "raw GB/s", "ratio", "duplex GB/s", "server MiB");
}

void bench_print_rates(const struct bench_case *b, double seconds,
                       double raw_seconds, double duplex_seconds, size_t memory)
{
    double bytes = 2.0 * (double)b->model_bytes * b->rounds;
    double rate = bytes * b->workers / seconds * 1e-9;
    double raw = bytes / raw_seconds * 1e-9;
    double duplex = bytes / duplex_seconds * 1e-9;

    printf("%-22s %9.4f %7.3f %9.3f %7.3f %12.3f %11.1f\n", b->name, seconds,
           rate, raw, rate / raw, duplex, (double)memory / (1024 * 1024));
    printf("{\"case\":\"%s\",\"commit\":\"%s\",\"servers\":%u,\"shards\":%u,"
           "\"workers\":%u,\"key_bytes\":%zu,\"model_bytes\":%zu,"
           "\"rounds\":%u,\"codec\":\"%s\",\"policy\":\"%s\","
           "\"optimizer\":\"%s\",\"scattered\":%s,\"volatile\":%s,"
           "\"repeats\":%u,"
           "\"seconds\":%.6f,\"gbytes_per_s\":%.4f,"
           "\"raw_gbytes_per_s\":%.4f,\"ratio\":%.4f,"
           "\"raw_duplex_gbytes_per_s\":%.4f,\"server_bytes\":%zu}\n",
           b->name, b->commit, b->servers, b->shards, b->workers, b->key_bytes,
           b->model_bytes, b->rounds, b->codec, b->policy, b->optimizer,
           b->scattered ? "true" : "false", b->in_memory ? "true" : "false",
           b->repeats, seconds, rate, raw, rate / raw, duplex, memory);
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
