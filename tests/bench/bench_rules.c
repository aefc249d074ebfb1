/* Each optimizer's arithmetic on one core, on a value that no cache holds, as
 * the server goes through it: out of place and in blocks, after the passes that
 * measure norms, if it needs any. */
#include "tests/bench/bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/compute/denormals.h"
#include "common/optim/optim.h"
#include "server/shard_private.h"

#define ELEMENTS_MAX ((size_t)64 << 20)
#define HUGE_PAGE ((size_t)2 << 20)     /* As in an arena. */
#define ARRAYS (1 + KV_OPTIM_SLOTS_MAX) /* The weights, then their state. */
#define STREAMED false                  /* As in server/shard_round.c. */

#define PASSES_MAX 2
#define ROW_LENGTH 64 /* Where state is by rows. */

/* How many arrays a pass must read: gradient, weights, state. */
static const struct passes {
    const char *rule;
    unsigned reads[PASSES_MAX];
} all_passes[] = {
    {"lamb", {4}},
    {"lans", {1, 4}},
    {"lars", {2}},
};

struct value_pair {
    size_t count;
    float *gradient;
    float *old[ARRAYS], *new[ARRAYS];
};

/* --- Memory --------------------------------------------------------------- */

/* Half of what is free is left to others. */
static size_t choose_count(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = ELEMENTS_MAX;
    size_t free_bytes = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;

    while ((1 + 2 * ARRAYS) * count * sizeof(float) > free_bytes / 2) {
        count /= 2;
    }
    return count;
}

static float *make_array(size_t count)
{
    float *array = aligned_alloc(HUGE_PAGE, count * sizeof *array);

    if (array == NULL) {
        bench_die("no memory for %zu floats", count);
    }
    (void)madvise(array, count * sizeof *array, MADV_HUGEPAGE);
    memset(array, 0, count * sizeof *array);
    return array;
}

static void make_values(struct value_pair *v)
{
    v->count = choose_count();
    v->gradient = make_array(v->count);
    for (size_t i = 0; i < v->count; i++) {
        v->gradient[i] = (float)(i % 17) * 1e-3f;
    }
    for (int n = 0; n < ARRAYS; n++) {
        v->old[n] = make_array(v->count);
        v->new[n] = make_array(v->count);
    }
}

static void free_values(struct value_pair *v)
{
    free(v->gradient);
    for (int n = 0; n < ARRAYS; n++) {
        free(v->old[n]);
        free(v->new[n]);
    }
}

/* As before the first update. */
static void reset(struct value_pair *v, unsigned slots)
{
    for (size_t i = 0; i < v->count; i++) {
        v->old[0][i] = 1.0f;
    }
    for (unsigned n = 1; n <= slots; n++) {
        memset(v->old[n], 0, v->count * sizeof *v->old[n]);
    }
}

/* --- Passes --------------------------------------------------------------- */

static void set_block(struct value_pair *v, const struct kv_optim_spec *spec,
                      size_t first, struct kv_optim_args *args)
{
    unsigned slots = spec->optim->slots(spec->params);
    size_t state = spec->optim->rows ? first / ROW_LENGTH : first;

    args->count = SHARD_BLOCK;
    args->weight = v->old[0] + first;
    args->new_weight = v->new[0] + first;
    args->gradient = v->gradient + first;
    for (unsigned i = 0; i < slots; i++) {
        args->slot[i] = v->old[1 + i] + state;
        args->new_slot[i] = v->new[1 + i] + state;
    }
}

static double update(struct value_pair *v, const struct kv_optim_spec *spec,
                     uint64_t t)
{
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_args args = {
        .step = step, .stream = STREAMED, .row_length = ROW_LENGTH};
    uint64_t start = bench_now_ns();

    kv_optim_prepare(spec, KV_F32, NULL, t, step);
    for (unsigned pass = 0; pass < spec->optim->passes; pass++) {
        double sums[KV_OPTIM_NORMS_MAX] = {0};

        for (size_t first = 0; first < v->count; first += SHARD_BLOCK) {
            set_block(v, spec, first, &args);
            spec->optim->measure(&args, pass, sums);
        }
        spec->optim->absorb(step, pass, sums);
    }
    for (size_t first = 0; first < v->count; first += SHARD_BLOCK) {
        set_block(v, spec, first, &args);
        spec->optim->update(&args);
    }
    return (double)(bench_now_ns() - start) * 1e-9;
}

static double stream(struct value_pair *v, const struct passes *passes,
                     unsigned slots)
{
    const float *in[1 + ARRAYS] = {v->gradient};
    uint64_t start;

    memcpy(in + 1, v->old, sizeof v->old);
    start = bench_now_ns();
    for (unsigned n = 0; n < PASSES_MAX; n++) {
        bench_stream_read(in, passes->reads[n], v->count);
    }
    bench_stream_update(in, v->new, slots, v->count, STREAMED);
    return (double)(bench_now_ns() - start) * 1e-9;
}

static void swap_values(struct value_pair *v)
{
    float *old[ARRAYS];

    memcpy(old, v->old, sizeof old);
    memcpy(v->old, v->new, sizeof old);
    memcpy(v->new, old, sizeof old);
}

/* NULL for one whose passes are not in the table. */
static const struct passes *passes_of(const struct kv_optim *rule)
{
    static const struct passes none;

    for (size_t i = 0; i < sizeof all_passes / sizeof *all_passes; i++) {
        if (strcmp(all_passes[i].rule, rule->name) == 0) {
            return &all_passes[i];
        }
    }
    return rule->passes == 0 ? &none : NULL;
}

/* The yardstick first: what it writes is overwritten. */
static void measure(const struct bench_case *b, struct value_pair *v,
                    const struct kv_optim_spec *spec, const char *name)
{
    const struct passes *passes = passes_of(spec->optim);
    unsigned slots = spec->optim->rows ? 0 : spec->optim->slots(spec->params);
    double times[BENCH_REPEATS_MAX], yardstick[BENCH_REPEATS_MAX];
    double gigabytes = (double)v->count * (3 + 2 * slots) * sizeof(float) / 1e9;

    if (passes == NULL) {
        printf("%s: skipped: what its passes read is not in the table\n", name);
        return;
    }
    for (unsigned n = 0; n < PASSES_MAX; n++) {
        gigabytes += (double)v->count * passes->reads[n] * sizeof(float) / 1e9;
    }
    reset(v, spec->optim->slots(spec->params));
    for (unsigned i = 0; i < b->repeats; i++) {
        yardstick[i] = stream(v, passes, slots);
        times[i] = update(v, spec, i + 1);
        swap_values(v);
    }
    bench_print_pair(b, name, "GB/s",
                     gigabytes / bench_median(times, b->repeats),
                     gigabytes / bench_median(yardstick, b->repeats));
}

/* --- Rules ---------------------------------------------------------------- */

/* With its defaults, and with each setting that gives it other state. */
static void measure_rule(const struct bench_case *b, struct value_pair *v,
                         const char *rule)
{
    static const char *const settings[] = {"momentum=0.9", "centered=1"};
    char error[KV_OPTIM_ERROR_MAX], name[64];
    struct kv_optim_spec spec, other;

    snprintf(name, sizeof name, "rule-%s", rule);
    if (kv_optim_parse(rule, "", &spec, error, sizeof error) != KV_OK) {
        printf("%s: skipped: %s\n", name, error);
        return;
    }
    measure(b, v, &spec, name);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (kv_optim_parse(rule, settings[i], &other, error, sizeof error) ==
                KV_OK &&
            other.optim->slots(other.params) !=
                spec.optim->slots(spec.params)) {
            snprintf(name, sizeof name, "rule-%s-%s", rule, settings[i]);
            measure(b, v, &other, name);
        }
    }
}

void bench_rules(const struct bench_case *b)
{
    char names[1024], *rest = names, *rule;
    struct value_pair v;

    kv_flush_denormals(); /* As every thread that updates. */
    make_values(&v);
    printf("rules: %zu elements, one core, against loops over as many "
           "arrays\n",
           v.count);
    kv_optim_names(names, sizeof names);
    while ((rule = strtok_r(rest, ", ", &rest)) != NULL) {
        measure_rule(b, &v, rule);
    }
    free_values(&v);
}
