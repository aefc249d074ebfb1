#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/shard_commit.h"
#include "server/shard_private.h"

_Static_assert(KV_OPTIM_NORMS_MAX <= KV_NORMS_MAX, "norms do not fit");

static bool measured(const struct shard *s)
{
    return s->generation != 0 && s->spec.optim->passes > 0;
}

bool shard_norms_needed(const struct shard *s, const struct entry *e)
{
    return measured(s) && e->slices > 1;
}

/* --- Measuring ------------------------------------------------------------ */

void shard_measure_block(const struct shard *s, const struct entry *e,
                         const struct kv_optim_args *args)
{
    struct measure *m = e->measure;
    double sums[KV_NORMS_MAX] = {0};

    kv_optim_for(s->spec.optim, e->dtype)->measure(args, m->pass, sums);
    for (unsigned i = 0; i < KV_NORMS_MAX; i++) {
        m->sums[m->pass][i] += sums[i];
    }
}

static void measure_dense(struct shard *s, const struct entry *e)
{
    struct shard_change c = shard_change(s, e, NULL);
    struct kv_optim_args args = {.step = e->measure->step};
    size_t n = shard_inputs(s, e);

    for (size_t first = 0; first < e->count; first += args.count) {
        shard_block(s, e, &c, n, first, &args);
        shard_measure_block(s, e, &args);
    }
}

static void measure_pass(struct shard *s, const struct entry *e)
{
    if (e->row_length > 0) {
        shard_table_measure(s, e);
    } else {
        measure_dense(s, e);
    }
}

/* A rank must send all slices of a key before the first of them is committed:
 * what is measured does not count as held, or a large key could never be
 * complete. There is no more of it than the keys have. */
static void waive(struct shard *s, const struct entry *e)
{
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        if (e->shares[rank] != NULL && e->shares[rank]->pushed) {
            shard_share_waive(s, e->shares[rank]);
        }
    }
    s->commits++;
}

static void claim(struct shard *s, const struct entry *e)
{
    for (uint32_t rank = 0; rank < s->workers; rank++) {
        if (e->shares[rank] != NULL && e->shares[rank]->pushed) {
            shard_share_claim(s, e->shares[rank]);
        }
    }
}

static bool begin(struct shard *s, struct entry *e)
{
    struct kv_optim_scale scale = s->tuning.now;
    bool fresh = e->value->generation != s->generation;
    struct measure *m = s->idle_measures;

    if (m != NULL) {
        s->idle_measures = m->next;
    } else {
        m = mem_alloc(sizeof *m);
    }
    if (m == NULL) {
        return false;
    }
    memset(m, 0, sizeof *m);
    scale.plain = e->plain;
    scale.key = e->key_id;
    kv_optim_prepare(&s->spec, e->dtype, &scale,
                     (fresh ? 0 : e->value->updates) + 1, m->step);
    e->measure = m;
    s->measures++;
    measure_pass(s, e);
    if (e->slices > 1) {
        waive(s, e);
    }
    return true;
}

void shard_norms_end(struct shard *s, struct entry *e)
{
    if (e->measure != NULL) {
        e->measure->next = s->idle_measures;
        s->idle_measures = e->measure;
        e->measure = NULL;
        s->measures--;
        claim(s, e);
    }
}

void shard_free_norms(struct shard *s)
{
    for (uint32_t slot = 0; slot < s->slots; slot++) {
        shard_norms_end(s, shard_entry(s, slot)); /* A free one has none. */
    }
    while (s->idle_measures != NULL) {
        struct measure *m = s->idle_measures;

        s->idle_measures = m->next;
        mem_free(m);
    }
}

/* --- Asking --------------------------------------------------------------- */

static void ask(struct shard *s, const struct entry *e)
{
    const struct measure *m = e->measure;

    for (uint32_t rank = 0; rank < s->workers; rank++) {
        if (e->shares[rank] != NULL && e->shares[rank]->pushed) {
            s->events.norms(s->events.ctx, rank, e->slot, e->value->round + 1,
                            m->pass, m->sums[m->pass]);
        }
    }
}

void shard_norms_again(struct shard *s, uint32_t rank, const struct entry *e,
                       uint64_t round)
{
    const struct value *v = e->value;
    uint64_t passes = e->slices > 1 && round == v->round ? v->passes : 0;

    for (uint32_t pass = 0; pass < passes; pass++) {
        s->events.norms(s->events.ctx, rank, e->slot, round, pass,
                        v->sums[pass]);
    }
}

/* --- Going on ------------------------------------------------------------- */

/* True when that was the last pass. */
static bool absorb(struct shard *s, struct entry *e, const double *totals)
{
    struct measure *m = e->measure;

    shard_guard_totals(s, m, totals);
    kv_optim_for(s->spec.optim, e->dtype)->absorb(m->step, m->pass, totals);
    if (++m->pass == s->spec.optim->passes) {
        return true;
    }
    measure_pass(s, e);
    return false;
}

/* The only slice of a key needs nobody. */
static void absorb_own(struct shard *s, struct entry *e)
{
    while (!absorb(s, e, e->measure->sums[e->measure->pass])) {
    }
}

enum kv_status shard_norms_ready(struct shard *s, struct entry *e, bool *ready)
{
    *ready = true;
    if (!measured(s) ||
        (e->measure != NULL && e->measure->pass == s->spec.optim->passes)) {
        return KV_OK;
    }
    if (e->measure == NULL && !begin(s, e)) {
        return shard_no_memory(s);
    }
    if (e->slices == 1) {
        absorb_own(s, e);
        return KV_OK;
    }
    *ready = false;
    ask(s, e);
    return KV_OK;
}

void shard_totals(struct shard *s, uint32_t rank, uint32_t slot, uint64_t round,
                  uint32_t pass, const double *totals)
{
    struct entry *e = shard_entry_of(s, slot, round);

    KV_CHECK(rank < s->workers);
    if (e == NULL || e->measure == NULL || e->value->round + 1 != round ||
        e->measure->pass != pass || e->shares[rank] == NULL ||
        !e->shares[rank]->pushed) {
        return;
    }
    if (absorb(s, e, totals)) {
        shard_close_round(s, e);
    } else {
        ask(s, e);
    }
}
