/**
 * bench - the pieces of kvbench: a job on loopback, and its yardsticks.
 *
 * Every measurement is interleaved with its yardstick in the same run, and the
 * medians are compared, so that a busy machine slows both.
 *
 * Thread:  one; servers, workers and yardsticks are child processes, which die
 *          with this one.
 */
#ifndef KV_TESTS_BENCH_BENCH_H
#define KV_TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define BENCH_WORKERS_MAX 16
#define BENCH_SERVERS_MAX 8
#define BENCH_REPEATS_MAX 64

struct bench_case {
    const char *name;
    unsigned servers, shards, workers;
    size_t key_bytes, model_bytes;
    unsigned rounds; /* A measurement's. */
    const char *codec, *policy, *optimizer;
    unsigned repeats;
    unsigned rows; /* Of a table a round, a key's bytes being a row's; or 0. */
    const char *commit; /* As a name for the JSON lines. */
    bool scattered;     /* No two tensors lie side by side. */
    bool in_memory;     /* --volatile instead of an arena file. */
    bool apart;         /* Servers and workers on a processor each. */
};

/* --- bench_process.c ----------------------------------------------------- */

uint64_t bench_now_ns(void);
double bench_median(double *values, size_t count); /* Sorts. */

/* Say what failed and exit; for everything that must not fail in a bench. */
_Noreturn void bench_die(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* A child that gets SIGKILL when this process dies; 0 in the child. */
pid_t bench_fork(void);
void bench_end(pid_t pid, int signal_number); /* Kill it and reap it. */

/* Seconds of processor time that a process has used so far. */
double bench_cpu(pid_t pid);

/* Stay on processor `cpu`, counted among those allowed; where latency is
 * measured, so that both sides of a comparison wake the same way. */
void bench_pin(unsigned cpu);

void bench_write(int fd, const void *data, size_t size);
void bench_read(int fd, void *data, size_t size);

/* --- bench_print.c ------------------------------------------------------- */

/* Of the rounds of a measurement, a median each; cpu is processor time of all
 * processes. */
struct bench_rates {
    double seconds, cpu;         /* Ours. */
    double raw, raw_cpu, duplex; /* The yardsticks'. */
};

void bench_print_head(void);
void bench_print_rates(const struct bench_case *b, const struct bench_rates *r,
                       size_t memory);
void bench_print_pair(const struct bench_case *b, const char *name,
                      const char *unit, double value, double yardstick);

/* --- bench_cluster.c ----------------------------------------------------- */

struct bench_cluster {
    const struct bench_case *spec;
    char dir[64];  /* Key file and arenas. */
    char root[64]; /* host:port of server 0. */
    int listeners[BENCH_SERVERS_MAX];
    pid_t pids[BENCH_SERVERS_MAX];
};

void bench_cluster_start(struct bench_cluster *c,
                         const struct bench_case *spec);
void bench_cluster_stop(struct bench_cluster *c);

/* kill -9, and start it again on its arena; returns when it was killed. */
uint64_t bench_cluster_kill(struct bench_cluster *c, unsigned server);

/* Resident bytes of all servers, their arenas included. */
size_t bench_cluster_memory(const struct bench_cluster *c);

/* --- bench_workers.c ----------------------------------------------------- */

/* What a worker tells while it runs, in memory that all processes see. */
struct bench_shared {
    _Atomic uint64_t last_push_ns; /* When a push was last acknowledged. */
    _Atomic bool stop;
};

struct bench_workers {
    unsigned count;
    pid_t pids[BENCH_WORKERS_MAX];
    int command[BENCH_WORKERS_MAX], result[BENCH_WORKERS_MAX];
    struct bench_shared *shared;
};

void bench_workers_start(struct bench_workers *w,
                         const struct bench_cluster *c);
void bench_workers_stop(struct bench_workers *w);

/* All push and pull the model, `rounds` times; the seconds of the slowest. */
double bench_workers_rounds(struct bench_workers *w, unsigned rounds);

/* Worker 0 pushes and pulls its first key, one round trip after the other,
 * from callbacks or with kvw_wait(); microseconds each. */
double bench_workers_ping(struct bench_workers *w, unsigned count,
                          bool blocking);

/* Push rounds until shared->stop; then one result. */
void bench_workers_run(struct bench_workers *w);
void bench_workers_halt(struct bench_workers *w);

/* --- bench_rows.c: the worker of a row_sparse table ---------------------- */

struct bench_table;
struct kvw;

struct bench_table *bench_table_new(const struct bench_case *b);

/* Both return a KVW_ status. */
int bench_table_init(const struct bench_table *t, struct kvw *kv);
int bench_table_round(struct bench_table *t, struct kvw *kv);

/* --- bench_raw.c: what the machine can do -------------------------------- */

struct bench_raw {
    pid_t pid;
    int fd, reverse; /* Two blocking TCP connections to the other process. */
    size_t bytes;
    char *buffer;
};

void bench_raw_start(struct bench_raw *r, size_t bytes);
void bench_raw_stop(struct bench_raw *r);

/* Move `bytes` there and the same number back, `rounds` times. One direction
 * after the other; or, duplex, both at once with a thread for each. */
double bench_raw_rounds(struct bench_raw *r, unsigned rounds, bool duplex);

/* --- bench_echo.c: a plain libuv echo of 64 bytes ------------------------ */

struct bench_echo {
    pid_t pid;
    int fd;
};

void bench_echo_start(struct bench_echo *e);
void bench_echo_stop(struct bench_echo *e);
double bench_echo_ping(struct bench_echo *e, unsigned count); /* us each. */

/* --- bench_stream.c: loops that only move memory ------------------------- */

/* Reads gradient, weights and `slots` arrays, writes new weights and slots;
 * `count` is a multiple of 32, and what goes past the caches is aligned. */
void bench_stream_update(const float *const *in, float *const *out,
                         unsigned slots, size_t count, bool past_caches);
/* The sum of the first `ins` arrays; `count` is a multiple of 64. */
float bench_stream_read(const float *const *in, unsigned ins, size_t count);
void bench_stream_sum4(const float *const *in, float *out, size_t count);

/* --- Cases --------------------------------------------------------------- */

/* bench_jobs.c */
void bench_transfer(const struct bench_case *b); /* Prints no head. */
void bench_tiny(const struct bench_case *b);
void bench_rows(const struct bench_case *b);
void bench_arena(const struct bench_case *b);
void bench_kill(const struct bench_case *b);
void bench_ping(const struct bench_case *b); /* Stays on one processor. */

void bench_rules(const struct bench_case *b); /* bench_rules.c */
void bench_local(const struct bench_case *b); /* bench_local.c */

#endif
