#include "worker/lookup.h"

#include <inttypes.h>

#include "worker/moves.h"

/* These apart: what is called for each key has no large locals. */
static void unknown_key(uint32_t rank, struct kvw_op *op,
                        const struct key_spec *spec)
{
    char name[KEYS_TEXT_MAX];

    op_fail(op, KV_ENOTFOUND,
            "%s: rank %" PRIu32 " has not registered it with kvw_init()",
            keys_text(spec, name), rank);
}

static void stands_twice(uint32_t rank, struct kvw_op *op,
                         const struct key_spec *spec)
{
    char name[KEYS_TEXT_MAX];

    op_fail(op, KV_EINVAL, "%s stands twice in one call of rank %" PRIu32,
            keys_text(spec, name), rank);
}

static void rows_of_dense(uint32_t rank, struct kvw_op *op,
                          const struct key_spec *spec)
{
    char name[KEYS_TEXT_MAX];

    op_fail(op, KV_EMISMATCH,
            "%s on rank %" PRIu32
            ": rows can be pulled of a row_sparse value, and it was "
            "registered as a dense one",
            keys_text(spec, name), rank);
}

/* --- Items ---------------------------------------------------------------- */

static bool look_up(const struct keys *keys, uint32_t rank, struct kvw_op *op,
                    struct op_item *item, struct key *before)
{
    item->key = keys_find_next(keys, before, &item->spec);
    if (item->key == NULL) {
        unknown_key(rank, op, &item->spec);
        return false;
    }
    op->status =
        keys_compare(item->key, rank, &item->spec, op->text, sizeof op->text);
    return op->status == KV_OK;
}

bool lookup_items(const struct keys *keys, uint32_t rank, struct kvw_op *op)
{
    struct key *key = NULL;

    for (size_t i = 0; i < op->item_count; i++) {
        struct op_item *push = op->pushes == NULL ? NULL : &op->pushes[i];
        struct op_item *pull = op->pulls == NULL ? NULL : &op->pulls[i];

        if ((push != NULL && !look_up(keys, rank, op, push, key)) ||
            (pull != NULL && !look_up(keys, rank, op, pull, key))) {
            return false;
        }
        key = push != NULL ? push->key : pull->key;
        if (key->named_by == op->number) {
            stands_twice(rank, op, &key->spec);
            return false;
        }
        key->named_by = op->number;
    }
    return true;
}

/* Into a table of their own, to see whether one stands there twice. */
bool lookup_once(uint32_t rank, struct kvw_op *op)
{
    enum kv_status status = KV_OK;
    struct keys seen;

    keys_init(&seen);
    for (size_t i = 0; i < op->item_count && status == KV_OK; i++) {
        struct key *key = keys_new(&seen, &op->pushes[i].spec);

        status = key == NULL ? KV_ENOMEM : keys_add(&seen, key);
        if (status == KV_EEXIST) {
            stands_twice(rank, op, &op->pushes[i].spec);
        }
        if (status != KV_OK) {
            keys_free(key);
        }
    }
    keys_fini(&seen);
    if (status == KV_ENOMEM) {
        op_fail(op, status, "out of memory for %zu keys", op->item_count);
    }
    return status == KV_OK;
}

/* --- Moves ---------------------------------------------------------------- */

static bool look_up_move(const struct keys *keys, uint32_t rank,
                         struct kvw_op *op, struct move *m)
{
    m->key = keys_find(keys, &m->spec);
    if (m->key == NULL) {
        unknown_key(rank, op, &m->spec);
        return false;
    }
    op->status =
        keys_compare(m->key, rank, &m->spec, op->text, sizeof op->text);
    if (op->status != KV_OK) {
        return false;
    }
    if (m->pull && m->rows != NULL && m->key->spec.storage == KV_DENSE) {
        rows_of_dense(rank, op, &m->spec);
        return false;
    }
    return true;
}

/* A key stands in a call once, but pulls of rows any number of times, and what
 * a pushpull pulls comes right after its push. */
static bool may_come_again(const struct kvw_op *op, size_t i)
{
    const struct move *m = &op->moves[i];

    return m->pull &&
           (m->rows != NULL || (i > 0 && !m[-1].pull && m[-1].key == m->key));
}

bool lookup_moves(const struct keys *keys, uint32_t rank, struct kvw_op *op)
{
    for (size_t i = 0; i < op->move_count; i++) {
        struct move *m = &op->moves[i];

        if (!look_up_move(keys, rank, op, m)) {
            return false;
        }
        if (m->key->named_by == op->number && !may_come_again(op, i)) {
            stands_twice(rank, op, &m->spec);
            return false;
        }
        m->key->named_by = op->number;
    }
    return true;
}
