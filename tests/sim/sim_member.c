#include <string.h>

#include "tests/sim/sim.h"
#include "tests/sim/sim_app.h"

/* Leave or join, at every shard. */
static bool set_member(struct sim_worker *w, bool in, bool *acted)
{
    struct message m = {.kind = MESSAGE_MEMBER};

    m.member.in = in;
    if (!sim_ask_all(w, &m, acted)) {
        return false;
    }
    sim_note(w->sim, in ? "joins" : "leaves", w->rank, w->saved.step, 0);
    w->out = !in;
    return true;
}

/* It pushes what comes after all that the others have done without it. */
static void take_rounds(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    for (uint32_t i = 0; i < p->slices; i++) {
        uint32_t right = p->slice[i].before[w->saved.step];

        if (sim_slice(w, i)->pushed != right) {
            sim_fail(w->sim, "rank %u is back at round %u of slice %u, not %u",
                     w->rank, (unsigned)sim_slice(w, i)->pushed, i, right);
        }
        w->pushed[i] = right;
    }
}

/* A life that ended on the way here has a successor that is a member, and that
 * others would wait for: so it leaves first, whatever was before. */
static bool come_back(struct sim_worker *w, bool *acted)
{
    if (!w->out && !w->joining && !set_member(w, false, acted)) {
        return false;
    }
    if (!sim_all_are_at(w->sim, w->saved.step)) {
        return false;
    }
    w->joining = true;
    if (!set_member(w, true, acted)) {
        return false;
    }
    w->joining = false;
    take_rounds(w);
    w->saved.back = w->saved.step;
    return true;
}

/* Nobody begins without those that are members from this step on. */
static bool all_are_back(const struct sim *sim, uint32_t step)
{
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        if (plan_comes_back(&sim->plan, rank, step) &&
            sim->workers[rank].saved.back < step) {
            return false;
        }
    }
    return true;
}

bool sim_member_enter(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;
    uint32_t step = w->saved.step;

    if (p->away[w->rank][step]) {
        return w->out || set_member(w, false, acted);
    }
    if (plan_comes_back(p, w->rank, step) && w->saved.back < step &&
        !come_back(w, acted)) {
        return false;
    }
    return all_are_back(w->sim, step);
}

void sim_member_bounds(const struct sim_worker *w, uint32_t slice,
                       uint64_t *low, uint64_t *high)
{
    const struct plan *p = &w->sim->plan;
    const bool *away = p->away[w->rank];
    uint32_t first = w->saved.step, last = first;
    bool back = plan_comes_back(p, w->rank, first);

    if (away[first] || (back && w->saved.back < first)) {
        while (first > 0 && away[first - 1]) {
            first--;
        }
        while (last < p->steps && away[last]) {
            last++;
        }
    } else if (last < p->steps) {
        last++;
    }
    *low = p->slice[slice].before[first];
    *high = p->slice[slice].before[last];
    if (p->deleted[slice] && !w->reborn) { /* The last version of that life. */
        uint64_t end = p->slice[slice].before[p->delete_step] - 1;

        *low = *low < end ? *low : end;
        *high = *high < end ? *high : end;
    }
}
