/**
 * norms - sums of squares over a whole key, added up from those of its slices.
 *
 * For an optimizer that needs norms (lars, lamb, lans) each slice measures its
 * part of a round and tells it to every rank that pushed; a rank has links to
 * all slices, the servers have none to each other. So every rank adds up, in
 * double, in the order of the slices, and comes to the same bits.
 *
 * What was told is kept until the push is over: a slice whose server was
 * restarted tells again and needs the totals again. It may tell other sums
 * then, if a rank has joined the round since; the newest count. A slice whose
 * part of the push is over without having told, since it was refused or was
 * committed before the optimizer came, never will: it counts as zeros.
 *
 * Thread:  pure.
 * Memory:  one allocation for a push of a key, freed by norms_free().
 */
#ifndef KV_WORKER_NORMS_H
#define KV_WORKER_NORMS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/limits.h"

struct norms;

/* Of a key of so many slices, none of which has told. NULL: out of memory. */
struct norms *norms_new(uint32_t slices);
void norms_free(struct norms *n); /* NULL is fine. */

/* Which slices get norms_totals() of this pass now: none, as some have not
 * told; the one that has told again; all, as it was the last one. */
enum norms_next { NORMS_NONE, NORMS_ONE, NORMS_ALL };

/* `sum` has KV_NORMS_MAX sums of squares over slice `index`. */
enum norms_next norms_tell(struct norms *n, uint32_t index, uint32_t pass,
                           const double *sum);

/* Its part of the push is over. NORMS_NONE or NORMS_ALL; false in *told if it
 * has not told this pass. */
enum norms_next norms_close(struct norms *n, uint32_t index, uint32_t pass,
                            bool *told);

/* KV_NORMS_MAX sums; after NORMS_ONE or NORMS_ALL. */
const double *norms_totals(const struct norms *n, uint32_t pass);

#endif
