/**
 * sim_oracle - every version that every slice must have, computed straight:
 * decode, sum in rank order, rule. No server, no rounds, no messages.
 *
 * Thread:  pure.
 */
#ifndef KV_TESTS_SIM_SIM_ORACLE_H
#define KV_TESTS_SIM_SIM_ORACLE_H

#include "tests/sim/sim_plan.h"

struct oracle_slice {
    /* By version, in the slice's dtype. Under async only the first and the
     * last one: those between depend on who came when. */
    unsigned char *value[PLAN_ROUNDS_MAX + 1];
    float *state[KV_OPTIM_SLOTS_MAX]; /* After the last version. */
    unsigned states;
    uint64_t updates;
    uint64_t rounds; /* Versions that are committed in the end. */
};

struct oracle {
    struct oracle_slice slice[PLAN_SLICES_MAX];
};

void oracle_make(struct oracle *o, const struct plan *p);
void oracle_free(struct oracle *o);

/* Can this be what a pull of these rows (sim_rows) by that rank sees, whose
 * last push was `round`? `later`: or what a later pull can see. NULL, or what
 * is wrong with it. */
const char *oracle_check_pull(const struct oracle *o, const struct plan *p,
                              uint32_t rank, uint32_t slice, uint32_t round,
                              uint32_t set, const void *value, bool later);

#endif
