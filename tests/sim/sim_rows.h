/**
 * sim_rows - which rows of a row_sparse slice a rank pushes and pulls.
 *
 * A set of rows has a bit for each; SIM_ROWS_ALL is the whole slice, as one
 * dense value, and the only set that a dense slice has.
 *
 * Thread:  pure.
 */
#ifndef KV_TESTS_SIM_SIM_ROWS_H
#define KV_TESTS_SIM_SIM_ROWS_H

#include "tests/sim/sim_plan.h"
#include "worker/courier.h"

#define SIM_ROWS_ALL UINT32_MAX

/* Of push number `round` of the rank; maybe none. */
uint32_t sim_rows_pushed(const struct plan *p, uint32_t rank, uint32_t slice,
                         uint32_t round);

/* Of op number `op` of the step, which is a pull; at least one. */
uint32_t sim_rows_pulled(const struct plan *p, uint32_t rank, uint32_t slice,
                         uint32_t step, uint32_t op);

static inline bool sim_rows_has(uint32_t set, size_t row)
{
    return (set >> row & 1) != 0;
}

/* These rows of a whole value, one behind the other, and back; returns their
 * bytes. Packing may be in place. */
size_t sim_rows_pack(const struct plan_slice *s, uint32_t set,
                     const void *whole, void *out);
size_t sim_rows_unpack(const struct plan_slice *s, uint32_t set,
                       const void *packed, void *whole);

/* As a courier wants them; not for SIM_ROWS_ALL. */
void sim_rows_list(const struct plan *p, uint32_t slice, uint32_t set,
                   int64_t *rows, struct part_rows *out);

#endif
