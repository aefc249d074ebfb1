/**
 * sim_plan - what one seed stands for: the job, its sizes, and how rough the
 * weather is.
 *
 * Every rank does the same number of pushes of a slice in a step, as a round
 * needs, but pulls as it likes, in an order of its own. A gradient depends on
 * the value that the rank pulled last before the step, so a lost or doubled
 * update cannot cancel out. Of a row_sparse slice it pushes and pulls some
 * rows (sim_rows), and goes on with those that it has not pulled as they were.
 *
 * In some jobs the optimizer needs norms of whole keys, which here have one
 * slice to four, on any shards. A worker that crashed between the commits of a
 * key pushes all of its slices again.
 *
 * In some jobs ranks leave the rounds for some steps: they push nothing, pull
 * what there is, and make nothing of it.
 *
 * In some jobs some keys are deleted between two steps, and made again. That is
 * a version of its own, which nobody pushes: the new first value.
 *
 * Thread:  pure.
 */
#ifndef KV_TESTS_SIM_SIM_PLAN_H
#define KV_TESTS_SIM_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/codec/codec.h"
#include "common/optim/optim.h"
#include "proto/limits.h"

#define PLAN_WORKERS_MAX 5
#define PLAN_SHARDS_MAX 3
#define PLAN_SLICES_MAX 6
#define PLAN_STEPS_MAX 12
#define PLAN_PUSHES_MAX 2 /* Of a slice in a step. */
#define PLAN_OPS_MAX 5
#define PLAN_INPUTS_MAX 2
#define PLAN_ROUNDS_MAX (PLAN_STEPS_MAX * PLAN_PUSHES_MAX + 1)
/* Elements: of 2 bytes or more, and some travel alone. */
#define PLAN_COUNT_MAX (KV_DIRECT_MIN / 2 + 1000)
#define PLAN_ROWS_MAX 20

struct plan_ops {
    uint32_t count;
    bool pull[PLAN_OPS_MAX]; /* Else a push. The last pull is the last. */
};

struct plan_slice {
    uint32_t shard, key_id, index;
    enum kv_dtype dtype;
    size_t count, size;
    bool twin;     /* Of the slice before it: they can travel as a span. */
    uint32_t rows; /* Of a row_sparse slice; 0: it is dense. */
    size_t row_length;
    uint32_t pushes[PLAN_STEPS_MAX];
    uint32_t before[PLAN_STEPS_MAX + 1]; /* Pushes in the steps before. */
};

/* Chances of a fault, in 100,000 actions. */
struct plan_weather {
    uint32_t cut, kill, crash, intruder, shed;
    uint32_t chaos_steps;
    uint32_t held_factor; /* Held bytes count that often. */
    uint32_t window;      /* Frames that fit into a queue or onto a wire. */
    uint32_t room;        /* Bytes that are sent at a time, at most. */
};

struct plan {
    uint64_t seed;
    uint32_t workers, shards, slices, steps;
    uint32_t width; /* Slices of a key; the last one may have fewer. */
    bool async;
    bool measured;         /* Norms; the slices of a key go together. */
    bool crowded;          /* Large slices, no memory, and orders that cross. */
    const char *optimizer; /* NULL: none. */
    const char *params;
    uint32_t hyper_step; /* The learning rate falls before this one; or 0... */
    double hyper;
    uint32_t hyper_ahead; /* ...or that many rounds after all have come. */
    bool own; /* Then, too, one slice gets a multiplier of its own. */
    uint32_t own_slice, own_ahead;
    double own_mult;
    bool everyone_sets;   /* Not only rank 0 sets the optimizer. */
    uint32_t again_step;  /* The last rank sets it again before this; or 0. */
    uint32_t delete_step; /* Keys are deleted, and made again, before this... */
    bool deleted[PLAN_SLICES_MAX];                  /* ...these; or 0. */
    const struct kv_codec *codec[PLAN_WORKERS_MAX]; /* NULL: none. */
    uint32_t inputs[PLAN_WORKERS_MAX];              /* Tensors of a push. */
    struct plan_slice slice[PLAN_SLICES_MAX];
    bool away[PLAN_WORKERS_MAX]
             [PLAN_STEPS_MAX + 1]; /* After the end as before. */
    struct plan_ops ops[PLAN_WORKERS_MAX][PLAN_STEPS_MAX][PLAN_SLICES_MAX];
    /* The version that the rank has when the step begins. */
    uint32_t base[PLAN_WORKERS_MAX][PLAN_STEPS_MAX][PLAN_SLICES_MAX];
    struct plan_weather weather;
};

void plan_make(struct plan *p, uint64_t seed);

/* The next number of a sequence; the plan's own and the run's. */
uint64_t plan_draw(uint64_t *state);

/* The value that rank 0 opens a slice with, the first time or again. */
void plan_first_value(const struct plan *p, uint32_t slice, bool again,
                      void *out);

/* Is that version of a slice the first value of a key that is made again? */
bool plan_reborn(const struct plan *p, uint32_t slice, uint32_t version);

/* The number of a deletion, from 1, in the order of the keys; the last that a
 * slice's shard is told of. */
uint64_t plan_deletion(const struct plan *p, uint32_t slice);
uint64_t plan_last_deletion(const struct plan *p, uint32_t slice);

/* Tensor `input` of the rank's push number `round` (from 1), in the slice's
 * dtype, made from the value that it pulled last. */
void plan_gradient(const struct plan *p, uint32_t rank, uint32_t slice,
                   uint32_t round, uint32_t input, const void *base, void *out);

/* It is back at this step: a member that was none in the step before. */
bool plan_comes_back(const struct plan *p, uint32_t rank, uint32_t step);

/* The step of that push. */
uint32_t plan_step_of(const struct plan *p, uint32_t slice, uint32_t round);

/* Slices of the key that this one is of. */
uint32_t plan_key_slices(const struct plan *p, uint32_t slice);

/* From which round on: as it is announced, 0 being the next, and as it holds
 * for a slice. */
uint64_t plan_hyper_round(const struct plan *p);
uint64_t plan_own_round(const struct plan *p);
bool plan_hyper_holds(const struct plan *p, uint32_t slice, uint64_t round);
bool plan_own_holds(const struct plan *p, uint32_t slice, uint64_t round);

/* Under async: the element that only this push changes, by 1, or the slice's
 * count when it is too small for that. */
size_t plan_mark(const struct plan *p, uint32_t rank, uint32_t slice,
                 uint32_t round);

#endif
