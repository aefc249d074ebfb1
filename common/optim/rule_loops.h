/* rule_loops - turn the rule above this #include into kv_optim_NAME.
 * Deliberately without an include guard: it is a template, one per file. */

#define RULE_PASTE_(a, b) a##b
#define RULE_PASTE(a, b) RULE_PASTE_(a, b)
#define RULE_STRING_(a) #a
#define RULE_STRING(a) RULE_STRING_(a)
#ifdef KV_RULE_F64
#define RULE_ID RULE_PASTE(f64_, RULE_NAME)
#else
#define RULE_ID RULE_NAME
#endif

/* What a rule need not say. */
#ifndef RULE_LAZY
#define RULE_LAZY KV_OPTIM_LAZY_NEVER
#endif
#ifndef RULE_NORMS
#define RULE_NORMS 0
#endif
#ifndef RULE_PASSES
#define RULE_PASSES 0
#endif
#ifndef RULE_ROWS
#define RULE_ROWS 0
#endif
#ifndef RULE_ADDS
#define RULE_ADDS 0
#endif
#ifndef RULE_NOISE
#define RULE_NOISE 0
#endif
#ifndef RULE_HEAVY
#define RULE_HEAVY 0
#endif

#if RULE_HEAVY
#define RULE_CLONES KV_CLONES_WIDE
#else
#define RULE_CLONES KV_CLONES
#endif

/* What travels from prepare() to update(), through opaque bytes. */
struct rule_step {
    struct step k;
    unsigned slots;
};

_Static_assert(sizeof(struct rule_step) <= KV_OPTIM_STEP_MAX, "step too large");
_Static_assert(RULE_SLOTS <= KV_OPTIM_SLOTS_MAX, "too many slots");
_Static_assert(sizeof params / sizeof *params <= KV_OPTIM_PARAMS_MAX + 1,
               "too many parameters");

/* A block's arrays, and a copy, so that no store to them can change it. */
struct rule_arrays {
    size_t count, row_length;
    uint64_t first;
    const real *weight;
    real *new_weight;
    const rule_any *gradient;
    const real *slot[KV_OPTIM_SLOTS_MAX];
    real *new_slot[KV_OPTIM_SLOTS_MAX];
};

RULE_FN struct rule_arrays rule_arrays(const struct kv_optim_args *args)
{
    struct rule_arrays a = {.count = args->count,
                            .row_length = args->row_length,
                            .first = args->first,
                            .weight = args->weight,
                            .new_weight = args->new_weight,
                            .gradient = args->gradient};

    for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
        a.slot[i] = args->slot[i];
        a.new_slot[i] = args->new_slot[i];
    }
    return a;
}

/* In all that follows `slots` and `stream` are constants where it is called, so
 * that each combination becomes a loop of its own. Moved per weight: 12 bytes
 * and 8 a slot. */

RULE_FN struct elem rule_load(const struct rule_arrays *a, size_t i,
                              unsigned slots)
{
    struct elem e = {.w = a->weight[i], .slots = slots};

    for (unsigned s = 0; s < slots; s++) {
        e.s[s] = a->slot[s][i];
    }
    return e;
}

#if RULE_NORMS
#include "common/optim/rule_norms.h"
#endif
#if RULE_ROWS
#include "common/optim/rule_rows.h"
#elif RULE_NOISE
#include "common/optim/rule_noise.h"
#else

RULE_FN struct elem rule_at(const struct rule_arrays *a, size_t i,
                            struct step k, unsigned slots)
{
    return update(rule_load(a, i, slots), a->gradient[i], k);
}

RULE_FN void rule_plain(const struct rule_arrays *a, size_t first,
                        struct step k, unsigned slots)
{
    KV_INDEPENDENT
    for (size_t i = first; i < a->count; i++) {
        struct elem e = rule_at(a, i, k, slots);

        a->new_weight[i] = e.w;
        for (unsigned s = 0; s < slots; s++) {
            a->new_slot[s][i] = e.s[s];
        }
    }
}

#ifndef KV_RULE_F64
/* Returns how many weights it did: a multiple of KV_STREAM_FLOATS. */
RULE_FN size_t rule_stream(const struct rule_arrays *a, struct step k,
                           unsigned slots)
{
    size_t first = 0;

    for (; first + KV_STREAM_FLOATS <= a->count; first += KV_STREAM_FLOATS) {
        KV_SCRATCH float w[KV_STREAM_FLOATS];
        KV_SCRATCH float s[KV_OPTIM_SLOTS_MAX][KV_STREAM_FLOATS];

        KV_INDEPENDENT
        for (size_t i = 0; i < KV_STREAM_FLOATS; i++) {
            struct elem e = rule_at(a, first + i, k, slots);

            w[i] = e.w;
            for (unsigned j = 0; j < slots; j++) {
                s[j][i] = e.s[j];
            }
        }
        kv_stream_write(a->new_weight + first, w);
        for (unsigned j = 0; j < slots; j++) {
            kv_stream_write(a->new_slot[j] + first, s[j]);
        }
    }
    kv_stream_end();
    return first;
}
#else
RULE_FN size_t rule_stream(const struct rule_arrays *a, struct step k,
                           unsigned slots)
{
    (void)a;
    (void)k;
    (void)slots;
    return 0; /* Only floats have such stores. */
}
#endif

RULE_FN void rule_block(const struct kv_optim_args *args, struct step k,
                        unsigned slots, bool stream)
{
    const struct rule_arrays a = rule_arrays(args);

    rule_plain(&a, stream ? rule_stream(&a, k, slots) : 0, k, slots);
}

/* The names are unique per rule because clang exports the clones' choosers. */
#define RULE_LOOPS RULE_PASTE(kv_optim_loops_, RULE_ID)

RULE_CLONES static void RULE_LOOPS(const struct kv_optim_args *a, struct step k,
                                   unsigned used, bool stream)
{
    if (RULE_SLOTS > 2 && used > 2) {
        stream ? rule_block(a, k, 3, true) : rule_block(a, k, 3, false);
    } else if (RULE_SLOTS > 1 && used > 1) {
        stream ? rule_block(a, k, 2, true) : rule_block(a, k, 2, false);
    } else if (RULE_SLOTS > 0 && used > 0) {
        stream ? rule_block(a, k, 1, true) : rule_block(a, k, 1, false);
    } else {
        stream ? rule_block(a, k, 0, true) : rule_block(a, k, 0, false);
    }
}

static bool rule_may_stream(const struct kv_optim_args *a, unsigned slots_used)
{
    bool ready = a->stream && kv_stream_ready(a->new_weight);

    for (unsigned i = 0; i < slots_used; i++) {
        ready = ready && kv_stream_ready(a->new_slot[i]);
    }
    return ready;
}

static void rule_update(const struct kv_optim_args *a)
{
    struct rule_step s;

    memcpy(&s, a->step, sizeof s);
    RULE_LOOPS(a, s.k, s.slots, rule_may_stream(a, s.slots));
}

#endif

static void rule_prepare(const double *p, const struct kv_optim_now *now,
                         void *step)
{
    struct rule_step s = {prepare(p, now), slots(p)};

    memcpy(step, &s, sizeof s);
}

extern const struct kv_optim RULE_PASTE(kv_optim_, RULE_ID);
extern const struct kv_optim RULE_PASTE(kv_optim_f64_, RULE_NAME);
const struct kv_optim RULE_PASTE(kv_optim_, RULE_ID) = {
    .name = RULE_STRING(RULE_NAME),
    .f64 = &RULE_PASTE(kv_optim_f64_, RULE_NAME),
    .params = params,
    .lazy = RULE_LAZY,
    .rows = RULE_ROWS,
    .adds = RULE_ADDS,
    .passes = RULE_PASSES,
    .slots = slots,
    .prepare = rule_prepare,
#if RULE_PASSES
    .measure = rule_measure,
    .absorb = rule_absorb,
#endif
    .update = rule_update,
};
