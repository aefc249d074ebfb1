#include "worker/lookup.h"

#include <inttypes.h>

/* These two apart: what is called for each key has no large locals. */
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
