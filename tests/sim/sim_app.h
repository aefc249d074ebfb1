/**
 * sim_app - what the training program of a worker does: open, set the
 * optimizer (sim_app.c), leave the rounds and come back (sim_member.c), delete
 * keys and make them again (sim_delete.c), step by step push gradients and pull
 * values (sim_step.c).
 *
 * Thread:  one.
 */
#ifndef KV_TESTS_SIM_SIM_APP_H
#define KV_TESTS_SIM_SIM_APP_H

#include "tests/sim/sim_worker.h"

/* Ask every shard, one by one; true once all have answered. */
bool sim_ask_all(struct sim_worker *w, const struct message *m, bool *acted);

/* The end of a request that is answered Ok, and counts. */
void sim_on_ok(struct request *r, enum kv_status status, const char *text,
               const struct message *reply, const void *payload,
               size_t payload_size);

/* Has everyone come as far as this step, with the settings that it needs? */
bool sim_all_are_at(const struct sim *sim, uint32_t step);

/* Be in the rounds of this step, or out of them, as the plan says. */
bool sim_member_enter(struct sim_worker *w, bool *acted);

/* The rounds at which the rank may find a slice when it opens it. */
void sim_member_bounds(const struct sim_worker *w, uint32_t slice,
                       uint64_t *low, uint64_t *high);

/* Make all ops of the step; submit one; save what the step has pulled. */
void sim_step_begin(struct sim_worker *w);
void sim_step_submit(struct sim_worker *w);
void sim_step_end(struct sim_worker *w);

/* Open the slice that the app means now. Answered in any case. */
void sim_open_slice(struct sim_worker *w, uint32_t i);

/* Delete what the plan says, or learn of it, and make it again. */
bool sim_delete_enter(struct sim_worker *w, bool *acted);

/* The server says that a slice is gone, or else refuses it. */
void sim_delete_refused(struct sim_worker *w, uint32_t i, enum kv_status status,
                        const char *text);

void sim_app_part_done(struct sim_worker *w, struct part *p,
                       enum kv_status status, const char *text, uint64_t round);

#endif
