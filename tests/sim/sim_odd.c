#include "tests/sim/sim_odd.h"

#include "common/compute/dtype.h"
#include "tests/sim/sim_rows.h"

/* One job of so many has spoiled pushes, and there it is one of so many. */
#define SPOILED_JOBS 3
#define SPOILED_PUSHES 16

/* The same for rounds that are resets. */
#define RESET_JOBS 5
#define RESET_ROUNDS 8

/* Rank 0 has to be in it. */
bool sim_resets(const struct plan *p, uint32_t slice, uint32_t round)
{
    uint64_t state = p->seed * 7919 + slice * 4099 + round;

    return !p->async && !p->measured && p->seed % RESET_JOBS == 0 &&
           plan_draw(&state) % RESET_ROUNDS == 0 &&
           !plan_reborn(p, slice, round) &&
           !p->away[0][plan_step_of(p, slice, round)];
}

void sim_reset_value(const struct plan *p, uint32_t slice, uint32_t round,
                     void *out)
{
    static float value[PLAN_COUNT_MAX];
    const struct plan_slice *s = &p->slice[slice];

    for (size_t i = 0; i < s->count; i++) {
        value[i] = (float)((i * 31 + round * 7 + slice) % 64) - 32;
    }
    kv_from_f32(s->dtype, value, out, s->count);
}

bool sim_spoils(const struct plan *p, uint32_t rank, uint32_t slice,
                uint32_t round)
{
    uint64_t state = p->seed * 1000003 + rank * 4099 + slice * 257 + round;

    return p->optimizer != NULL && !p->async && p->seed % SPOILED_JOBS == 0 &&
           !sim_resets(p, slice, round) &&
           plan_draw(&state) % SPOILED_PUSHES == 0 &&
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
    uint32_t first = slice - p->slice[slice].index;
    bool spoiled = false;

    *culprit = lowest(p, slice, round);
    for (uint32_t i = 0; p->measured && i < plan_key_slices(p, slice); i++) {
        spoiled = spoiled || lowest(p, first + i, round) != SIM_NOBODY;
    }
    return spoiled || *culprit != SIM_NOBODY;
}
