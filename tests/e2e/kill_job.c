/**
 * kill_job - a job whose result shows any lost, doubled or altered update.
 *
 * dist_sync: each gradient is a hash of the weight's bits, its place, the rank
 * and the round. One wrong bit in one weight in one round makes all that follow
 * different. dist_async: gradients are small integers, so the sum is exact in
 * any order, and equal only if each was added once.
 *
 *     kill_job [--rounds N] [--kind K] [--optimizer sgd|adam] [--idle yes]
 *
 * Values are of all sizes: batched in one frame, alone in a frame, in several
 * slices on several shards. Every worker prints the hash of what it pulled
 * last; kill_loop compares them. With --idle, rank 0 then sleeps, and the
 * others wait for it at a barrier.
 */
#include <kvworker.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEYS 6
#define BARRIER_EVERY 16

static const size_t sizes[KEYS] = {1, 7, 100, 3000, 9000, 140000};

struct job {
    struct kvw *kv;
    const char *kind, *optimizer;
    bool idle;
    uint64_t rounds;
    bool exact; /* Integer gradients: dist_async. */
    float *values[KEYS], *gradients[KEYS];
    struct kvw_tensor value_tensors[KEYS], gradient_tensors[KEYS];
    struct kvw_item pulls[KEYS], pushes[KEYS];
    char names[KEYS][16];
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

static void make_keys(struct job *j)
{
    for (size_t k = 0; k < KEYS; k++) {
        struct kvw_key key;

        j->values[k] = calloc(sizes[k], sizeof(float));
        j->gradients[k] = calloc(sizes[k], sizeof(float));
        if (j->values[k] == NULL || j->gradients[k] == NULL) {
            fprintf(stderr, "kill_job: out of memory\n");
            exit(EXIT_FAILURE);
        }
        for (size_t i = 0; i < sizes[k]; i++) {
            j->values[k][i] = (float)(mix(k * 1000003 + i) % 64) - 32.0f;
        }
        snprintf(j->names[k], sizeof(j->names[k]), "key.%zu", k);
        key = k % 2 == 0 ? kvw_str(j->names[k]) : kvw_int((int64_t)k);
        j->value_tensors[k] = kvw_f32(j->values[k], sizes[k]);
        j->gradient_tensors[k] = kvw_f32(j->gradients[k], sizes[k]);
        j->pulls[k] = (struct kvw_item){key, &j->value_tensors[k], 1};
        j->pushes[k] = (struct kvw_item){key, &j->gradient_tensors[k], 1};
    }
}

static void free_keys(struct job *j)
{
    for (size_t k = 0; k < KEYS; k++) {
        free(j->values[k]);
        free(j->gradients[k]);
    }
}

static void compute(struct job *j, size_t k, uint64_t round)
{
    uint64_t rank = (uint64_t)kvw_rank(j->kv);
    uint64_t salt = mix((round << 20) ^ (rank << 8) ^ k);

    for (size_t i = 0; i < sizes[k]; i++) {
        uint32_t bits = 0;
        uint64_t drawn;

        if (!j->exact) {
            memcpy(&bits, &j->values[k][i], sizeof(bits));
        }
        drawn = mix(salt ^ ((uint64_t)i << 32) ^ bits);
        j->gradients[k][i] = j->exact
                                 ? (float)(drawn % 7) - 3.0f
                                 : (float)(drawn >> 40) / 8388608.0f - 1.0f;
    }
}

/* Odd rounds push and pull apart, even ones together. */
static void play(struct job *j, uint64_t round)
{
    for (size_t k = 0; k < KEYS; k++) {
        compute(j, k, round);
    }
    if (round % 2 == 1) {
        check(j, kvw_push(j->kv, j->pushes, KEYS, NULL, NULL), "push");
        check(j, kvw_pull(j->kv, j->pulls, KEYS, NULL, NULL), "pull");
    } else {
        check(j, kvw_pushpull(j->kv, j->pushes, j->pulls, KEYS, NULL, NULL),
              "pushpull");
    }
    check(j, kvw_wait_all(j->kv, KVW_FOREVER), "wait");
    if (round % BARRIER_EVERY == 0) {
        check(j, kvw_barrier(j->kv, KVW_FOREVER), "barrier");
    }
}

static void set_optimizer(struct job *j)
{
    const char *params = j->exact ? "lr=1" : "lr=0.01";

    if (!j->exact && strcmp(j->optimizer, "sgd") == 0) {
        params = "lr=0.01,momentum=0.9,wd=0.0001";
    }
    check(j, kvw_set_optimizer(j->kv, j->optimizer, params), "optimizer");
}

static void train(struct job *j)
{
    check(j, kvw_init(j->kv, j->pulls, KEYS), "init");
    if (kvw_rank(j->kv) == 0) {
        set_optimizer(j);
    }
    check(j, kvw_barrier(j->kv, KVW_FOREVER), "barrier");
    check(j, kvw_pull(j->kv, j->pulls, KEYS, NULL, NULL), "pull");
    check(j, kvw_wait_all(j->kv, KVW_FOREVER), "pull");
    for (uint64_t round = 1; round <= j->rounds; round++) {
        if (round == j->rounds / 2 && kvw_rank(j->kv) == 0 && !j->exact) {
            check(j, kvw_set_hyper(j->kv, "lr", 0.005), "lr");
        }
        play(j, round);
    }
    check(j, kvw_barrier(j->kv, KVW_FOREVER), "barrier");
    check(j, kvw_pull(j->kv, j->pulls, KEYS, NULL, NULL), "pull");
    check(j, kvw_wait_all(j->kv, KVW_FOREVER), "pull");
}

/* FNV-1a, 64 bits, a word at a time. */
static uint64_t hash_values(const struct job *j)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t k = 0; k < KEYS; k++) {
        for (size_t i = 0; i < sizes[k]; i++) {
            uint32_t bits;

            memcpy(&bits, &j->values[k][i], sizeof(bits));
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
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
