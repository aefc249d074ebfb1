/**
 * kill_job - a job whose result shows any lost, doubled or altered update.
 *
 * dist_sync: each gradient is a hash of the weight's bits, its place, the rank
 * and the round. One wrong bit in one weight in one round makes all that follow
 * different. dist_async: gradients are small integers, so the sum is exact in
 * any order, and equal only if each was added once.
 *
 *     kill_job [--rounds N] [--kind K] [--optimizer sgd|adam|lamb|lars]
 *              [--idle yes]
 *
 * Values are of all sizes: batched in one frame, alone in a frame, in several
 * slices on several shards; some are f16 with an f32 master, whose last bits
 * come out in later rounds. Of the tables, which are row_sparse, each rank
 * pulls some rows, pushes gradients for these, and pulls those of the next
 * round; some rows are in everyone's choice, and now and then a choice is
 * empty. Every worker prints the hash of what it pulled last; kill_loop
 * compares them. With --idle, rank 0 then sleeps, and the others wait for it at
 * a barrier.
 */
#include <kvworker.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/compute/dtype.h"

#define KEYS 8
#define FIRST_HALF 6 /* Keys from this on are f16. */
#define TABLES 2
#define CHOSEN_MAX 2000
#define BARRIER_EVERY 16

static const size_t sizes[KEYS] = {1, 7, 100, 3000, 9000, 140000, 500, 270000};
/* The second is cut into two slices, and so much of it changes in a round that
 * a kill has a chance to come in between. */
static const struct {
    const char *name;
    uint64_t rows, length;
    uint64_t chosen; /* Rows a round and rank, at most. */
    uint64_t shared; /* The first rows, chosen as often as all others. */
} forms[TABLES] = {
    {"table.small", 50, 3, 20, 5},
    {"table.big", 40000, 30, CHOSEN_MAX, 1000},
};

struct table {
    float *whole, *pulled, *gradient;
    int64_t pulled_rows[CHOSEN_MAX], pushed_rows[CHOSEN_MAX];
    int64_t ids[CHOSEN_MAX];
    struct kvw_tensor whole_tensor, pull_tensor, push_tensor;
    struct kvw_row_ids id_list;
};

struct job {
    struct kvw *kv;
    const char *kind, *optimizer;
    bool idle;
    uint64_t rounds;
    bool exact; /* Integer gradients: dist_async. */
    float *values[KEYS], *gradients[KEYS];
    void *half_values[KEYS], *half_gradients[KEYS];
    struct kvw_tensor value_tensors[KEYS], gradient_tensors[KEYS];
    struct kvw_item pulls[KEYS + TABLES], pushes[KEYS + TABLES];
    char names[KEYS][16];
    struct table tables[TABLES];
    struct kvw_row_pull row_pulls[TABLES];
};

static void check(const struct job *j, int status, const char *what)
{
    if (status != KVW_OK) {
        fprintf(stderr, "kill_job: %s: %s\n", what, kvw_error(j->kv));
        exit(EXIT_FAILURE);
    }
}

/* The finalizer of splitmix64. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- Keys ----------------------------------------------------------------- */

static float *zeros(size_t count)
{
    float *data = calloc(count, sizeof(float));

    if (data == NULL) {
        fprintf(stderr, "kill_job: out of memory\n");
        exit(EXIT_FAILURE);
    }
    return data;
}

static float *first_values(size_t k, size_t count)
{
    float *data = zeros(count);

    for (size_t i = 0; i < count; i++) {
        data[i] = (float)(mix(k * 1000003 + i) % 64) - 32.0f;
    }
    return data;
}

static void make_half(struct job *j, size_t k)
{
    struct kvw_tensor *value = &j->value_tensors[k];
    struct kvw_tensor *gradient = &j->gradient_tensors[k];

    j->half_values[k] = zeros(sizes[k] / 2);
    j->half_gradients[k] = zeros(sizes[k] / 2);
    kv_from_f32(KV_F16, j->values[k], j->half_values[k], sizes[k]);
    value->data = j->half_values[k];
    gradient->data = j->half_gradients[k];
    value->dtype = gradient->dtype = KVW_F16;
}

static void make_keys(struct job *j)
{
    for (size_t k = 0; k < KEYS; k++) {
        struct kvw_key key = kvw_str(j->names[k]);

        j->values[k] = first_values(k, sizes[k]);
        j->gradients[k] = zeros(sizes[k]);
        snprintf(j->names[k], sizeof(j->names[k]), "key.%zu", k);
        j->value_tensors[k] = kvw_f32(j->values[k], sizes[k]);
        j->gradient_tensors[k] = kvw_f32(j->gradients[k], sizes[k]);
        if (k >= FIRST_HALF) {
            make_half(j, k);
        }
        j->pulls[k] = (struct kvw_item){key, &j->value_tensors[k], 1};
        j->pushes[k] = (struct kvw_item){key, &j->gradient_tensors[k], 1};
    }
}

static void make_tables(struct job *j)
{
    for (size_t k = 0; k < TABLES; k++) {
        struct table *t = &j->tables[k];
        uint64_t rows = forms[k].rows, length = forms[k].length;
        struct kvw_key key = kvw_str(forms[k].name);

        t->whole = first_values(KEYS + k, rows * length);
        t->pulled = zeros(forms[k].chosen * length);
        t->gradient = zeros(forms[k].chosen * length);
        t->whole_tensor = kvw_f32_rows(t->whole, NULL, rows, rows, length);
        t->pull_tensor =
            kvw_f32_rows(t->pulled, t->pulled_rows, 0, rows, length);
        t->push_tensor =
            kvw_f32_rows(t->gradient, t->pushed_rows, 0, rows, length);
        t->id_list = (struct kvw_row_ids){t->ids, KVW_I64, 0};
        j->pulls[KEYS + k] = (struct kvw_item){key, &t->whole_tensor, 1};
        j->pushes[KEYS + k] = (struct kvw_item){key, &t->push_tensor, 1};
        j->row_pulls[k] =
            (struct kvw_row_pull){key, &t->pull_tensor, 1, &t->id_list, 1};
    }
}

static void free_keys(struct job *j)
{
    for (size_t k = 0; k < KEYS; k++) {
        free(j->values[k]);
        free(j->gradients[k]);
        free(j->half_values[k]);
        free(j->half_gradients[k]);
    }
    for (size_t k = 0; k < TABLES; k++) {
        free(j->tables[k].whole);
        free(j->tables[k].pulled);
        free(j->tables[k].gradient);
    }
}

/* --- A round -------------------------------------------------------------- */

static uint64_t salt(const struct job *j, size_t k, uint64_t round)
{
    uint64_t rank = (uint64_t)kvw_rank(j->kv);

    return mix((round << 20) ^ (rank << 8) ^ k);
}

/* `place` is the value's in its key. */
static float gradient(const struct job *j, uint64_t salted, uint64_t place,
                      float value)
{
    uint32_t bits = 0;
    uint64_t drawn;

    if (!j->exact) {
        memcpy(&bits, &value, sizeof(bits));
    }
    drawn = mix(salted ^ (place << 32) ^ bits);
    return j->exact ? (float)(drawn % 7) - 3.0f
                    : (float)(drawn >> 40) / 8388608.0f - 1.0f;
}

static void compute(struct job *j, size_t k, uint64_t round)
{
    uint64_t salted = salt(j, k, round);

    for (size_t i = 0; i < sizes[k]; i++) {
        j->gradients[k][i] = gradient(j, salted, i, j->values[k][i]);
    }
    if (k >= FIRST_HALF) {
        kv_from_f32(KV_F16, j->gradients[k], j->half_gradients[k], sizes[k]);
    }
}

/* All that was pushed and pulled. */
static void wait_all(struct job *j)
{
    check(j, kvw_wait_all(j->kv, KVW_FOREVER), "wait");
    for (size_t k = FIRST_HALF; k < KEYS; k++) {
        kv_to_f32(KV_F16, j->half_values[k], j->values[k], sizes[k]);
    }
}

static void compute_rows(struct job *j, size_t k, uint64_t round)
{
    struct table *t = &j->tables[k];
    uint64_t salted = salt(j, KEYS + k, round), length = forms[k].length;

    t->push_tensor.row_count = t->pull_tensor.row_count;
    memcpy(t->pushed_rows, t->pulled_rows, sizeof(t->pushed_rows));
    for (uint64_t i = 0; i < t->push_tensor.row_count * length; i++) {
        uint64_t row = (uint64_t)t->pulled_rows[i / length];

        t->gradient[i] =
            gradient(j, salted, row * length + i % length, t->pulled[i]);
    }
}

/* Rows that this rank will push in that round. */
static void choose_rows(struct job *j, size_t k, uint64_t round)
{
    struct table *t = &j->tables[k];
    uint64_t drawn = mix(~salt(j, KEYS + k, round));

    t->id_list.count = drawn % 8 == 0 ? 0 : 1 + drawn / 8 % forms[k].chosen;
    for (uint64_t i = 0; i < t->id_list.count; i++) {
        drawn = mix(drawn);
        t->ids[i] =
            (int64_t)(drawn / 2 %
                      (drawn % 2 == 0 ? forms[k].shared : forms[k].rows));
    }
    t->pull_tensor.row_count = forms[k].chosen;
}

static void pull_rows(struct job *j, uint64_t round)
{
    for (size_t k = 0; k < TABLES; k++) {
        choose_rows(j, k, round);
    }
    check(j, kvw_row_sparse_pull(j->kv, j->row_pulls, TABLES, NULL, NULL),
          "pull of rows");
}

/* Odd rounds push and pull apart, even ones together. */
static void push_and_pull(struct job *j, bool apart)
{
    size_t count = KEYS + TABLES;

    if (apart) {
        check(j, kvw_push(j->kv, j->pushes, count, NULL, NULL), "push");
        check(j, kvw_pull(j->kv, j->pulls, KEYS, NULL, NULL), "pull");
        return;
    }
    check(j, kvw_pushpull(j->kv, j->pushes, j->pulls, KEYS, NULL, NULL),
          "pushpull");
    check(j, kvw_push(j->kv, j->pushes + KEYS, TABLES, NULL, NULL),
          "push of rows");
}

static void play(struct job *j, uint64_t round)
{
    for (size_t k = 0; k < KEYS; k++) {
        compute(j, k, round);
    }
    for (size_t k = 0; k < TABLES; k++) {
        compute_rows(j, k, round);
    }
    push_and_pull(j, round % 2 == 1);
    pull_rows(j, round + 1);
    wait_all(j);
    if (round % BARRIER_EVERY == 0) {
        check(j, kvw_barrier(j->kv, KVW_FOREVER), "barrier");
    }
}

/* --- The job -------------------------------------------------------------- */

static void set_optimizer(struct job *j)
{
    const char *more = "lr=0.01";
    char params[64];

    if (j->exact) {
        more = "lr=1";
    } else if (strcmp(j->optimizer, "sgd") == 0 ||
               strcmp(j->optimizer, "lars") == 0) {
        more = "lr=0.01,momentum=0.9,wd=0.0001";
    }
    snprintf(params, sizeof(params), "multi_precision=1,%s", more);
    check(j, kvw_set_optimizer(j->kv, j->optimizer, params), "optimizer");
}

static void train(struct job *j)
{
    size_t count = KEYS + TABLES;

    check(j, kvw_init(j->kv, j->pulls, count), "init");
    if (kvw_rank(j->kv) == 0) {
        set_optimizer(j);
    }
    check(j, kvw_barrier(j->kv, KVW_FOREVER), "barrier");
    check(j, kvw_pull(j->kv, j->pulls, count, NULL, NULL), "pull");
    pull_rows(j, 1);
    wait_all(j);
    for (uint64_t round = 1; round <= j->rounds; round++) {
        if (round == j->rounds / 2 && kvw_rank(j->kv) == 0 && !j->exact) {
            check(j, kvw_set_hyper(j->kv, NULL, "lr", 0.005, 0), "lr");
        }
        play(j, round);
    }
    check(j, kvw_barrier(j->kv, KVW_FOREVER), "barrier");
    check(j, kvw_pull(j->kv, j->pulls, count, NULL, NULL), "pull");
    wait_all(j);
}

/* FNV-1a, 64 bits, a word at a time. */
static uint64_t hash_of(uint64_t hash, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, &values[i], sizeof(bits));
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t hash_values(const struct job *j)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t k = 0; k < KEYS; k++) {
        hash = hash_of(hash, j->values[k], sizes[k]);
    }
    for (size_t k = 0; k < TABLES; k++) {
        hash =
            hash_of(hash, j->tables[k].whole, forms[k].rows * forms[k].length);
    }
    return hash;
}

static double now(void)
{
    struct timespec t;

    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    struct job j = {.kind = "dist_sync", .optimizer = "sgd", .rounds = 100};
    struct kvw_stats stats = {0};
    double started;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0) {
            j.rounds = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--kind") == 0) {
            j.kind = argv[i + 1];
        } else if (strcmp(argv[i], "--optimizer") == 0) {
            j.optimizer = argv[i + 1];
        } else if (strcmp(argv[i], "--idle") == 0) {
            j.idle = true;
        }
    }
    j.exact = strcmp(j.kind, "dist_async") == 0;
    check(&j, kvw_open(&j.kv, j.kind, NULL), "open");
    make_keys(&j);
    make_tables(&j);
    started = now();
    train(&j);
    check(&j, kvw_get_stats(j.kv, &stats, sizeof(stats)), "stats");
    printf("hash %016llx seconds %.3f reconnects %llu resent %llu\n",
           (unsigned long long)hash_values(&j), now() - started,
           (unsigned long long)stats.reconnects,
           (unsigned long long)stats.resent);
    fflush(stdout);
    if (j.idle && kvw_rank(j.kv) == 0) {
        pause();
    } else if (j.idle) {
        check(&j, kvw_barrier(j.kv, KVW_FOREVER), "barrier");
    }
    kvw_close(j.kv);
    free_keys(&j);
    return EXIT_SUCCESS;
}
