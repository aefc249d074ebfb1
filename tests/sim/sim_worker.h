/**
 * sim_worker - one training process: an app that follows the plan, and a
 * courier for each shard.
 *
 *   OPENING -> SETTING -> STEPPING -> ... -> DONE
 *      ^                     |
 *      +------ crash --------+   the app goes on from its last whole step
 *
 * Thread:  one.
 * Memory:  all but what the app has saved goes with the process.
 */
#ifndef KV_TESTS_SIM_SIM_WORKER_H
#define KV_TESTS_SIM_SIM_WORKER_H

#include "tests/sim/sim_net.h"
#include "tests/sim/sim_plan.h"
#include "worker/courier.h"

enum sim_app {
    SIM_APP_OPENING,
    SIM_APP_SETTING,
    SIM_APP_STEPPING,
    SIM_APP_DONE
};

/* A part with its tensors, which are whole ones: the slice lies within. */
struct sim_op {
    struct part part;
    uint32_t slice;
    uint32_t version; /* Pushes of this rank before it, and with it. */
    unsigned char *tensors[PLAN_INPUTS_MAX]; /* Owned. */
    const void *inputs[PLAN_SLICES_MAX]; /* Of a span, one for each slice. */
    void *outs[PLAN_SLICES_MAX];
    struct sim_op *next; /* In the same span. */
    uint32_t set;        /* Of rows. */
    struct part_rows rows;
    int64_t row_numbers[PLAN_ROWS_MAX];
};

/* Of a push of a key. */
struct sim_norms {
    struct norms *sums; /* NULL: none has told, or all slices are over. */
    uint32_t over;      /* Slices. */
};

/* What outlives a crash: the app's checkpoint of its last whole step. */
struct sim_saved {
    uint32_t step;
    bool set, again; /* The optimizer is; once more. */
    bool dropped;    /* It knows that keys are deleted. */
    bool hyper;      /* The learning rate has been lowered. */
    uint32_t back;   /* The step at which it became a member again. */
    unsigned char *value[PLAN_SLICES_MAX]; /* As pulled. */
};

/* The way to one shard. */
struct sim_lane {
    struct sim_worker *worker;
    struct courier *courier;
    struct sim_conn *conn; /* NULL: none. */
};

struct sim_worker {
    struct sim *sim;
    uint32_t rank;
    unsigned process;
    uint64_t incarnation, token;
    enum sim_app app;
    struct sim_saved saved;
    struct bufpool buffers;
    struct sim_lane lanes[PLAN_SHARDS_MAX];
    struct slice slices[2][PLAN_SLICES_MAX]; /* Of the first keys; again. */
    bool reborn;                /* Deleted keys are those made again... */
    bool renewed;               /* ...and open. */
    bool gone[PLAN_SLICES_MAX]; /* The server said so. */
    struct request opens[PLAN_SLICES_MAX], settings[PLAN_SHARDS_MAX];
    uint32_t asked, answered; /* Requests of this state of the app. */
    bool changed_all;         /* The rate for all; one slice may follow. */
    uint32_t pushed[PLAN_SLICES_MAX];
    uint32_t found[PLAN_SLICES_MAX]; /* Versions, when they were opened. */
    uint32_t
        skipped[PLAN_SLICES_MAX]; /* The last version said to be left out. */
    bool out;                     /* Of the rounds, in this life... */
    bool joining;                 /* ...and on the way back. */
    bool begun;                   /* The step's ops are made. */
    struct sim_op ops[PLAN_SLICES_MAX][PLAN_OPS_MAX];
    uint32_t next_op[PLAN_SLICES_MAX];
    uint32_t left, unanswered; /* Ops of the step. */
    struct sim_norms norms[PLAN_SLICES_MAX][PLAN_ROUNDS_MAX + 1]; /* By key. */
    uint64_t stalls;
};

/* The slice as the app knows it, and which one that is. */
struct slice *sim_slice(struct sim_worker *w, uint32_t i);
uint32_t sim_index_of(const struct sim_worker *w, const struct slice *s);

/* A slice's round on the wire is that of the versions of its key's life, above
 * the last deletion's number. */
uint64_t sim_round(const struct sim_worker *w, uint32_t i, uint32_t version);
uint32_t sim_version(const struct sim_worker *w, uint32_t i, uint64_t round);

void sim_worker_make(struct sim *sim, uint32_t rank);

/* A new life: from nothing but what the app has saved. */
void sim_worker_start(struct sim_worker *w);
void sim_worker_crash(struct sim_worker *w);

/* End in good order. */
void sim_worker_audit(struct sim_worker *w);
void sim_worker_free_saved(struct sim_worker *w);

/* Each does one thing, or says that there is none to do. */
bool sim_worker_app(struct sim_worker *w);
bool sim_worker_connect(struct sim_worker *w, uint32_t shard);
bool sim_worker_pump(struct sim_worker *w, uint32_t shard);
bool sim_worker_receive(struct sim_worker *w, struct sim_conn *c);
bool sim_worker_notice(struct sim_worker *w, struct sim_conn *c);

#endif
