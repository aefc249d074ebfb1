/**
 * sim_app - what the training program of a worker does: open, set the
 * optimizer, then step by step push gradients and pull values.
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_APP_H
#define KV_TESTS_SIM_SIM_APP_H

#include "tests/sim/sim_worker.h"

void sim_app_part_done(struct sim_worker *w, struct part *p,
                       enum kv_status status, const char *text, uint64_t round);

#endif
