#include "tests/sim/sim_norms.h"

#include "common/base/check.h"
#include "tests/sim/sim.h"
#include "worker/norms.h"

static struct sim_norms *place_of(struct sim_worker *w, uint32_t slice,
                                  uint32_t version)
{
    return &w->norms[w->sim->plan.slice[slice].key_id][version];
}

/* To those whose push of that version waits. */
static void send_totals(struct sim_worker *w, uint32_t first, uint32_t count,
                        uint32_t version, const struct norms *n, uint32_t pass)
{
    for (uint32_t i = first; i < first + count; i++) {
        const struct slice *s = sim_slice(w, i);
        const struct part *push = courier_sent_push(s);

        if (push != NULL && push->round == sim_round(w, i, version)) {
            courier_totals(s, pass, norms_totals(n, pass));
        }
    }
}

void sim_norms_tell(struct sim_worker *w, const struct slice *slice,
                    const struct message *m)
{
    const struct plan *p = &w->sim->plan;
    uint32_t i = sim_index_of(w, slice), index = p->slice[i].index;
    uint32_t count = plan_key_slices(p, i), pass = m->norms.pass;
    uint32_t version = sim_version(w, i, m->norms.round);
    struct sim_norms *n = place_of(w, i, version);

    if (count == 1) {
        sim_fail(w->sim, "slice %u is a whole key, and tells its norms", i);
    }
    if (n->sums == NULL) {
        n->sums = norms_new(count);
        KV_CHECK(n->sums != NULL);
    }
    switch (norms_tell(n->sums, index, pass, m->norms.sum)) {
    case NORMS_ALL:
        send_totals(w, i - index, count, version, n->sums, pass);
        break;
    case NORMS_ONE:
        send_totals(w, i, 1, version, n->sums, pass);
        w->sim->faults.retold++;
        break;
    case NORMS_NONE:
        break;
    }
}

/* All passes of the rule; those beyond are over for all. */
static bool has_told(const struct plan *p, struct norms *n, uint32_t index)
{
    unsigned passes = kv_optim_find(p->optimizer)->passes;
    bool all = true;

    for (uint32_t pass = 0; pass < KV_PASSES_MAX; pass++) {
        bool told;

        (void)norms_close(n, index, pass, &told);
        all = all && (told || pass >= passes);
    }
    return all;
}

void sim_norms_over(struct sim_worker *w, uint32_t slice, uint32_t version)
{
    const struct plan *p = &w->sim->plan;
    struct sim_norms *n = place_of(w, slice, version);

    if (!p->measured || plan_key_slices(p, slice) == 1) {
        return;
    }
    if (n->sums == NULL || !has_told(p, n->sums, p->slice[slice].index)) {
        sim_fail(w->sim,
                 "rank %u slice %u: round %u was committed without its norms",
                 w->rank, slice, version);
    }
    if (++n->over == plan_key_slices(p, slice)) {
        norms_free(n->sums);
        n->sums = NULL;
    }
}
