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
    void *const *data; /* Of a pull: all tensors, of which part.out is first. */
    uint32_t others;   /* Tensors to copy the pulled value to. */
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
    const struct key *key = s->owner;

    return &e->routes[key->homes[s - key->slices]];
}

/* Rather a server that is gone than a rank that is late, rather that than
 * anything. */
bool engine_look(const struct engine *e, const struct kvw_op *op,
                 struct engine_view *out)
{
    out->key = NULL;
    for (size_t i = 0; i < op->piece_count; i++) {
        const struct piece *p = &op->pieces[i];
        const struct slice *s = p->part.slice;
        const struct key *key = s->owner;
        bool down = !route_is_up(route_of(e, s));

        if (p->done) {
            continue;
        }
        if (out->key == NULL || down ||
            (key->stall.round > 0 && key->stall.slice == s)) {
            out->key = key;
            out->route = route_of(e, s);
        }
        if (down) {
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
        memcpy((char *)p->data[i] + offset, (const char *)p->data[0] + offset,
               count * kv_dtype_size(s->dtype));
    }
}

static void succeeded(struct engine *e, struct piece *p, uint64_t round)
{
    struct key *key = p->part.slice->owner;

    if (p->part.pull) {
        if (p->others > 0) {
            copy_to_others(p);
        }
        e->pulls++;
    } else {
        e->pushes++;
    }
    if (e->stalls > 0 && key->stall.slice == p->part.slice &&
        key->stall.round > 0 && key->stall.round <= round) {
        key->stall.round = 0;
        e->stalls--;
    }
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

void engine_part_done(struct route *r, struct part *part, enum kv_status status,
                      const char *text, uint64_t round)
{
    struct engine *e = r->data;
    struct piece *p = LIST_ENTRY(part, struct piece, part);
    struct kvw_op *op = part->owner;
    struct key *key = part->slice->owner;

    if (status == KV_OK) {
        succeeded(e, p, round);
    } else {
        refused(r, op, key, status, text);
    }
    p->done = true;
    engine_one_less(e, op);
}

/* --- Start ---------------------------------------------------------------- */

static inline struct piece *start_piece(struct kvw_op *op, struct key *key,
                                        uint32_t index)
{
    struct piece *p = &op->pieces[op->piece_count++];

    p->done = false;
    p->part.rows = NULL;
    p->part.slice = &key->slices[index];
    p->part.priority = op->priority;
    p->part.offset =
        (size_t)(index * key->slice_step) * kv_dtype_size(key->spec.dtype);
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
    p->part.out = NULL;
    return &p->part;
}

struct part *engine_pull(struct kvw_op *op, struct key *key, uint32_t index,
                         void *const *data, uint32_t data_count)
{
    struct piece *p = start_piece(op, key, index);

    p->part.pull = true;
    p->part.inputs = NULL;
    p->part.input_count = 0;
    p->part.out = data[0];
    p->data = data;
    p->others = data_count - 1;
    return &p->part;
}

static void submit(struct engine *e, struct kvw_op *op, size_t index)
{
    struct op_item *push = op->pushes == NULL ? NULL : &op->pushes[index];
    struct op_item *pull = op->pulls == NULL ? NULL : &op->pulls[index];
    struct key *key = push != NULL ? push->key : pull->key;

    for (uint32_t i = 0; i < key->slice_count; i++) {
        struct route *r = &e->routes[key->homes[i]];

        if (push != NULL) {
            route_submit(r,
                         engine_push(op, key, i, push->data, push->data_count));
        }
        if (pull != NULL) {
            route_submit(r,
                         engine_pull(op, key, i, pull->data, pull->data_count));
        }
    }
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
        __builtin_prefetch(key->follower);
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

    op->left = 1; /* So that it cannot end in the middle of this. */
    if (!prepare(e, op, &pieces) || !engine_reserve(op, pieces)) {
        engine_one_less(e, op);
        return;
    }
    for (size_t i = 0; i < op->item_count; i++) {
        submit(e, op, i);
        if (i % BURST_KEYS == BURST_KEYS - 1) {
            engine_pump(e); /* The network need not wait for the rest. */
        }
    }
    engine_one_less(e, op);
}
