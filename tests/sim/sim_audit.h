/**
 * sim_audit - what must hold, looked up in the arena itself.
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_AUDIT_H
#define KV_TESTS_SIM_SIM_AUDIT_H

#include "tests/sim/sim_server.h"

/* A message to this rank: does it acknowledge only what is committed? */
void sim_audit_answer(struct sim_server *s, uint32_t rank,
                      const struct message *m);

/* After recovery: everything acknowledged is there, with the right bits. */
void sim_audit_recovered(struct sim_server *s);

/* At the end of the job: all values and state are those of the oracle. */
void sim_audit_final(struct sim_server *s);

/* Nothing else is in the arena. */
void sim_audit_blocks(struct sim_server *s);

#endif
