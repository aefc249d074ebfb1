/* The sum of a local store on two threads, against a loop on two threads that
 * reads and writes the same number of bytes and nothing else. */
#include "tests/bench/bench.h"

#include <pthread.h>
#include <stdlib.h>

#include "worker/kvworker.h"

enum { TENSORS = 4, THREADS = 2 };

static const size_t COUNT = (size_t)16 << 20; /* 64 MiB of floats. */

struct local_bench {
    struct kvw *kv;
    float *tensor[TENSORS], *out;
    struct kvw_tensor tensors[TENSORS];
};

static void must(const struct local_bench *l, int status)
{
    if (status != KVW_OK) {
        bench_die("local store: %s", kvw_error(l->kv));
    }
}

static float *make_floats(float value)
{
    float *floats = aligned_alloc(64, COUNT * sizeof *floats);

    if (floats == NULL) {
        bench_die("no memory for %zu floats", COUNT);
    }
    for (size_t i = 0; i < COUNT; i++) {
        floats[i] = value;
    }
    return floats;
}

/* --- Ours ---------------------------------------------------------------- */

static void start(struct local_bench *l)
{
    struct kvw_item item = {kvw_int(1), l->tensors, 1};
    char options[32];

    for (int i = 0; i < TENSORS; i++) {
        l->tensor[i] = make_floats((float)i);
        l->tensors[i] = kvw_f32(l->tensor[i], COUNT);
    }
    l->out = make_floats(0);
    snprintf(options, sizeof options, "threads=%d", THREADS);
    must(l, kvw_open(&l->kv, "local", options));
    must(l, kvw_init(l->kv, &item, 1));
}

static void stop(struct local_bench *l)
{
    kvw_close(l->kv);
    for (int i = 0; i < TENSORS; i++) {
        free(l->tensor[i]);
    }
    free(l->out);
}

static double push(struct local_bench *l)
{
    struct kvw_item item = {kvw_int(1), l->tensors, TENSORS};
    uint64_t begin = bench_now_ns();
    struct kvw_op *op;

    must(l, kvw_push(l->kv, &item, 1, NULL, &op));
    must(l, kvw_wait(l->kv, op, KVW_FOREVER));
    return (double)(bench_now_ns() - begin) * 1e-9;
}

/* --- The yardstick ------------------------------------------------------- */

struct half {
    const float *in[TENSORS];
    float *out;
};

static void *sum_half(void *arg)
{
    const struct half *h = arg;

    bench_stream_sum4(h->in, h->out, COUNT / THREADS);
    return NULL;
}

static double stream(struct local_bench *l)
{
    struct half halves[THREADS];
    pthread_t threads[THREADS];
    uint64_t begin = bench_now_ns();

    for (int n = 0; n < THREADS; n++) {
        size_t first = (size_t)n * COUNT / THREADS;

        for (int i = 0; i < TENSORS; i++) {
            halves[n].in[i] = l->tensor[i] + first;
        }
        halves[n].out = l->out + first;
        if (pthread_create(&threads[n], NULL, sum_half, &halves[n]) != 0) {
            bench_die("cannot start a thread");
        }
    }
    for (int n = 0; n < THREADS; n++) {
        pthread_join(threads[n], NULL);
    }
    return (double)(bench_now_ns() - begin) * 1e-9;
}

void bench_local(const struct bench_case *b)
{
    double times[BENCH_REPEATS_MAX], yardstick[BENCH_REPEATS_MAX];
    double gigabytes = (double)COUNT * (TENSORS + 1) * sizeof(float) * 1e-9;
    struct local_bench l = {NULL};

    start(&l);
    push(&l);
    stream(&l);
    for (unsigned i = 0; i < b->repeats; i++) {
        double ours = 0, plain = 0;

        for (unsigned n = 0; n < b->rounds; n++) {
            ours += push(&l);
            plain += stream(&l);
        }
        times[i] = ours / b->rounds;
        yardstick[i] = plain / b->rounds;
    }
    stop(&l);
    bench_print_pair(b, "local-sum-of-4", "GB/s",
                     gigabytes / bench_median(times, b->repeats),
                     gigabytes / bench_median(yardstick, b->repeats));
}
