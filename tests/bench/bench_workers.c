/* The workers of a benchmark: processes that do what they are told through a
 * pipe, so that they are idle while the yardstick runs. */
#include "tests/bench/bench.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/kvworker.h"

struct order {
    enum { ROUNDS, PING_CALLBACK, PING_WAIT, RUN, QUIT } what;
    unsigned count;
};

struct worker {
    struct kvw *kv;
    struct bench_shared *shared;
    size_t keys;
    float *weights, *gradients;
    struct kvw_tensor *weight_tensors, *gradient_tensors;
    struct kvw_item *weight_items, *gradient_items;
    struct bench_table *table; /* Instead of all these, or NULL. */
};

static void must(struct worker *w, int status)
{
    if (status != KVW_OK) {
        bench_die("worker: %s: %s", kvw_strstatus(status), kvw_error(w->kv));
    }
}

static void make_items(struct worker *w, const struct bench_case *b)
{
    size_t per_key = b->key_bytes / sizeof(float);
    size_t stride = b->scattered ? 2 * per_key : per_key;

    w->keys = b->model_bytes / b->key_bytes;
    w->weights = malloc(w->keys * stride * sizeof(float));
    w->gradients = malloc(w->keys * stride * sizeof(float));
    w->weight_tensors = calloc(w->keys, sizeof *w->weight_tensors);
    w->gradient_tensors = calloc(w->keys, sizeof *w->gradient_tensors);
    w->weight_items = calloc(w->keys, sizeof *w->weight_items);
    w->gradient_items = calloc(w->keys, sizeof *w->gradient_items);
    for (size_t i = 0; i < w->keys * stride; i++) {
        w->weights[i] = 1.0f;
        w->gradients[i] = (float)(i % 17) * 1e-3f;
    }
    for (size_t k = 0; k < w->keys; k++) {
        w->weight_tensors[k] = kvw_f32(w->weights + k * stride, per_key);
        w->gradient_tensors[k] = kvw_f32(w->gradients + k * stride, per_key);
        w->weight_items[k] =
            (struct kvw_item){kvw_int((int64_t)k), &w->weight_tensors[k], 1};
        w->gradient_items[k] =
            (struct kvw_item){kvw_int((int64_t)k), &w->gradient_tensors[k], 1};
    }
}

static void join_job(struct worker *w, const struct bench_cluster *c,
                     unsigned rank)
{
    const struct bench_case *b = c->spec;
    char options[256], type[64], kind[32];

    snprintf(options, sizeof options, "root=%s,rank=%u,key_file=%s/key",
             c->root, rank, c->dir);
    snprintf(kind, sizeof kind, "dist_%s", b->policy);
    if (kvw_open(&w->kv, kind, options) != KVW_OK) {
        bench_die("worker %u: %s", rank, kvw_error(NULL));
    }
    snprintf(type, sizeof type, "type=%s", b->codec);
    must(w, kvw_set_gradient_compression(w->kv, type));
    if (b->rows > 0) {
        w->table = bench_table_new(b);
        must(w, bench_table_init(w->table, w->kv));
    } else {
        make_items(w, b);
        must(w, kvw_init(w->kv, w->weight_items, w->keys));
    }
    if (strcmp(b->optimizer, "none") != 0) {
        must(w, kvw_set_optimizer(w->kv, b->optimizer, "learning_rate=0.01"));
    }
    must(w, kvw_barrier(w->kv, KVW_FOREVER));
}

static void do_rounds(struct worker *w, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        if (w->table != NULL) {
            must(w, bench_table_round(w->table, w->kv));
            continue;
        }
        must(w, kvw_push(w->kv, w->gradient_items, w->keys, NULL, NULL));
        must(w, kvw_pull(w->kv, w->weight_items, w->keys, NULL, NULL));
        must(w, kvw_wait_all(w->kv, KVW_FOREVER));
    }
}

struct ping {
    struct worker *worker;
    unsigned left;
    struct kvw_call call;
    int done; /* Pipe: one byte when the last is done. */
};

static void next_ping(void *arg, int status, const char *error)
{
    struct ping *p = arg;

    if (status != KVW_OK) {
        bench_die("ping: %s", error);
    }
    if (p->left-- == 0) {
        bench_write(p->done, "", 1);
        return;
    }
    must(p->worker, kvw_pushpull(p->worker->kv, p->worker->gradient_items,
                                 p->worker->weight_items, 1, &p->call, NULL));
}

static void ping_callbacks(struct worker *w, unsigned count)
{
    struct ping p = {.worker = w, .left = count};
    int ends[2];
    char byte;

    if (pipe(ends) != 0) {
        bench_die("pipe failed");
    }
    p.call = (struct kvw_call){.done = next_ping, .arg = &p};
    p.done = ends[1];
    next_ping(&p, KVW_OK, "");
    bench_read(ends[0], &byte, 1);
    close(ends[0]);
    close(ends[1]);
}

static void ping_waits(struct worker *w, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct kvw_op *op;

        must(w, kvw_pushpull(w->kv, w->gradient_items, w->weight_items, 1, NULL,
                             &op));
        must(w, kvw_wait(w->kv, op, KVW_FOREVER));
    }
}

static void run_until_halted(struct worker *w)
{
    for (size_t k = 0; !atomic_load(&w->shared->stop); k = (k + 1) % w->keys) {
        struct kvw_op *op;

        must(w, kvw_push(w->kv, &w->gradient_items[k], 1, NULL, &op));
        must(w, kvw_wait(w->kv, op, KVW_FOREVER));
        atomic_store(&w->shared->last_push_ns, bench_now_ns());
    }
}

static _Noreturn void work(const struct bench_cluster *c, unsigned rank,
                           struct bench_shared *shared, int command, int result)
{
    struct worker w = {.shared = shared};
    struct order order = {.what = ROUNDS};

    if (c->spec->apart) {
        bench_pin(0);
    }
    join_job(&w, c, rank);
    bench_write(result, "", 1);
    while (order.what != QUIT) {
        bench_read(command, &order, sizeof order);
        switch (order.what) {
        case ROUNDS:
            do_rounds(&w, order.count);
            break;
        case PING_CALLBACK:
            ping_callbacks(&w, order.count);
            break;
        case PING_WAIT:
            ping_waits(&w, order.count);
            break;
        case RUN:
            run_until_halted(&w);
            break;
        case QUIT:
            kvw_close(w.kv);
            break;
        }
        bench_write(result, "", 1);
    }
    _exit(0);
}

void bench_workers_start(struct bench_workers *w, const struct bench_cluster *c)
{
    w->count = c->spec->workers;
    w->shared = mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < w->count; i++) {
        int command[2], result[2];

        if (pipe(command) != 0 || pipe(result) != 0) {
            bench_die("pipe failed");
        }
        w->pids[i] = bench_fork();
        if (w->pids[i] == 0) {
            close(command[1]);
            close(result[0]);
            work(c, i, w->shared, command[0], result[1]);
        }
        close(command[0]);
        close(result[1]);
        w->command[i] = command[1];
        w->result[i] = result[0];
    }
    for (unsigned i = 0; i < w->count; i++) {
        char byte;

        bench_read(w->result[i], &byte, 1);
    }
}

static void tell(struct bench_workers *w, unsigned workers, struct order order)
{
    for (unsigned i = 0; i < workers; i++) {
        bench_write(w->command[i], &order, sizeof order);
    }
}

static void hear(struct bench_workers *w, unsigned workers)
{
    for (unsigned i = 0; i < workers; i++) {
        char byte;

        bench_read(w->result[i], &byte, 1);
    }
}

void bench_workers_stop(struct bench_workers *w)
{
    tell(w, w->count, (struct order){QUIT, 0});
    hear(w, w->count);
    for (unsigned i = 0; i < w->count; i++) {
        bench_end(w->pids[i], 0);
        close(w->command[i]);
        close(w->result[i]);
    }
    munmap(w->shared, sizeof *w->shared);
}

double bench_workers_rounds(struct bench_workers *w, unsigned rounds)
{
    uint64_t start = bench_now_ns();

    tell(w, w->count, (struct order){ROUNDS, rounds});
    hear(w, w->count);
    return (double)(bench_now_ns() - start) * 1e-9;
}

double bench_workers_ping(struct bench_workers *w, unsigned count,
                          bool blocking)
{
    uint64_t start = bench_now_ns();

    tell(w, 1, (struct order){blocking ? PING_WAIT : PING_CALLBACK, count});
    hear(w, 1);
    return (double)(bench_now_ns() - start) * 1e-3 / count;
}

void bench_workers_run(struct bench_workers *w)
{
    atomic_store(&w->shared->stop, false);
    tell(w, w->count, (struct order){RUN, 0});
}

void bench_workers_halt(struct bench_workers *w)
{
    atomic_store(&w->shared->stop, true);
    hear(w, w->count);
}
