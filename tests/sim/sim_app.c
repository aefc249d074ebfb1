#include "tests/sim/sim_app.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_heap.h"

/* A slice lies that far into its tensor. */
#define OFFSET 256

/* --- Opening -------------------------------------------------------------- */

static void on_opened(struct request *r, enum kv_status status,
                      const char *text, const struct message *reply,
                      const void *payload, size_t payload_size)
{
    struct sim_worker *w = r->owner;
    const struct plan *p = &w->sim->plan;
    uint32_t i = (uint32_t)(r - w->opens);
    const struct plan_slice *plan = &p->slice[i];
    struct slice *s = &w->slices[i];
    uint32_t step = w->saved.step;

    (void)payload;
    (void)payload_size;
    if (status != KV_OK || reply->kind != MESSAGE_OPENED) {
        sim_fail(w->sim, "rank %u cannot open slice %u: %s", w->rank, i, text);
    }
    if (reply->opened.round < plan->before[step] ||
        (step < p->steps && reply->opened.round > plan->before[step + 1])) {
        sim_fail(w->sim, "rank %u finds slice %u at round %u in step %u",
                 w->rank, i, (unsigned)reply->opened.round, step);
    }
    s->slot = reply->opened.slot;
    s->pushed = reply->opened.round;
    s->dtype = plan->dtype;
    s->count = plan->count;
    w->pushed[i] = (uint32_t)reply->opened.round;
    KV_CHECK(courier_add_slice(w->lanes[plan->shard].courier, s) == KV_OK);
    w->answered++;
}

static void open_slice(struct sim_worker *w, uint32_t i)
{
    const struct plan_slice *plan = &w->sim->plan.slice[i];
    struct request *r = &w->opens[i];

    memset(r, 0, sizeof *r);
    r->message.kind = MESSAGE_OPEN;
    r->message.open.key_id = i / 2;
    r->message.open.slice = i % 2;
    r->message.open.dtype = plan->dtype;
    r->message.open.count = plan->count;
    if (w->rank == 0) {
        void *value = mem_alloc(plan->size);

        plan_first_value(&w->sim->plan, i, value);
        if (w->saved.step > 0) {
            memset(value, 0x11, plan->size); /* It is there; nobody looks. */
        }
        r->payload = value;
        r->payload_size = plan->size;
    }
    r->done = on_opened;
    r->owner = w;
    courier_request(w->lanes[plan->shard].courier, r);
    w->asked++;
}

static bool open_next(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    if (w->asked < p->slices) {
        /* Each rank in an order of its own. */
        open_slice(w, (w->asked + w->rank * 3) % p->slices);
        return true;
    }
    if (w->answered < p->slices) {
        return false;
    }
    for (uint32_t i = 0; i < p->slices; i++) {
        mem_free((void *)(uintptr_t)w->opens[i].payload);
    }
    w->app = SIM_APP_SETTING;
    w->asked = 0;
    w->answered = 0;
    return true;
}

/* --- Settings ------------------------------------------------------------- */

static void on_set(struct request *r, enum kv_status status, const char *text,
                   const struct message *reply, const void *payload,
                   size_t payload_size)
{
    struct sim_worker *w = r->owner;

    (void)payload;
    (void)payload_size;
    if (status != KV_OK || reply->kind != MESSAGE_OK) {
        sim_fail(w->sim, "rank %u cannot set: %s", w->rank, text);
    }
    w->answered++;
}

static void fill_optimizer(const struct plan *p, struct message *m)
{
    struct kv_optim_spec spec;
    char error[KV_OPTIM_ERROR_MAX];

    KV_CHECK(kv_optim_parse(p->optimizer, p->params, &spec, error,
                            sizeof error) == KV_OK);
    m->kind = MESSAGE_OPTIMIZER;
    m->optimizer.name = p->optimizer;
    for (uint32_t i = 0; spec.optim->params[i].name != NULL; i++) {
        m->optimizer.param[i] = spec.optim->params[i].name;
        m->optimizer.value[i] = spec.params[i];
        m->optimizer.param_count = i + 1;
    }
}

/* Ask every shard, one by one; true once all have answered. */
static bool set(struct sim_worker *w, bool hyper, bool *acted)
{
    const struct plan *p = &w->sim->plan;
    struct request *r = &w->settings[w->asked];

    if (w->asked == p->shards) {
        return w->answered == p->shards;
    }
    *acted = true;
    memset(r, 0, sizeof *r);
    if (hyper) {
        r->message.kind = MESSAGE_HYPER;
        r->message.hyper.param = "lr";
        r->message.hyper.value = p->hyper;
    } else {
        fill_optimizer(p, &r->message);
    }
    r->done = on_set;
    r->owner = w;
    courier_request(w->lanes[w->asked++].courier, r);
    return false;
}

/* Has everyone come as far as this step, with the settings that it needs? */
static bool all_are_at(const struct sim *sim, uint32_t step)
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
        if (p->optimizer != NULL && sets && !set(w, false, acted)) {
            return false;
        }
        *acted = true;
        w->saved.set = true;
        w->asked = 0;
        w->answered = 0;
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
    if (!set(w, false, acted)) {
        return false;
    }
    *acted = true;
    w->saved.again = true;
    return true;
}

static bool lower_rate(struct sim_worker *w, bool *acted)
{
    if (w->rank == 0 && !w->saved.hyper) {
        if (!set(w, true, acted)) {
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

    if (together && !all_are_at(w->sim, step)) {
        return false;
    }
    if (!set_again(w, acted)) {
        return false;
    }
    return step == 0 || step != p->hyper_step || lower_rate(w, acted);
}

/* --- Steps ---------------------------------------------------------------- */

static void make_push(struct sim_worker *w, struct sim_op *op)
{
    const struct plan *p = &w->sim->plan;
    size_t size = p->slice[op->slice].size;

    for (uint32_t i = 0; i < p->inputs[w->rank]; i++) {
        op->tensors[i] = mem_alloc(OFFSET + size);
        KV_CHECK(op->tensors[i] != NULL);
        plan_gradient(p, w->rank, op->slice, op->version, i,
                      w->saved.value[op->slice], op->tensors[i] + OFFSET);
        op->inputs[i] = op->tensors[i];
    }
    op->part.inputs = op->inputs;
    op->part.input_count = p->inputs[w->rank];
}

static void make_op(struct sim_worker *w, uint32_t slice, uint32_t n,
                    uint32_t version, bool pull)
{
    struct sim_op *op = &w->ops[slice][n];

    memset(op, 0, sizeof *op);
    op->slice = slice;
    op->version = version;
    op->part.slice = &w->slices[slice];
    op->part.pull = pull;
    op->part.priority = (int)sim_below(w->sim, 4) - (int)slice;
    op->part.offset = OFFSET;
    op->part.owner = op;
    if (pull) {
        op->tensors[0] = mem_zalloc(1, OFFSET + w->sim->plan.slice[slice].size);
        KV_CHECK(op->tensors[0] != NULL);
        op->part.out = op->tensors[0];
    } else {
        make_push(w, op);
    }
}

/* What a life before has pushed in this step is not pushed again. */
static void begin_step(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;
    uint32_t step = w->saved.step;

    w->left = 0;
    w->unanswered = 0;
    for (uint32_t i = 0; i < p->slices; i++) {
        const struct plan_ops *ops = &p->ops[w->rank][step][i];
        uint32_t version = p->slice[i].before[step];

        w->next_op[i] = 0;
        for (uint32_t n = 0; n < ops->count; n++) {
            version += !ops->pull[n];
            if (ops->pull[n]) {
                make_op(w, i, n,
                        version > w->pushed[i] ? version : w->pushed[i], true);
            } else if (version > w->pushed[i]) {
                make_op(w, i, n, version, false);
            } else {
                w->ops[i][n].part.slice = NULL;
            }
        }
        w->left += ops->count;
    }
    w->begun = true;
}

static void submit_next(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;
    uint32_t i = sim_below(w->sim, p->slices);
    struct sim_op *op;

    while (w->next_op[i] == p->ops[w->rank][w->saved.step][i].count) {
        i = (i + 1) % p->slices;
    }
    op = &w->ops[i][w->next_op[i]++];
    w->left--;
    if (op->part.slice == NULL) {
        return;
    }
    if (!op->part.pull) {
        w->pushed[i] = op->version;
    }
    w->unanswered++;
    sim_note(w->sim, op->part.pull ? "pull" : "push", w->rank, i, op->version);
    courier_submit(w->lanes[p->slice[i].shard].courier, &op->part);
}

static void end_step(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    for (uint32_t i = 0; i < p->slices; i++) {
        const struct plan_ops *ops = &p->ops[w->rank][w->saved.step][i];

        for (uint32_t n = 0; n < ops->count; n++) {
            struct sim_op *op = &w->ops[i][n];

            if (op->part.slice != NULL && op->part.pull) {
                memcpy(w->saved.value[i], op->tensors[0] + OFFSET,
                       p->slice[i].size);
            }
            for (uint32_t t = 0; op->part.slice != NULL && t < PLAN_INPUTS_MAX;
                 t++) {
                mem_free(op->tensors[t]);
            }
        }
    }
    sim_note(w->sim, "step", w->rank, w->saved.step, 0);
    w->saved.step++;
    w->begun = false;
}

void sim_app_part_done(struct sim_worker *w, struct part *p,
                       enum kv_status status, const char *text, uint64_t round)
{
    const struct sim_op *op = p->owner;
    const char *wrong;

    if (status != KV_OK) {
        sim_fail(w->sim, "rank %u slice %u round %u: %s: %s", w->rank,
                 op->slice, op->version, kv_strstatus(status), text);
    }
    if (round != op->version) {
        sim_fail(w->sim, "rank %u slice %u: a %s of round %u was answered %u",
                 w->rank, op->slice, p->pull ? "pull" : "push", op->version,
                 (unsigned)round);
    }
    w->unanswered--;
    if (!p->pull) {
        return;
    }
    wrong = oracle_check_pull(&w->sim->oracle, &w->sim->plan, w->rank,
                              op->slice, op->version, op->tensors[0] + OFFSET);
    if (wrong != NULL) {
        sim_fail(w->sim, "rank %u slice %u round %u: %s", w->rank, op->slice,
                 op->version, wrong);
    }
}

static bool step(struct sim_worker *w)
{
    bool acted = false;

    if (w->saved.step == w->sim->plan.steps) {
        w->app = SIM_APP_DONE;
        return true;
    }
    if (!w->begun) {
        if (!enter_step(w, &acted)) {
            return acted;
        }
        begin_step(w);
        return true;
    }
    if (w->left > 0) {
        submit_next(w);
        return true;
    }
    if (w->unanswered > 0) {
        return false;
    }
    end_step(w);
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
