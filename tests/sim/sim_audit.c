#include "tests/sim/sim_audit.h"

#include <string.h>

#include "server/arena_private.h"
#include "server/shard_private.h"
#include "tests/sim/sim.h"

static uint32_t slice_of(const struct sim_server *s, const struct entry *e)
{
    return e->key_id % SIM_AGAIN * s->sim->plan.width + e->slice;
}

/* Of the slice, through both lives of its key. */
static uint64_t version_of(const struct sim_server *s, const struct entry *e,
                           uint64_t round)
{
    const struct plan *p = &s->sim->plan;
    uint32_t slice = slice_of(s, e);
    bool again = e->key_id >= SIM_AGAIN;
    uint64_t deletion = again ? plan_last_deletion(p, slice) : 0;

    if (round >> KV_ROUND_BITS != deletion) {
        sim_fail(s->sim, "slice %u is in life %u instead of %u", slice,
                 (unsigned)(round >> KV_ROUND_BITS), (unsigned)deletion);
    }
    return message_rounds(round) +
           (again ? p->slice[slice].before[p->delete_step] : 0);
}

/* In that slot; NULL: nothing. */
static const struct entry *entry_at(const struct sim_server *s, uint32_t slot)
{
    const struct entry *e = shard_entry(s->shard, slot);

    return e == NULL || e->record == NULL ? NULL : e;
}

/* Not what the shard believes: what a restart would find. */
static const struct value *stored(const struct sim_server *s,
                                  const struct entry *e)
{
    return arena_at(s->arena, e->record->live);
}

static uint64_t committed(const struct sim_server *s, const struct entry *e,
                          uint32_t rank)
{
    const struct value *v = stored(s, e);

    return s->sim->plan.async ? v->seq[rank] : v->round;
}

static void check_ack(struct sim_server *s, uint32_t rank, uint32_t slot,
                      uint64_t round)
{
    const struct entry *e = entry_at(s, slot);

    if (slot >= PLAN_SLICES_MAX ||
        (e == NULL && s->sim->plan.delete_step == 0)) {
        sim_fail(s->sim, "shard %u acknowledges slot %u", s->index, slot);
    }
    if (e == NULL || round < e->first_round) {
        return; /* Written before the slice was deleted, and sent after it. */
    }
    if (committed(s, e, rank) < round) {
        sim_fail(s->sim,
                 "shard %u acknowledges rank %u round %u of slice %u, and has "
                 "committed %u",
                 s->index, rank, (unsigned)round, slice_of(s, e),
                 (unsigned)committed(s, e, rank));
    }
    if (s->acked[slot][rank] < round) {
        s->acked[slot][rank] = round;
    }
}

void sim_audit_answer(struct sim_server *s, uint32_t rank,
                      const struct message *m)
{
    for (uint32_t i = 0; m->kind == MESSAGE_ANSWER && i < m->batch.run_count;
         i++) {
        const struct run *r = &m->batch.runs[i];

        for (uint32_t n = 0; r->size == 0 && n < r->count; n++) {
            check_ack(s, rank, r->slot + n, r->round);
        }
    }
}

/* --- Values --------------------------------------------------------------- */

static void read_weights(const struct sim_server *s, const struct entry *e,
                         void *out)
{
    const struct plan_slice *slice = &s->sim->plan.slice[slice_of(s, e)];

    if (slice->rows > 0) {
        shard_rows_read(s->shard, e, NULL, slice->rows, out);
    } else {
        memcpy(out, shard_weights(stored(s, e)), slice->size);
    }
}

/* Of all elements, one row after the other. */
static void read_state(const struct sim_server *s, const struct entry *e,
                       unsigned index, float *out)
{
    const struct plan_slice *slice = &s->sim->plan.slice[slice_of(s, e)];
    const struct value *v = stored(s, e);
    size_t size = e->shape.count * sizeof *out;
    size_t step = state_aligned(state_size(&e->shape, v->form), 16);

    if (slice->rows == 0) {
        memcpy(out, state_slot(&e->shape, v->form, shard_weights(v), index, 0),
               size);
    }
    for (uint32_t row = 0; row < slice->rows; row++) {
        const char *image =
            (const char *)arena_at(s->arena, v->rows) + row * step;

        memcpy(out + row * e->shape.count,
               state_slot(&e->shape, v->form, image, index, 0), size);
    }
}

static void check_value(struct sim_server *s, const struct entry *e)
{
    static float weights[PLAN_COUNT_MAX];
    const struct plan *p = &s->sim->plan;
    const struct oracle_slice *o = &s->sim->oracle.slice[slice_of(s, e)];
    const struct plan_slice *slice = &p->slice[slice_of(s, e)];
    uint64_t version = version_of(s, e, stored(s, e)->round);
    const unsigned char *right;

    if (version > o->rounds || e->count != slice->count) {
        sim_fail(s->sim, "slice %u has %u rounds of %u", slice_of(s, e),
                 (unsigned)version, (unsigned)o->rounds);
    }
    right = o->value[p->async ? 0 : version];
    if (p->async && version == o->rounds) {
        right = o->value[slice->before[p->steps]];
    } else if (p->async && version > 0) {
        return; /* Some order of some pushes. */
    }
    read_weights(s, e, weights);
    if (memcmp(weights, right, slice->size) != 0) {
        sim_fail(s->sim, "slice %u has wrong weights after round %u",
                 slice_of(s, e), (unsigned)version);
    }
}

static void check_fence(struct sim_server *s)
{
    for (uint32_t rank = 0; rank < s->sim->plan.workers; rank++) {
        uint64_t incarnation = s->shard->fence->rank[rank].incarnation;

        if (incarnation < s->incarnation[rank]) {
            sim_fail(s->sim, "shard %u forgot life %u of rank %u", s->index,
                     (unsigned)s->incarnation[rank], rank);
        }
        s->incarnation[rank] = incarnation;
        s->token[rank] = s->shard->fence->rank[rank].token;
    }
}

void sim_audit_recovered(struct sim_server *s)
{
    for (uint32_t slot = 0; slot < s->shard->slots; slot++) {
        const struct entry *e = entry_at(s, slot);

        if (e == NULL) {
            continue; /* Deleted. */
        }
        check_value(s, e);
        for (uint32_t rank = 0; rank < s->sim->plan.workers; rank++) {
            if (committed(s, e, rank) < s->acked[slot][rank]) {
                sim_fail(s->sim,
                         "shard %u lost round %u of slice %u, which "
                         "was acknowledged to rank %u",
                         s->index, (unsigned)s->acked[slot][rank],
                         slice_of(s, e), rank);
            }
        }
    }
    check_fence(s);
}

/* --- The end -------------------------------------------------------------- */

static void check_state(struct sim_server *s, const struct entry *e)
{
    static float state[PLAN_COUNT_MAX];
    const struct oracle_slice *o = &s->sim->oracle.slice[slice_of(s, e)];
    const struct value *v = stored(s, e);

    if (version_of(s, e, v->round) != o->rounds) {
        sim_fail(s->sim, "slice %u ends with %u rounds instead of %u",
                 slice_of(s, e), (unsigned)message_rounds(v->round),
                 (unsigned)o->rounds);
    }
    if (v->updates != o->updates) {
        sim_fail(s->sim, "slice %u ends with %u updates instead of %u",
                 slice_of(s, e), (unsigned)v->updates, (unsigned)o->updates);
    }
    if (o->updates > 0 && v->form.slots != o->states) {
        sim_fail(s->sim, "slice %u ends with %u arrays of state instead of %u",
                 slice_of(s, e), v->form.slots, o->states);
    }
    for (unsigned i = 0; v->form.slots > 0 && i < o->states; i++) {
        read_state(s, e, i, state);
        if (memcmp(state, o->state[i], e->count * sizeof(float)) != 0) {
            sim_fail(s->sim, "slice %u ends with wrong optimizer state",
                     slice_of(s, e));
        }
    }
    for (uint32_t rank = 0; rank < v->seqs; rank++) {
        if (v->seq[rank] * v->seqs != o->rounds) {
            sim_fail(s->sim, "slice %u ends with %u pushes of rank %u",
                     slice_of(s, e), (unsigned)v->seq[rank], rank);
        }
    }
}

/* A record and a value for each slice, the rows and the settings of some, the
 * fence, the optimizer's settings. */
void sim_audit_blocks(struct sim_server *s)
{
    const struct arena *a = s->arena;
    uint64_t offset = ARENA_HEAD_SIZE;
    size_t held = 0, right = 1;

    while (offset < a->head->used) {
        const struct block *b = arena_block_at(a, offset);

        if (b->holders > 1) {
            sim_fail(s->sim, "a block of shard %u has %u holders", s->index,
                     b->holders);
        }
        held += b->holders;
        offset += sizeof *b + b->size;
    }
    for (uint32_t slot = 0; slot < s->shard->slots; slot++) {
        const struct entry *e = entry_at(s, slot);

        if (e != NULL) {
            right += e->row_length > 0 ? 3 : 2;
            right += e->own != NULL ? 1 : 0;
        }
    }
    right += s->sim->plan.optimizer != NULL ? 1 : 0;
    if (held != right) {
        sim_fail(s->sim, "shard %u holds %zu blocks instead of %zu", s->index,
                 held, right);
    }
}

void sim_audit_final(struct sim_server *s)
{
    const struct plan *p = &s->sim->plan;
    uint32_t slices = 0;

    for (uint32_t i = 0; i < p->slices; i++) {
        slices += p->slice[i].shard == s->index;
    }
    if (s->shard->slots != slices) {
        sim_fail(s->sim, "shard %u has %u slices instead of %u", s->index,
                 s->shard->slots, slices);
    }
    for (uint32_t slot = 0; slot < slices; slot++) {
        const struct entry *e = entry_at(s, slot);

        if (e == NULL) {
            sim_fail(s->sim, "slot %u of shard %u is empty", slot, s->index);
        }
        check_value(s, e);
        check_state(s, e);
    }
}
