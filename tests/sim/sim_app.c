#include "tests/sim/sim_app.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_heap.h"

/* --- Opening -------------------------------------------------------------- */

static void on_opened(struct request *r, enum kv_status status,
                      const char *text, const struct message *reply,
                      const void *payload, size_t payload_size)
{
    struct sim_worker *w = r->owner;
    const struct plan *p = &w->sim->plan;
    uint32_t i = (uint32_t)(r - w->opens);
    const struct plan_slice *plan = &p->slice[i];
    struct slice *s = sim_slice(w, i);
    uint64_t low, high;

    (void)payload;
    (void)payload_size;
    w->answered++;
    if (status == KV_EAGAIN) {
        sim_delete_refused(w, i, KV_ENOTFOUND, text);
        return;
    }
    if (status != KV_OK || reply->kind != MESSAGE_OPENED) {
        sim_fail(w->sim, "rank %u cannot open slice %u: %s", w->rank, i, text);
    }
    w->pushed[i] = sim_version(w, i, reply->opened.round);
    sim_member_bounds(w, i, &low, &high);
    if (w->pushed[i] < low || w->pushed[i] > high) {
        sim_fail(w->sim, "rank %u finds slice %u at round %u in step %u",
                 w->rank, i, w->pushed[i], w->saved.step);
    }
    s->slot = reply->opened.slot;
    s->pushed = reply->opened.round;
    s->dtype = plan->dtype;
    s->count = (uint32_t)plan->count;
    KV_CHECK(courier_add_slice(w->lanes[plan->shard].courier, s) == KV_OK);
}

void sim_open_slice(struct sim_worker *w, uint32_t i)
{
    const struct plan *p = &w->sim->plan;
    const struct plan_slice *plan = &p->slice[i];
    struct request *r = &w->opens[i];
    bool again = w->reborn && p->deleted[i];
    uint32_t first = again ? p->delete_step : 0;

    memset(r, 0, sizeof *r);
    r->message.kind = MESSAGE_OPEN;
    r->message.open.key_id = plan->key_id + (again ? SIM_AGAIN : 0);
    r->message.open.slice = plan->index;
    r->message.open.deletions = again ? PLAN_SLICES_MAX : 0;
    r->message.open.dtype = plan->dtype;
    r->message.open.count = plan->count;
    r->message.open.slices = plan_key_slices(&w->sim->plan, i);
    r->message.open.row_length = plan->row_length;
    if (w->rank == 0) {
        void *value = mem_alloc(plan->size);

        plan_first_value(p, i, again, value);
        if (w->saved.step > first) {
            memset(value, 0x11, plan->size); /* It is there; nobody looks. */
        }
        r->payload = value;
        r->payload_size = plan->size;
    }
    r->done = on_opened;
    r->owner = w;
    courier_request(w->lanes[plan->shard].courier, r);
}

/* A push that only some slices of a key have committed goes to all again. */
static void level_keys(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    memcpy(w->found, w->pushed, sizeof w->found);
    for (uint32_t i = 0; p->measured && i < p->slices; i++) {
        if (p->slice[i].index == 0) {
            courier_level(sim_slice(w, i), plan_key_slices(p, i));
        }
        w->pushed[i] = sim_version(w, i, sim_slice(w, i)->pushed);
        w->sim->faults.torn += w->pushed[i] < w->found[i];
    }
}

static bool open_next(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    w->reborn = w->saved.dropped;
    w->renewed = w->saved.dropped;
    if (w->asked < p->slices) {
        /* Each rank in an order of its own. */
        sim_open_slice(w, (w->asked++ + w->rank * 3) % p->slices);
        return true;
    }
    if (w->answered < p->slices) {
        return false;
    }
    for (uint32_t i = 0; i < p->slices; i++) {
        mem_free((void *)(uintptr_t)w->opens[i].payload);
    }
    level_keys(w);
    w->app = SIM_APP_SETTING;
    w->asked = 0;
    w->answered = 0;
    return true;
}

/* --- Settings ------------------------------------------------------------- */

void sim_on_ok(struct request *r, enum kv_status status, const char *text,
               const struct message *reply, const void *payload,
               size_t payload_size)
{
    struct sim_worker *w = r->owner;

    (void)payload;
    (void)payload_size;
    if (status != KV_OK || reply->kind != MESSAGE_OK) {
        sim_fail(w->sim, "rank %u is refused a request: %s", w->rank, text);
    }
    w->answered++;
}

/* Ask `count` shards from the first one on, one by one; true once all have
 * answered. */
static bool ask(struct sim_worker *w, const struct message *m, uint32_t first,
                uint32_t count, bool *acted)
{
    struct request *r = &w->settings[w->asked];

    if (w->asked == count) {
        if (w->answered < count) {
            return false;
        }
        w->asked = 0;
        w->answered = 0;
        *acted = true;
        return true;
    }
    *acted = true;
    memset(r, 0, sizeof *r);
    r->message = *m;
    r->done = sim_on_ok;
    r->owner = w;
    courier_request(w->lanes[first + w->asked++].courier, r);
    return false;
}

bool sim_ask_all(struct sim_worker *w, const struct message *m, bool *acted)
{
    return ask(w, m, 0, w->sim->plan.shards, acted);
}

static bool set(struct sim_worker *w, bool *acted)
{
    struct message m = {.kind = MESSAGE_OPTIMIZER};

    m.optimizer.name = w->sim->plan.optimizer;
    m.optimizer.params = w->sim->plan.params;
    return sim_ask_all(w, &m, acted);
}

static bool change_all(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;
    struct message m = {.kind = MESSAGE_HYPER};

    m.hyper.param = "lr";
    m.hyper.value = p->hyper;
    m.hyper.round = plan_hyper_round(p);
    return sim_ask_all(w, &m, acted);
}

static bool change_one(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;
    struct message m = {.kind = MESSAGE_HYPER};

    m.hyper.param = "lr_mult";
    m.hyper.value = p->own_mult;
    m.hyper.round = plan_own_round(p);
    m.hyper.one = true;
    m.hyper.key_id = p->slice[p->own_slice].key_id;
    m.hyper.slice = p->slice[p->own_slice].index;
    return ask(w, &m, p->slice[p->own_slice].shard, 1, acted);
}

bool sim_all_are_at(const struct sim *sim, uint32_t step)
{
    for (uint32_t rank = 0; rank < sim->plan.workers; rank++) {
        const struct sim_saved *saved = &sim->workers[rank].saved;

        if (saved->step < step || !saved->set) {
            return false;
        }
    }
    return true;
}

static bool prepare(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;
    bool sets = w->rank == 0 || p->everyone_sets;

    if (!w->saved.set) {
        if (p->optimizer != NULL && sets && !set(w, acted)) {
            return false;
        }
        *acted = true;
        w->saved.set = true;
    }
    return true;
}

/* The same optimizer again changes nothing, whenever it comes. */
static bool set_again(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;

    if (p->again_step == 0 || w->saved.step != p->again_step ||
        w->rank != p->workers - 1 || w->saved.again) {
        return true;
    }
    if (!set(w, acted)) {
        return false;
    }
    *acted = true;
    w->saved.again = true;
    return true;
}

static bool lower_rate(struct sim_worker *w, bool *acted)
{
    if (w->rank == 0 && !w->saved.hyper) {
        if (!w->changed_all && !change_all(w, acted)) {
            return false;
        }
        w->changed_all = true;
        if (w->sim->plan.own && !change_one(w, acted)) {
            return false;
        }
        *acted = true;
        w->saved.hyper = true;
    }
    return w->sim->workers[0].saved.hyper;
}

static bool enter_step(struct sim_worker *w, bool *acted)
{
    const struct plan *p = &w->sim->plan;
    uint32_t step = w->saved.step;
    bool together = step == 0 || step == p->hyper_step;

    if (!sim_member_enter(w, acted)) {
        return false;
    }
    if (together && !sim_all_are_at(w->sim, step)) {
        return false;
    }
    if (!set_again(w, acted) || !sim_delete_enter(w, acted)) {
        return false;
    }
    return step == 0 || step != p->hyper_step || lower_rate(w, acted);
}

/* --- Steps ---------------------------------------------------------------- */

static bool step(struct sim_worker *w)
{
    bool acted = false;

    if (w->saved.step == w->sim->plan.steps) {
        if (sim_member_enter(w, &acted)) {
            w->app = SIM_APP_DONE;
            acted = true;
        }
        return acted;
    }
    if (!w->begun) {
        if (!enter_step(w, &acted)) {
            return acted;
        }
        sim_step_begin(w);
        return true;
    }
    if (w->left > 0) {
        sim_step_submit(w);
        return true;
    }
    if (w->unanswered > 0) {
        return false;
    }
    sim_step_end(w);
    return true;
}

bool sim_worker_app(struct sim_worker *w)
{
    unsigned before = sim_heap_enter(w->process);
    bool acted = false;

    switch (w->app) {
    case SIM_APP_OPENING:
        acted = open_next(w);
        break;
    case SIM_APP_SETTING:
        if (prepare(w, &acted)) {
            w->app = SIM_APP_STEPPING;
            acted = true;
        }
        break;
    case SIM_APP_STEPPING:
        acted = step(w);
        break;
    case SIM_APP_DONE:
        break;
    }
    sim_heap_enter(before);
    return acted;
}
