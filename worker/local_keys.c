#include "worker/local_keys.h"

#include <stdio.h>
#include <string.h>

#include "worker/local_value.h"
#include "worker/lookup.h"

/* --- Life ----------------------------------------------------------------- */

static void free_key(struct key *key)
{
    local_value_free(key->value);
    keys_free(key);
}

void local_keys_init(struct local_keys *k)
{
    keys_init(&k->table);
    roll_init(&k->roll);
}

void local_keys_fini(struct local_keys *k)
{
    struct key *key;
    uint64_t at = 0;

    while ((key = roll_walk(&k->roll, &at)) != NULL) {
        if (keys_find(&k->table, &key->spec) == key) {
            (void)keys_remove(&k->table, &key->spec);
        }
        free_key(key);
    }
    roll_fini(&k->roll);
    keys_fini(&k->table);
}

/* --- Init ----------------------------------------------------------------- */

/* In the table and on the roll, or nowhere. */
static enum kv_status enter(struct local_keys *k, struct key *key)
{
    enum kv_status status = keys_add(&k->table, key);

    if (status != KV_OK) {
        return status;
    }
    status = k->roll.next > UINT32_MAX
                 ? KV_ETOOBIG
                 : roll_add(&k->roll, (uint32_t)k->roll.next, key);
    if (status != KV_OK) {
        (void)keys_remove(&k->table, &key->spec);
        return status;
    }
    key->id = (uint32_t)(k->roll.next - 1);
    return KV_OK;
}

static enum kv_status add_key(struct local_keys *k, uint64_t number,
                              const struct op_item *item)
{
    struct key *key = keys_new(&k->table, &item->spec);
    enum kv_status status = KV_ENOMEM;

    if (key == NULL) {
        return status;
    }
    key->named_by = number;
    key->value = local_value_new(key, item->data[0]);
    if (key->value != NULL) {
        status = enter(k, key);
    }
    if (status == KV_OK) {
        return status;
    }
    if (key->value != NULL) {
        local_value_free(key->value);
    }
    keys_free(key);
    return status;
}

static void refuse_key(const struct local_keys *k, struct kvw_op *op,
                       const struct key_spec *spec, enum kv_status status)
{
    const struct key *known = keys_find(&k->table, spec);
    char name[KEYS_TEXT_MAX];

    keys_text(spec, name);
    if (status != KV_EEXIST) {
        op_fail(op, status, "%s: %s", name, kv_strstatus(status));
    } else if (known->named_by == op->number) {
        op_fail(op, KV_EINVAL, "%s stands twice in one call", name);
    } else {
        op_fail(op, KV_EEXIST, "duplicate init of %s", name);
    }
}

static void drop(struct local_keys *k, const struct key_spec *spec)
{
    struct key *key = keys_remove(&k->table, spec);

    (void)roll_remove(&k->roll, key->id);
    free_key(key);
}

void local_keys_add(struct local_keys *k, struct kvw_op *op)
{
    enum kv_status status = KV_OK;
    size_t count = 0;

    while (count < op->item_count && status == KV_OK) {
        status = add_key(k, op->number, &op->pushes[count]);
        count += status == KV_OK ? 1 : 0;
    }
    if (status == KV_OK) {
        return;
    }
    refuse_key(k, op, &op->pushes[count].spec, status);
    while (count-- > 0) {
        drop(k, &op->pushes[count].spec);
    }
}

/* --- Delete --------------------------------------------------------------- */

static bool find_all(const struct local_keys *k, struct kvw_op *op)
{
    for (size_t i = 0; i < op->item_count; i++) {
        struct op_item *item = &op->pushes[i];
        char name[KEYS_TEXT_MAX];

        item->key = keys_find(&k->table, &item->spec);
        if (item->key == NULL) {
            op_fail(op, KV_ENOTFOUND, "the store has no %s",
                    keys_text(&item->spec, name));
            return false;
        }
    }
    return true;
}

bool local_keys_take(struct local_keys *k, struct kvw_op *op)
{
    if (!lookup_once(0, op) || !find_all(k, op)) {
        return false;
    }
    for (size_t i = 0; i < op->item_count; i++) {
        (void)keys_remove(&k->table, &op->pushes[i].spec);
    }
    return true;
}

void local_keys_free(struct local_keys *k, const struct kvw_op *op)
{
    for (size_t i = 0; i < op->item_count; i++) {
        struct key *key = op->pushes[i].key;

        (void)roll_remove(&k->roll, key->id);
        free_key(key);
    }
}

void local_keys_reset(const struct kvw_op *op)
{
    for (size_t i = 0; i < op->item_count; i++) {
        local_value_reset(op->pushes[i].key, op->pushes[i].data[0]);
    }
}

/* --- Questions ------------------------------------------------------------ */

static void take_listing(const struct key *key, struct op_listing *out)
{
    const struct key_spec *spec = &key->spec;

    memset(out, 0, sizeof *out);
    if (spec->name != NULL) {
        snprintf(out->name, sizeof out->name, "%s", spec->name);
    }
    out->number = spec->number;
    out->dtype = spec->dtype;
    out->storage = spec->storage;
    out->dims = spec->dims;
    memcpy(out->shape, spec->shape, sizeof out->shape);
}

void local_keys_list(const struct local_keys *k, struct op_page *page)
{
    const struct key *key;

    page->count = 0;
    while (page->count < KV_LISTED_MAX &&
           (key = roll_walk(&k->roll, &page->from)) != NULL) {
        if (keys_find(&k->table, &key->spec) == key) {
            take_listing(key, &page->keys[page->count++]);
        }
    }
    if (page->count < KV_LISTED_MAX) {
        page->from = 0;
    }
}

void local_keys_version(const struct local_keys *k, struct kvw_op *op)
{
    if (find_all(k, op)) {
        *op->version = op->pushes[0].key->value->version;
    }
}
