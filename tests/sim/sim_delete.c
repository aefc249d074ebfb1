/* Keys that are deleted, and made again, while others may still pull the old
 * ones. Of a key that nobody finds any more, a rank that comes back learns from
 * the root, which is not played here: it is told when another one knows. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_app.h"

/* --- Slices and rounds ---------------------------------------------------- */

struct slice *sim_slice(struct sim_worker *w, uint32_t i)
{
    return &w->slices[w->reborn && w->sim->plan.deleted[i]][i];
}

uint32_t sim_index_of(const struct sim_worker *w, const struct slice *s)
{
    return (uint32_t)((size_t)(s - &w->slices[0][0]) % PLAN_SLICES_MAX);
}

uint64_t sim_round(const struct sim_worker *w, uint32_t i, uint32_t version)
{
    const struct plan *p = &w->sim->plan;

    if (!w->reborn || !p->deleted[i]) {
        return version;
    }
    return (plan_last_deletion(p, i) << KV_ROUND_BITS) + version -
           p->slice[i].before[p->delete_step];
}

uint32_t sim_version(const struct sim_worker *w, uint32_t i, uint64_t round)
{
    uint32_t version = (uint32_t)message_rounds(round);

    if (w->reborn && w->sim->plan.deleted[i]) {
        version += w->sim->plan.slice[i].before[w->sim->plan.delete_step];
    }
    if (sim_round(w, i, version) != round) {
        sim_fail(w->sim, "rank %u slice %u has round %llx", w->rank, i,
                 (unsigned long long)round);
    }
    return version;
}

/* --- Deletion ------------------------------------------------------------- */

static bool anyone_knows(const struct sim *sim)
{
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        if (sim->workers[rank].saved.dropped) {
            return true;
        }
    }
    return false;
}

/* Somebody is past all rounds of the old keys. */
static bool may_be_gone(const struct sim_worker *w, uint32_t i)
{
    const struct sim *sim = w->sim;
    bool begun = false;

    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        begun = begun || sim->workers[rank].saved.step >= sim->plan.delete_step;
    }
    return sim->plan.deleted[i] && !w->reborn && begun;
}

void sim_delete_refused(struct sim_worker *w, uint32_t i, enum kv_status status,
                        const char *text)
{
    if (status != KV_ENOTFOUND || !may_be_gone(w, i)) {
        sim_fail(w->sim, "rank %u slice %u is refused in step %u: %s: %s",
                 w->rank, i, w->saved.step, kv_strstatus(status), text);
    }
    w->sim->faults.gone += !w->gone[i];
    w->gone[i] = true;
}

static void drop(struct sim_worker *w, uint32_t i)
{
    const struct plan_slice *plan = &w->sim->plan.slice[i];
    struct request *r = &w->opens[i];

    memset(r, 0, sizeof *r);
    r->message.kind = MESSAGE_DROP;
    r->message.drop.key_id = plan->key_id;
    r->message.drop.slice = plan->index;
    r->message.drop.deletion = plan_deletion(&w->sim->plan, i);
    r->done = sim_on_ok;
    r->owner = w;
    courier_request(w->lanes[plan->shard].courier, r);
}

/* One deleted slice after the other; true once all have answered. */
static bool for_each(struct sim_worker *w,
                     void (*call)(struct sim_worker *w, uint32_t i),
                     bool *acted)
{
    const struct plan *p = &w->sim->plan;
    uint32_t count = 0, i;

    while (w->asked < p->slices) {
        i = (w->asked++ + w->rank) % p->slices;
        if (p->deleted[i]) {
            call(w, i);
            *acted = true;
            return false;
        }
    }
    for (i = 0; i < p->slices; i++) {
        count += p->deleted[i];
    }
    if (w->answered < count) {
        return false;
    }
    w->asked = 0;
    w->answered = 0;
    *acted = true;
    return true;
}

/* Every second rank only hears of it. What it knew of the old slices stays
 * until they are replaced. */
static bool learn(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;

    if (w->rank % 2 == 1) {
        return anyone_knows(w->sim);
    }
    if (!for_each(w, drop, acted)) {
        return false;
    }
    for (uint32_t i = 0; i < p->slices; i++) {
        if (p->deleted[i]) {
            courier_remove_slice(&w->slices[0][i]);
        }
    }
    return true;
}

static void know(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    sim_note(w->sim, "knows", w->rank, w->saved.step, 0);
    for (uint32_t i = 0; i < p->slices; i++) {
        if (p->deleted[i]) {
            plan_first_value(p, i, true, w->saved.value[i]);
            w->gone[i] = false;
        }
    }
    w->saved.dropped = true;
    w->reborn = true;
}

bool sim_delete_enter(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;

    if (p->delete_step == 0 || w->saved.step < p->delete_step || w->renewed) {
        return true;
    }
    if (!w->saved.dropped) {
        if (!learn(w, acted)) {
            return false;
        }
        know(w);
        *acted = true;
    }
    if (!for_each(w, sim_open_slice, acted)) {
        return false;
    }
    for (uint32_t i = 0; i < p->slices; i++) {
        if (p->deleted[i]) {
            mem_free((void *)(uintptr_t)w->opens[i].payload);
            w->opens[i].payload = NULL;
        }
    }
    w->renewed = true;
    return true;
}
