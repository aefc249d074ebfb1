/**
 * sim_spoil - pushes that are not finite, and what becomes of their rounds.
 *
 * In some jobs with an optimizer some pushes are NaN throughout. Their round is
 * left out, for the whole key if that is measured, and each rank that is in it
 * has to be told so, and by whom, before its push is acknowledged.
 *
 * Thread:  pure.
 */
#ifndef KV_TESTS_SIM_SIM_SPOIL_H
#define KV_TESTS_SIM_SIM_SPOIL_H

#include "tests/sim/sim_plan.h"

#define SIM_NOBODY UINT32_MAX

/* Is that push? One of no rows is not. */
bool sim_spoils(const struct plan *p, uint32_t rank, uint32_t slice,
                uint32_t round);

/* Is that round of the slice left out? *culprit: the lowest rank whose push to
 * this slice is spoiled, or SIM_NOBODY. */
bool sim_spoiled(const struct plan *p, uint32_t slice, uint32_t round,
                 uint32_t *culprit);

#endif
