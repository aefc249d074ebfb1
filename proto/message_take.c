#include "proto/message_take.h"

#include <math.h>
#include <string.h>

static const char bad_slot[] = "slot out of range";

/* --- Slices -------------------------------------------------------------- */

const char *take_open(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out)
{
    const Kv__Open *pb = env->open;

    (void)scratch;
    if (payload_size > KV_SLICE_BYTES_MAX) {
        return "open with too large a value";
    }
    if (pb->dtype >= TAKE_DTYPE_MAX) {
        return "open with an unknown dtype";
    }
    if (pb->count < 1 || pb->count > KV_SLICE_BYTES_MAX) {
        return "open with a size out of range";
    }
    out->open.key_id = pb->key_id;
    out->open.slice = pb->slice;
    out->open.dtype = pb->dtype;
    if (pb->row_length > 0 && pb->count % pb->row_length != 0) {
        return "open of a slice that does not hold whole rows";
    }
    out->open.count = pb->count;
    out->open.row_length = pb->row_length;
    if (pb->width > 0 && (pb->row_length > 0 || pb->count % pb->width != 0)) {
        return "open of a slice with a width that is not its own";
    }
    out->open.width = pb->width;
    if (pb->slice >= pb->slices) {
        return "open of a slice beyond the last";
    }
    out->open.slices = pb->slices;
    out->open.plain = pb->plain != 0;
    out->open.deletions = pb->deletions;
    return NULL;
}

const char *take_opened(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out)
{
    (void)scratch;
    (void)payload_size;
    if (env->opened->slot >= KV_SLOTS_MAX) {
        return bad_slot;
    }
    out->opened.slot = env->opened->slot;
    out->opened.round = env->opened->round;
    out->opened.reset = env->opened->reset != 0;
    return NULL;
}

/* --- Batches ------------------------------------------------------------- */

/* The runs as they stand on the wire: a column for each of their fields. */
struct columns {
    size_t slots, counts, rounds;
    const uint32_t *slot, *count;
    const uint64_t *round;
    bool sized; /* Has the column below. */
    size_t sizes;
    const uint32_t *size;
    uint32_t size_min;
};

static const char *take_run(const struct columns *c, size_t i, struct run *run)
{
    *run = (struct run){c->slot[i], c->count[i], c->round[i],
                        c->sized ? c->size[i] : 0};
    if (run->count < 1 || run->count > KV_BATCH_ENTRIES_MAX) {
        return "batch of too many slices, or none";
    }
    if ((uint64_t)run->slot + run->count > KV_SLOTS_MAX) {
        return bad_slot;
    }
    if (run->size < c->size_min || run->size > KV_SLICE_BYTES_MAX) {
        return "slice with a size out of range";
    }
    return NULL;
}

static const char *take_runs(struct scratch *scratch, const struct columns *c,
                             size_t payload_size, struct message_batch *out)
{
    uint64_t entries = 0, bytes = 0;
    struct run *runs;

    if (c->slots < 1 || c->slots > KV_BATCH_RUNS_MAX || c->counts != c->slots ||
        c->rounds != c->slots || c->sizes != (c->sized ? c->slots : 0)) {
        return "batch with uneven, too many or no runs";
    }
    runs = scratch_alloc(scratch, c->slots * sizeof *runs);
    if (runs == NULL) {
        return take_out_of_scratch;
    }
    for (size_t i = 0; i < c->slots; i++) {
        const char *wrong = take_run(c, i, &runs[i]);

        if (wrong != NULL) {
            return wrong;
        }
        entries += runs[i].count;
        bytes += (uint64_t)runs[i].count * runs[i].size;
    }
    if (entries > KV_BATCH_ENTRIES_MAX) {
        return "batch of too many slices";
    }
    if (bytes != payload_size) {
        return "sizes of the slices and of the payload differ";
    }
    *out =
        (struct message_batch){.runs = runs, .run_count = (uint32_t)c->slots};
    return NULL;
}

const char *take_push(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out)
{
    const Kv__Push *pb = env->push;
    struct columns c = {pb->n_slot, pb->n_count,      pb->n_round, pb->slot,
                        pb->count,  pb->round,        true,        pb->n_size,
                        pb->size,   pb->reset ? 0 : 1};
    const char *wrong = take_runs(scratch, &c, payload_size, &out->batch);

    if (wrong == NULL && pb->reset && pb->rows) {
        return "push of rows to begin anew from";
    }
    if (wrong == NULL) {
        out->batch.codec = pb->codec;
        out->batch.rows = pb->rows != 0;
        out->batch.reset = pb->reset != 0;
    }
    return wrong;
}

const char *take_pull(struct scratch *scratch, const Kv__Envelope *env,
                      size_t payload_size, struct message *out)
{
    const Kv__Pull *pb = env->pull;
    bool rows = pb->n_size > 0;
    struct columns c = {pb->n_slot, pb->n_count, pb->n_round, pb->slot,
                        pb->count,  pb->round,   rows,        pb->n_size,
                        pb->size,   rows ? 1 : 0};
    const char *wrong = take_runs(scratch, &c, payload_size, &out->batch);

    out->batch.rows = rows;
    return wrong;
}

const char *take_answer(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out)
{
    const Kv__Answer *pb = env->answer;
    struct columns c = {
        pb->n_slot, pb->n_count, pb->n_round, pb->slot, pb->count,
        pb->round,  true,        pb->n_size,  pb->size, 0};

    return take_runs(scratch, &c, payload_size, &out->batch);
}

const char *take_again(struct scratch *scratch, const Kv__Envelope *env,
                       size_t payload_size, struct message *out)
{
    const Kv__Again *pb = env->again;
    struct columns c = {
        pb->n_slot, pb->n_count, pb->n_round, pb->slot, pb->count,
        pb->round,  false,       0,           NULL,     0};

    return take_runs(scratch, &c, payload_size, &out->batch);
}

/* --- The optimizer, notices ---------------------------------------------- */

const char *take_optimizer(struct scratch *scratch, const Kv__Envelope *env,
                           size_t payload_size, struct message *out)
{
    const Kv__Optimizer *pb = env->optimizer;

    (void)scratch;
    (void)payload_size;
    if (!take_text_ok(pb->name, 1, KV_NAME_MAX)) {
        return "optimizer with a malformed name";
    }
    if (!take_text_ok(pb->params, 0, KV_PARAMS_TEXT_MAX)) {
        return "optimizer with malformed settings";
    }
    out->optimizer.name = pb->name;
    out->optimizer.params = pb->params;
    out->optimizer.check = pb->check;
    return NULL;
}

const char *take_hyper(struct scratch *scratch, const Kv__Envelope *env,
                       size_t payload_size, struct message *out)
{
    const Kv__Hyper *pb = env->hyper;

    (void)scratch;
    (void)payload_size;
    if (!take_text_ok(pb->param, 1, KV_NAME_MAX) || !isfinite(pb->value)) {
        return "hyper with a malformed parameter";
    }
    if (!pb->one && (pb->key_id != 0 || pb->slice != 0)) {
        return "hyper for all, and yet for a slice";
    }
    out->hyper.param = pb->param;
    out->hyper.value = pb->value;
    out->hyper.round = pb->round;
    out->hyper.one = pb->one != 0;
    out->hyper.key_id = pb->key_id;
    out->hyper.slice = pb->slice;
    return NULL;
}

const char *take_stalled(struct scratch *scratch, const Kv__Envelope *env,
                         size_t payload_size, struct message *out)
{
    const Kv__Stalled *pb = env->stalled;

    (void)scratch;
    (void)payload_size;
    if (pb->slot >= KV_SLOTS_MAX) {
        return bad_slot;
    }
    if (pb->n_missing > KV_MISSING_MAX || pb->n_connected != pb->n_missing ||
        pb->missing_count < pb->n_missing || pb->missing_count > KV_RANKS_MAX ||
        pb->left > KV_RANKS_MAX) {
        return "stalled with uneven or too many ranks";
    }
    for (size_t i = 0; i < pb->n_missing; i++) {
        if (pb->missing[i] >= KV_RANKS_MAX) {
            return "stalled with a rank out of range";
        }
        out->stalled.missing[i] = pb->missing[i];
        out->stalled.connected[i] = pb->connected[i] != 0;
    }
    out->stalled.slot = pb->slot;
    out->stalled.round = pb->round;
    out->stalled.seconds = pb->seconds;
    out->stalled.listed = (uint32_t)pb->n_missing;
    out->stalled.missing_count = pb->missing_count;
    out->stalled.left = pb->left;
    return NULL;
}

const char *take_skipped(struct scratch *scratch, const Kv__Envelope *env,
                         size_t payload_size, struct message *out)
{
    const Kv__Skipped *pb = env->skipped;

    (void)scratch;
    (void)payload_size;
    if (pb->slot >= KV_SLOTS_MAX) {
        return bad_slot;
    }
    if (pb->rank >= KV_RANKS_MAX || (!pb->blames && pb->rank != 0)) {
        return "skipped by a rank that no job has";
    }
    out->skipped.slot = pb->slot;
    out->skipped.round = pb->round;
    out->skipped.blames = pb->blames != 0;
    out->skipped.rank = pb->rank;
    out->skipped.fails = pb->fails != 0;
    return NULL;
}

const char *take_norms(struct scratch *scratch, const Kv__Envelope *env,
                       size_t payload_size, struct message *out)
{
    const Kv__Norms *pb = out->kind == MESSAGE_NORMS ? env->norms : env->totals;

    (void)scratch;
    (void)payload_size;
    if (pb->slot >= KV_SLOTS_MAX) {
        return bad_slot;
    }
    if (pb->pass >= KV_PASSES_MAX || pb->n_sum != KV_NORMS_MAX) {
        return "norms of an unknown pass, or not as many as there are";
    }
    out->norms.slot = pb->slot;
    out->norms.round = pb->round;
    out->norms.pass = pb->pass;
    memcpy(out->norms.sum, pb->sum, sizeof out->norms.sum);
    return NULL;
}

/* --- Members -------------------------------------------------------------- */

const char *take_member(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out)
{
    (void)scratch;
    (void)payload_size;
    out->member.in = env->member->in != 0;
    return NULL;
}

const char *take_rounds(struct scratch *scratch, const Kv__Envelope *env,
                        size_t payload_size, struct message *out)
{
    const Kv__Rounds *pb = env->rounds;
    struct columns c = {
        pb->n_slot, pb->n_count, pb->n_round, pb->slot, pb->count,
        pb->round,  false,       0,           NULL,     0};

    return take_runs(scratch, &c, payload_size, &out->batch);
}
