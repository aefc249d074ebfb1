#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_app.h"
#include "tests/sim/sim_norms.h"
#include "tests/sim/sim_odd.h"
#include "tests/sim/sim_rows.h"

/* A slice lies that far into its tensor. */
#define OFFSET 256

static void make_push(struct sim_worker *w, struct sim_op *op)
{
    const struct plan *p = &w->sim->plan;
    const struct plan_slice *s = &p->slice[op->slice];

    op->part.input_count = op->set == SIM_ROWS_ALL ? p->inputs[w->rank] : 1;
    for (uint32_t i = 0; i < op->part.input_count; i++) {
        op->tensors[i] = mem_alloc(OFFSET + s->size);
        KV_CHECK(op->tensors[i] != NULL);
        plan_gradient(p, w->rank, op->slice, op->version, i,
                      w->saved.value[op->slice], op->tensors[i] + OFFSET);
        (void)sim_rows_pack(s, op->set, op->tensors[i] + OFFSET,
                            op->tensors[i] + OFFSET);
        op->inputs[i] = op->tensors[i];
    }
    op->part.inputs = op->inputs;
}

/* Rank 0 brings the value. */
static void make_reset(struct sim_worker *w, struct sim_op *op)
{
    const struct plan *p = &w->sim->plan;

    op->part.reset = true;
    op->part.rows = NULL;
    op->set = SIM_ROWS_ALL;
    op->part.inputs = op->inputs;
    if (w->rank == 0) {
        op->tensors[0] = mem_alloc(OFFSET + p->slice[op->slice].size);
        KV_CHECK(op->tensors[0] != NULL);
        sim_reset_value(p, op->slice, op->version, op->tensors[0] + OFFSET);
        op->inputs[0] = op->tensors[0];
        op->part.input_count = 1;
    }
}

static void choose_rows(struct sim_worker *w, struct sim_op *op, uint32_t n)
{
    const struct plan *p = &w->sim->plan;

    op->set = op->part.pull
                  ? sim_rows_pulled(p, w->rank, op->slice, w->saved.step, n)
                  : sim_rows_pushed(p, w->rank, op->slice, op->version);
    if (op->set != SIM_ROWS_ALL) {
        sim_rows_list(p, op->slice, op->set, op->row_numbers, &op->rows);
        op->part.rows = &op->rows;
    }
}

/* Mostly as one would, by age of the key; crossing where that shall hurt. */
static int priority_of(const struct sim_worker *w, uint32_t slice)
{
    if (w->sim->plan.crowded) {
        return w->rank % 2 == 0 ? (int)slice : -(int)slice;
    }
    return (int)sim_below(w->sim, 4) - (int)slice;
}

static void make_op(struct sim_worker *w, uint32_t slice, uint32_t n,
                    uint32_t version, bool pull)
{
    struct sim_op *op = &w->ops[slice][n];

    memset(op, 0, sizeof *op);
    op->slice = slice;
    op->version = version;
    op->part.slice = sim_slice(w, slice);
    op->part.pull = pull;
    op->part.priority = priority_of(w, slice);
    op->part.offset = OFFSET;
    op->part.owner = op;
    choose_rows(w, op, n);
    if (pull) {
        op->tensors[0] = mem_zalloc(1, OFFSET + w->sim->plan.slice[slice].size);
        KV_CHECK(op->tensors[0] != NULL);
        op->outs[0] = op->tensors[0];
        op->part.outs = op->outs;
    } else if (sim_resets(&w->sim->plan, slice, version)) {
        make_reset(w, op);
    } else {
        make_push(w, op);
    }
}

/* What a life before has pushed in this step is not pushed again. */
void sim_step_begin(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;
    uint32_t step = w->saved.step;
    bool away = p->away[w->rank][step];

    w->left = 0;
    w->unanswered = 0;
    for (uint32_t i = 0; i < p->slices; i++) {
        const struct plan_ops *ops = &p->ops[w->rank][step][i];
        uint32_t version = away ? w->pushed[i] : p->slice[i].before[step];

        w->next_op[i] = 0;
        for (uint32_t n = 0; n < ops->count; n++) {
            version += !ops->pull[n];
            if (w->gone[i]) {
                w->ops[i][n].part.slice = NULL;
            } else if (ops->pull[n]) {
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

/* The slice's next op, submitted as far as the app is concerned; NULL when a
 * life before has done it. */
static struct sim_op *take_op(struct sim_worker *w, uint32_t i)
{
    struct sim_op *op = &w->ops[i][w->next_op[i]++];

    w->left--;
    if (op->part.slice == NULL) {
        return NULL;
    }
    if (!op->part.pull) {
        w->pushed[i] = op->version;
    }
    w->unanswered++;
    sim_note(w->sim, op->part.pull ? "pull" : "push", w->rank, i, op->version);
    return op;
}

/* Let the next slice's op of the same kind go with `first`, behind `last`;
 * NULL: there is none that can. */
static struct sim_op *add_twin(struct sim_worker *w, struct sim_op *first,
                               struct sim_op *last)
{
    const struct plan *p = &w->sim->plan;
    uint32_t i = last->slice + 1, n = first->part.span;
    struct sim_op *op;

    if (i >= p->slices || !p->slice[i].twin || first->part.input_count > 1 ||
        w->next_op[i] == p->ops[w->rank][w->saved.step][i].count ||
        sim_chance(w->sim, 20)) {
        return NULL;
    }
    op = &w->ops[i][w->next_op[i]];
    if (op->part.slice == NULL || op->part.pull != first->part.pull ||
        op->part.reset) {
        return NULL;
    }
    first->inputs[n] = op->tensors[0];
    first->outs[n] = op->tensors[0];
    if (!courier_extend(&first->part, op->part.slice)) {
        return NULL;
    }
    last->next = take_op(w, i);
    return op;
}

void sim_step_submit(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;
    uint32_t i = sim_below(w->sim, p->slices);
    struct sim_op *op;

    while (w->next_op[i] == p->ops[w->rank][w->saved.step][i].count) {
        i = (i + 1) % p->slices;
    }
    op = take_op(w, i);
    if (op == NULL) {
        return;
    }
    op->part.span = 1;
    for (struct sim_op *last = op; last != NULL;) {
        last = add_twin(w, op, last);
    }
    courier_submit(w->lanes[p->slice[i].shard].courier, &op->part);
}

void sim_step_end(struct sim_worker *w)
{
    const struct plan *p = &w->sim->plan;

    for (uint32_t i = 0; i < p->slices; i++) {
        const struct plan_ops *ops = &p->ops[w->rank][w->saved.step][i];

        for (uint32_t n = 0; n < ops->count; n++) {
            struct sim_op *op = &w->ops[i][n];

            if (op->part.slice != NULL && op->part.pull &&
                n + 1 == ops->count && !p->away[w->rank][w->saved.step]) {
                (void)sim_rows_unpack(&p->slice[i], op->set,
                                      op->tensors[0] + OFFSET,
                                      w->saved.value[i]);
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

static void expect_told(struct sim_worker *w, const struct sim_op *op)
{
    uint32_t culprit;

    if (!sim_spoiled(&w->sim->plan, op->slice, op->version, &culprit)) {
        return;
    }
    if (w->skipped[op->slice] != op->version) {
        sim_fail(w->sim,
                 "rank %u slice %u: nobody said that round %u is "
                 "left out",
                 w->rank, op->slice, op->version);
    }
    w->sim->faults.spoiled++;
}

static void op_done(struct sim_worker *w, const struct sim_op *op,
                    enum kv_status status, const char *text, uint64_t round)
{
    const struct part *p = &op->part;
    uint32_t found = w->found[op->slice];
    const char *wrong;

    if (w->gone[op->slice] || status != KV_OK) {
        sim_delete_refused(w, op->slice,
                           status != KV_OK ? status : KV_ENOTFOUND, text);
        w->unanswered--;
        return;
    }
    if (round != sim_round(w, op->slice, op->version)) {
        sim_fail(w->sim, "rank %u slice %u: a %s of round %u was answered %u",
                 w->rank, op->slice, p->pull ? "pull" : "push", op->version,
                 (unsigned)round);
    }
    w->unanswered--;
    if (!p->pull) {
        expect_told(w, op);
        sim_norms_over(w, op->slice, op->version);
        return;
    }
    wrong = oracle_check_pull(
        &w->sim->oracle, &w->sim->plan, w->rank, op->slice,
        op->version > found ? op->version : found, op->set,
        op->tensors[0] + OFFSET, w->sim->plan.away[w->rank][w->saved.step]);
    if (wrong != NULL) {
        sim_fail(w->sim, "rank %u slice %u round %u: %s", w->rank, op->slice,
                 op->version, wrong);
    }
}

void sim_app_part_done(struct sim_worker *w, struct part *p,
                       enum kv_status status, const char *text, uint64_t round)
{
    uint32_t slices = 0;

    for (const struct sim_op *op = p->owner; op != NULL; op = op->next) {
        op_done(w, op, status, text, round);
        slices++;
    }
    if (slices != p->span) {
        sim_fail(w->sim, "rank %u: %u slices of a span of %u came back",
                 w->rank, slices, p->span);
    }
    w->sim->faults.spans += slices > 1;
}
