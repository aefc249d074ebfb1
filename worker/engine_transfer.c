#include <inttypes.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "worker/engine_core.h"

#define BURST_KEYS 512

/* A part, and whom to tell. The pieces of an op lie in the order of its keys,
 * which is mostly that of sending and of answers: they are read in line. */
struct piece {
    struct part part;
    uint32_t others; /* Tensors behind the first that get what was pulled. */
    bool done;
};

/* --- Pieces --------------------------------------------------------------- */

bool engine_reserve(struct kvw_op *op, size_t count)
{
    size_t capacity = op->pieces_capacity == 0 ? 4 : op->pieces_capacity;
    struct piece *pieces;

    if (count <= op->pieces_capacity) {
        return true;
    }
    while (capacity < count) {
        capacity *= 2;
    }
    pieces = mem_realloc(op->pieces, capacity * sizeof *pieces);
    if (pieces == NULL) {
        op_fail(op, KV_ENOMEM, "out of memory for %zu slices", count);
        return false;
    }
    op->pieces = pieces;
    op->pieces_capacity = capacity;
    return true;
}

static struct route *route_of(const struct engine *e, const struct slice *s)
{
    return &e->routes[s->home];
}

/* Nothing explains more than this. */
static bool look_at(const struct engine *e, const struct part *p,
                    struct engine_view *out)
{
    const struct route *r = route_of(e, p->slice);
    bool down = !route_is_up(r);
    const struct slice *s;

    for (unsigned i = 0; (s = courier_unanswered(p, i)) != NULL; i++) {
        const struct key *key = s->owner;

        if (out->key == NULL || down ||
            (key->stall.round > 0 && key->stall.slice == s)) {
            out->key = key;
            out->route = r;
        }
    }
    return down;
}

/* Rather a server that is gone than a rank that is late, rather that than
 * anything. */
bool engine_look(const struct engine *e, const struct kvw_op *op,
                 struct engine_view *out)
{
    out->key = NULL;
    for (size_t i = 0; i < op->piece_count; i++) {
        const struct piece *p = &op->pieces[i];

        if (!p->done && look_at(e, &p->part, out)) { /* Else maybe its key is
                                                        gone. */
            break;
        }
    }
    return out->key != NULL;
}

/* --- The end -------------------------------------------------------------- */

static void refused(struct route *r, struct kvw_op *op, const struct key *key,
                    enum kv_status status, const char *text)
{
    const struct engine *e = r->data;
    char name[KEYS_TEXT_MAX], server[ROUTE_NAME_MAX];

    if (route_has_failed(r) || status == KV_ECANCELED) {
        op_fail(op, status, "%s on rank %" PRIu32 ": %s",
                keys_text(&key->spec, name), e->job.rank, text);
        return;
    }
    op_fail(op, status, "%s on rank %" PRIu32 ": %s says: %s",
            keys_text(&key->spec, name), e->job.rank, route_name(r, server),
            text[0] == '\0' ? kv_strstatus(status) : text);
}

/* All tensors of the item get what the first one got. */
static void copy_to_others(const struct piece *p)
{
    const struct part_rows *rows = p->part.rows;
    const struct slice *s = p->part.slice;
    size_t count = rows == NULL ? s->count : rows->count * rows->length;
    size_t offset = p->part.offset;

    for (uint32_t i = 1; i <= p->others; i++) {
        memcpy((char *)p->part.outs[i] + offset,
               (const char *)p->part.outs[0] + offset,
               count * kv_dtype_size(s->dtype));
    }
}

static void no_stall(struct engine *e, const struct slice *s, uint64_t round)
{
    struct key *key = s->owner;

    if (key->stall.slice == s && key->stall.round > 0 &&
        key->stall.round <= round) {
        key->stall.round = 0;
        e->stalls--;
    }
}

static void succeeded(struct engine *e, struct piece *p, uint64_t round)
{
    if (p->part.pull) {
        if (p->others > 0) {
            copy_to_others(p);
        }
        e->pulls += p->part.span;
    } else {
        e->pushes += p->part.span;
    }
    for (uint32_t i = 0; e->stalls > 0 && i < p->part.span; i++) {
        no_stall(e, courier_slice_of(&p->part, i), round);
    }
}

void engine_slice_refused(struct route *r, struct part *part,
                          const struct slice *slice, enum kv_status status,
                          const char *text)
{
    refused(r, part->owner, slice->owner, status, text);
}

void engine_one_less(struct engine *e, struct kvw_op *op)
{
    if (--op->left > 0) {
        return;
    }
    engine_norms_free(op);
    if (op->kind == OP_MOVES) {
        engine_moves_free(op);
    }
    engine_done(e, op);
}

/* A slice that an earlier life had taken further than others has ignored it, as
 * it had a gradient in that round: only a later one reaches all of them. */
static bool goes_again(const struct engine *e, const struct kvw_op *op,
                       const struct part *p)
{
    const struct key *key = p->slice->owner;

    return p->reset && op->status == KV_OK && e->policy == KV_POLICY_SYNC &&
           message_rounds(p->slice->pushed) <= key->reached_otherwise;
}

void engine_part_done(struct route *r, struct part *part, enum kv_status status,
                      const char *text, uint64_t round)
{
    struct engine *e = r->data;
    struct piece *p = LIST_ENTRY(part, struct piece, part);
    struct kvw_op *op = part->owner;
    struct key *key = part->slice->owner;

    if (status == KV_OK && goes_again(e, op, part)) {
        route_submit(r, part);
        return;
    }
    if (status == KV_OK) {
        succeeded(e, p, round);
    } else {
        refused(r, op, key, status, text);
    }
    p->done = true;
    if (op->norms != NULL && !part->pull) {
        engine_norms_over(e, op, part->slice);
    }
    engine_one_less(e, op);
}

/* The pushes of one key lie side by side, in the order of its slices. */
bool engine_push_is_over(const struct part *push, uint32_t index)
{
    const struct piece *p = LIST_ENTRY(push, struct piece, part);
    const struct key *key = push->slice->owner;

    return p[(ptrdiff_t)index - (push->slice - key->slices)].done;
}

/* --- Start ---------------------------------------------------------------- */

static inline struct piece *start_piece(struct kvw_op *op, struct key *key,
                                        uint32_t index)
{
    struct piece *p = &op->pieces[op->piece_count++];

    p->done = false;
    p->part.span = 1;
    p->part.rows = NULL;
    p->part.reset = op->kind == OP_RESET;
    p->part.slice = &key->slices[index];
    p->part.priority = op->priority;
    p->part.offset = index == 0 ? 0
                                : (size_t)(index * key->slice_step) *
                                      kv_dtype_size(key->spec.dtype);
    p->part.owner = op;
    op->left++;
    return p;
}

struct part *engine_push(struct kvw_op *op, struct key *key, uint32_t index,
                         void *const *data, uint32_t data_count)
{
    struct piece *p = start_piece(op, key, index);

    p->part.pull = false;
    p->part.inputs = (const void *const *)data;
    p->part.input_count = data_count;
    p->part.outs = NULL;
    return &p->part;
}

struct part *engine_pull(struct kvw_op *op, struct key *key, uint32_t index,
                         void *const *data, uint32_t data_count)
{
    struct piece *p = start_piece(op, key, index);

    p->part.pull = true;
    p->part.inputs = NULL;
    p->part.input_count = 0;
    p->part.outs = data;
    p->others = data_count - 1;
    return &p->part;
}

/* The one slice of an item's key that has one, and one tensor; else NULL. */
static struct slice *only_slice(const struct op_item *item)
{
    return item->key->slice_count == 1 && item->data_count == 1
               ? item->key->slices
               : NULL;
}

/* Slice `index` of an item, and in the same part the slices of as many of the
 * `more` items behind it as go with it; returns how many items that are. */
static size_t submit_part(struct engine *e, struct kvw_op *op,
                          const struct op_item *item, uint32_t index,
                          size_t more, bool pull)
{
    struct key *key = item->key;
    struct part *p =
        pull ? engine_pull(op, key, index, item->data, item->data_count)
             : engine_push(op, key, index, item->data, item->data_count);
    size_t taken = 1;

    if (only_slice(item) != NULL) {
        while (taken <= more) {
            struct slice *s = only_slice(&item[taken]);

            keys_fetch_ahead(item[taken].key, 0);
            keys_fetch_ahead(item[taken].key, offsetof(struct key, only));
            if (s == NULL || !courier_extend(p, s)) {
                break;
            }
            taken++;
        }
    }
    route_submit(&e->routes[key->slices[index].home], p);
    return taken;
}

/* All slices of an item; returns how many items went with it. */
static size_t submit_item(struct engine *e, struct kvw_op *op,
                          const struct op_item *item, size_t more, bool pull)
{
    size_t taken = 1;

    for (uint32_t i = 0; i < item->key->slice_count; i++) {
        taken = submit_part(e, op, item, i, more, pull);
    }
    return taken;
}

/* From item `first` on: as many as are pushed, or pulled, in one part. */
static size_t submit(struct engine *e, struct kvw_op *op, size_t first)
{
    size_t more = op->item_count - first - 1, taken = 0;

    if (op->pushes != NULL) {
        more = submit_item(e, op, &op->pushes[first], more, false) - 1;
    }
    while (op->pulls != NULL && taken <= more) {
        taken +=
            submit_item(e, op, &op->pulls[first + taken], more - taken, true);
        if (op->pushes == NULL) {
            break;
        }
    }
    return op->pulls == NULL ? more + 1 : taken;
}

/* These two apart: what is called for each key has no large locals. */
void engine_unknown_key(const struct engine *e, struct kvw_op *op,
                        const struct key_spec *spec)
{
    char name[KEYS_TEXT_MAX];

    op_fail(op, KV_ENOTFOUND,
            "%s: rank %" PRIu32 " has not registered it with kvw_init()",
            keys_text(spec, name), e->job.rank);
}

void engine_stands_twice(const struct engine *e, struct kvw_op *op,
                         const struct key_spec *spec)
{
    char name[KEYS_TEXT_MAX];

    op_fail(op, KV_EINVAL, "%s stands twice in one call of rank %" PRIu32,
            keys_text(spec, name), e->job.rank);
}

/* Find the key, compare the form. */
static bool look_up(struct engine *e, struct kvw_op *op, struct op_item *item,
                    struct key *before)
{
    struct key *key = keys_find_next(&e->keys, before, &item->spec);
    enum kv_status status;

    if (key == NULL) {
        engine_unknown_key(e, op, &item->spec);
        return false;
    }
    status =
        keys_compare(key, e->job.rank, &item->spec, e->text, sizeof e->text);
    if (status != KV_OK) {
        op_fail(op, status, "%s", e->text);
        return false;
    }
    item->key = key;
    return true;
}

static bool named_twice(struct engine *e, struct kvw_op *op, struct key *key)
{
    if (key->named_by == op->number) {
        engine_stands_twice(e, op, &key->spec);
        return true;
    }
    key->named_by = op->number;
    return false;
}

/* Nothing is sent before every key of the call has been looked at. */
static bool prepare(struct engine *e, struct kvw_op *op, size_t *pieces)
{
    struct key *key = NULL;

    for (size_t i = 0; i < op->item_count; i++) {
        struct op_item *push = op->pushes == NULL ? NULL : &op->pushes[i];
        struct op_item *pull = op->pulls == NULL ? NULL : &op->pulls[i];

        if ((push != NULL && !look_up(e, op, push, key)) ||
            (pull != NULL && !look_up(e, op, pull, key))) {
            return false;
        }
        key = push != NULL ? push->key : pull->key;
        keys_fetch_ahead(key, 0);
        if (named_twice(e, op, key)) {
            return false;
        }
        *pieces += key->slice_count * (size_t)((push != NULL) + (pull != NULL));
    }
    return true;
}

void engine_transfer(struct engine *e, struct kvw_op *op)
{
    size_t pieces = 0;

    if (e->left && engine_stops(e, op)) {
        return;
    }
    op->left = 1; /* So that it cannot end in the middle of this. */
    if (!prepare(e, op, &pieces) || !engine_reserve(op, pieces)) {
        engine_one_less(e, op);
        return;
    }
    for (size_t i = 0, burst = 0; i < op->item_count;) {
        i += submit(e, op, i);
        if (i - burst >= BURST_KEYS) {
            engine_pump(e); /* The network need not wait for the rest. */
            burst = i;
        }
    }
    engine_one_less(e, op);
}

/* A round in which rank 0 brings the value. Under async a push is a round by
 * itself, and so is that of rank 0: the others have nothing to do. */
void engine_reset(struct engine *e, struct kvw_op *op)
{
    bool brings = e->job.rank == 0;
    size_t pieces = 0;

    for (size_t i = 0; i < op->item_count; i++) {
        op->pushes[i].data_count = brings ? 1 : 0;
    }
    if (e->policy == KV_POLICY_ASYNC && !brings) {
        (void)prepare(e, op, &pieces);
        engine_done(e, op);
        return;
    }
    engine_transfer(e, op);
}
