#include "tests/sim/sim_spoil.h"

#include "tests/sim/sim_rows.h"

#define JOBS 3    /* One of so many has such pushes... */
#define PUSHES 16 /* ...and there it is one of so many. */

bool sim_spoils(const struct plan *p, uint32_t rank, uint32_t slice,
                uint32_t round)
{
    uint64_t state = p->seed * 1000003 + rank * 4099 + slice * 257 + round;

    return p->optimizer != NULL && !p->async && p->seed % JOBS == 0 &&
           plan_draw(&state) % PUSHES == 0 &&
           sim_rows_pushed(p, rank, slice, round) != 0;
}

static uint32_t lowest(const struct plan *p, uint32_t slice, uint32_t round)
{
    uint32_t step = plan_step_of(p, slice, round);

    for (uint32_t rank = 0; rank < p->workers; rank++) {
        if (!p->away[rank][step] && sim_spoils(p, rank, slice, round)) {
            return rank;
        }
    }
    return SIM_NOBODY;
}

bool sim_spoiled(const struct plan *p, uint32_t slice, uint32_t round,
                 uint32_t *culprit)
{
    uint32_t other = slice ^ 1; /* Of a key with two. */
    bool shared = p->measured && plan_key_slices(p, slice) == 2;

    *culprit = lowest(p, slice, round);
    return *culprit != SIM_NOBODY ||
           (shared && lowest(p, other, round) != SIM_NOBODY);
}
