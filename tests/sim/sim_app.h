/**
 * sim_app - what the training program of a worker does: open, set the
 * optimizer (sim_app.c), then step by step push gradients and pull values
 * (sim_step.c).
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_APP_H
#define KV_TESTS_SIM_SIM_APP_H

#include "tests/sim/sim_worker.h"

/* Make all ops of the step; submit one; save what the step has pulled. */
void sim_step_begin(struct sim_worker *w);
void sim_step_submit(struct sim_worker *w);
void sim_step_end(struct sim_worker *w);

void sim_app_part_done(struct sim_worker *w, struct part *p,
                       enum kv_status status, const char *text, uint64_t round);

#endif
