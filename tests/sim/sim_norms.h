/**
 * sim_norms - a worker's part in norms of whole keys: the real norms.c, for
 * each push of a key until all of its slices are answered.
 *
 * In no job is a push refused, and so each slice has to tell what it has
 * measured before it is committed, in whatever life of its server.
 *
 * Thread:  one.
 * Memory:  the worker's: it goes with the process.
 */
#ifndef KV_TESTS_SIM_SIM_NORMS_H
#define KV_TESTS_SIM_SIM_NORMS_H

#include "tests/sim/sim_worker.h"

/* A server tells what it has measured of a slice. */
void sim_norms_tell(struct sim_worker *w, const struct slice *slice,
                    const struct message *m);

/* The push of that version of a slice is committed. */
void sim_norms_over(struct sim_worker *w, uint32_t slice, uint32_t version);

#endif
