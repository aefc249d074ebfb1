/**
 * sim_odd - rounds that are no updates.
 *
 * In some jobs some rounds of a slice are resets: rank 0 brings a new value,
 * the others nothing, and the optimizer's state of the slice begins anew.
 *
 * In some jobs with an optimizer some pushes are NaN throughout. Their round is
 * left out, for the whole key if that is measured, and each rank that is in it
 * has to be told so, and by whom, before its push is acknowledged.
 *
 * Thread:  pure.
 */
#ifndef KV_TESTS_SIM_SIM_ODD_H
#define KV_TESTS_SIM_SIM_ODD_H

#include "tests/sim/sim_plan.h"

/* Is that round of the slice a reset, and to which value? */
bool sim_resets(const struct plan *p, uint32_t slice, uint32_t round);
void sim_reset_value(const struct plan *p, uint32_t slice, uint32_t round,
                     void *out);

#define SIM_NOBODY UINT32_MAX

/* Is that push? One of no rows is not. */
bool sim_spoils(const struct plan *p, uint32_t rank, uint32_t slice,
                uint32_t round);

/* Is that round of the slice left out? *culprit: the lowest rank whose push to
 * this slice is spoiled, or SIM_NOBODY. */
bool sim_spoiled(const struct plan *p, uint32_t slice, uint32_t round,
                 uint32_t *culprit);

#endif
