#include "worker/arguments.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPY_ALIGN ((size_t)64)

/* --- Keys ----------------------------------------------------------------- */

enum kv_status arguments_key(const struct kvw_key *key, struct key_spec *out,
                             char text[ARGUMENTS_TEXT_MAX])
{
    size_t size;

    out->name = key->name;
    out->number = key->name == NULL ? key->number : 0;
    out->dtype = KV_F32;
    out->dims = 0;
    out->storage = KV_DENSE;
    if (key->name == NULL) {
        return KV_OK;
    }
    size = strnlen(key->name, KV_KEY_NAME_MAX + 1);
    if (size == 0 || size > KV_KEY_NAME_MAX) {
        snprintf(text, ARGUMENTS_TEXT_MAX,
                 "key '%.32s...': a name has 1 to %d bytes", key->name,
                 KV_KEY_NAME_MAX);
        return KV_EINVAL;
    }
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)key->name[i];

        if (c < 0x20 || c == 0x7f) {
            snprintf(text, ARGUMENTS_TEXT_MAX,
                     "byte %zu of a key's name is the control character 0x%02x",
                     i, c);
            return KV_EINVAL;
        }
    }
    return KV_OK;
}

/* --- Tensors -------------------------------------------------------------- */

/* NULL if it is fine. */
static const char *wrong_shape(const struct kvw_tensor *t)
{
    uint64_t count = 1;

    if (t->dims < 1 || t->dims > KVW_DIMS_MAX) {
        return "it has 1 to 8 dimensions";
    }
    for (uint32_t i = 0; i < t->dims; i++) {
        if (t->shape[i] == 0) {
            return "no dimension is 0";
        }
        if (__builtin_mul_overflow(count, t->shape[i], &count) ||
            count > KV_COUNT_MAX) {
            return "it has at most 2^40 elements";
        }
    }
    return NULL;
}

static const char *wrong_tensor(const struct kvw_tensor *t)
{
    size_t element;

    if (!kv_dtype_known((int)t->dtype)) {
        return "its dtype is none of enum kvw_dtype";
    }
    element = kv_dtype_size((enum kv_dtype)t->dtype);
    if ((t->data == NULL && (t->storage == KVW_DENSE || t->row_count > 0)) ||
        (uintptr_t)t->data % element != 0) {
        return "its data is aligned to its elements, and not NULL";
    }
    return wrong_shape(t);
}

static void take_form(struct key_spec *spec, const struct kvw_tensor *t)
{
    spec->dtype = (enum kv_dtype)t->dtype;
    spec->dims = (uint16_t)t->dims; /* Checked: at most KVW_DIMS_MAX. */
    spec->storage = t->storage == KVW_ROW_SPARSE ? KV_ROW_SPARSE : KV_DENSE;
    memcpy(spec->shape, t->shape, sizeof spec->shape); /* All: no loop. */
}

static bool same_form(const struct key_spec *spec, const struct kvw_tensor *t)
{
    return spec->dtype == (enum kv_dtype)t->dtype && spec->dims == t->dims &&
           keys_same_shape(t->dims, spec->shape, t->shape);
}

/* These two apart: what is called for each key has no large locals. */
static enum kv_status no_tensor(const struct key_spec *spec,
                                char text[ARGUMENTS_TEXT_MAX])
{
    char name[KEYS_TEXT_MAX];

    snprintf(text, ARGUMENTS_TEXT_MAX, "%s comes without a tensor",
             keys_text(spec, name));
    return KV_EINVAL;
}

static enum kv_status bad_tensor(const struct key_spec *spec, uint32_t index,
                                 const char *wrong,
                                 char text[ARGUMENTS_TEXT_MAX])
{
    char name[KEYS_TEXT_MAX];

    snprintf(text, ARGUMENTS_TEXT_MAX, "%s: tensor %" PRIu32 " is refused: %s",
             keys_text(spec, name), index, wrong);
    return KV_EINVAL;
}

static enum kv_status check_tensors(struct key_spec *spec,
                                    const struct kvw_item *item,
                                    char text[ARGUMENTS_TEXT_MAX])
{
    if (item->tensors == NULL || item->tensor_count == 0) {
        return no_tensor(spec, text);
    }
    for (uint32_t i = 0; i < item->tensor_count; i++) {
        const struct kvw_tensor *t = &item->tensors[i];
        const char *wrong = wrong_tensor(t);

        if (wrong == NULL && i == 0) {
            take_form(spec, t);
        } else if (wrong == NULL && !same_form(spec, t)) {
            wrong = "dtype and shape are those of the first tensor";
        }
        if (wrong != NULL) {
            return bad_tensor(spec, i, wrong, text);
        }
    }
    return KV_OK;
}

enum kv_status arguments_spec(const struct kvw_item *item, struct key_spec *out,
                              char text[ARGUMENTS_TEXT_MAX])
{
    enum kv_status status = arguments_key(&item->key, out, text);

    return status == KV_OK ? check_tensors(out, item, text) : status;
}

/* --- Items ---------------------------------------------------------------- */

/* Where the next item of an op goes. */
struct cursor {
    struct op_item *item;
    void **data;
    char *names;
};

static void take_name(struct cursor *at, struct key_spec *spec)
{
    if (spec->name != NULL) {
        size_t size = strlen(spec->name) + 1;

        spec->name = memcpy(at->names, spec->name, size);
        at->names += size;
    }
}

static enum kv_status take_item(struct cursor *at, const struct kvw_item *item,
                                char text[ARGUMENTS_TEXT_MAX])
{
    struct op_item *to = at->item;
    enum kv_status status = arguments_spec(item, &to->spec, text);

    if (status != KV_OK) {
        return status;
    }
    take_name(at, &to->spec);
    to->data = at->data;
    to->data_count = item->tensor_count;
    for (uint32_t i = 0; i < item->tensor_count; i++) {
        *at->data++ = item->tensors[i].data;
    }
    to->key = NULL;
    at->item++;
    return KV_OK;
}

/* Of the items behind number i, one whose tensor will be looked at soon. */
static void fetch_ahead(const struct kvw_item *items, size_t i, size_t count)
{
    if (i + 8 < count) {
        const char *tensor = (const char *)items[i + 8].tensors;

        __builtin_prefetch(tensor);
        __builtin_prefetch(tensor + 64);
    }
}

static bool has_rows(const struct kvw_item *item)
{
    for (uint32_t i = 0; item->tensors != NULL && i < item->tensor_count; i++) {
        if (item->tensors[i].storage != KVW_DENSE) {
            return true;
        }
    }
    return false;
}

static void look_at_key(const struct kvw_key *key, struct arguments_survey *s)
{
    if (key->name == NULL) {
        s->number = s->number == NULL ? key : s->number;
        return;
    }
    s->name = s->name == NULL ? key : s->name;
    s->name_bytes += strnlen(key->name, KV_KEY_NAME_MAX) + 1;
}

void arguments_look(const struct kvw_item *items, size_t count,
                    struct arguments_survey *s)
{
    for (size_t i = 0; items != NULL && i < count; i++) {
        fetch_ahead(items, i, count);
        s->tensors += items[i].tensor_count;
        look_at_key(&items[i].key, s);
        s->rows = s->rows || has_rows(&items[i]);
    }
}

enum kv_status arguments_kind(const struct arguments_survey *s,
                              enum key_kind stores,
                              char text[ARGUMENTS_TEXT_MAX])
{
    if (s->number != NULL && s->name != NULL) {
        snprintf(text, ARGUMENTS_TEXT_MAX,
                 "key %" PRId64 " is an integer, and key '%.200s' a string: "
                 "the keys of a store are of one kind",
                 s->number->number, s->name->name);
        return KV_EINVAL;
    }
    if (s->name != NULL && stores == KEYS_INTEGERS) {
        snprintf(text, ARGUMENTS_TEXT_MAX,
                 "key '%.200s' is a string, and the keys of this store are "
                 "integers",
                 s->name->name);
        return KV_EINVAL;
    }
    if (s->number != NULL && stores == KEYS_STRINGS) {
        snprintf(text, ARGUMENTS_TEXT_MAX,
                 "key %" PRId64 " is an integer, and the keys of this store "
                 "are strings",
                 s->number->number);
        return KV_EINVAL;
    }
    return KV_OK;
}

static enum kv_status take_items(struct cursor *at,
                                 const struct kvw_item *items, size_t count,
                                 struct op_item **out,
                                 char text[ARGUMENTS_TEXT_MAX])
{
    *out = items == NULL ? NULL : at->item;
    for (size_t i = 0; items != NULL && i < count; i++) {
        enum kv_status status = take_item(at, &items[i], text);

        fetch_ahead(items, i, count);

        if (status != KV_OK) {
            return status;
        }
    }
    return KV_OK;
}

static bool same_key(const struct key_spec *a, const struct key_spec *b)
{
    if (a->name == NULL || b->name == NULL) {
        return a->name == b->name && a->number == b->number;
    }
    return strcmp(a->name, b->name) == 0;
}

static enum kv_status check_pairs(const struct kvw_op *op,
                                  char text[ARGUMENTS_TEXT_MAX])
{
    char push[KEYS_TEXT_MAX], pull[KEYS_TEXT_MAX];

    for (size_t i = 0; i < op->item_count; i++) {
        if (op->pushes == NULL || op->pulls == NULL ||
            same_key(&op->pushes[i].spec, &op->pulls[i].spec)) {
            continue;
        }
        snprintf(text, ARGUMENTS_TEXT_MAX,
                 "item %zu pushes %.240s, but pulls %.200s", i,
                 keys_text(&op->pushes[i].spec, push),
                 keys_text(&op->pulls[i].spec, pull));
        return KV_EINVAL;
    }
    return KV_OK;
}

enum kv_status arguments_items(struct kvw_op *op, const struct kvw_item *pushes,
                               const struct kvw_item *pulls, size_t count,
                               const struct arguments_survey *s,
                               char text[ARGUMENTS_TEXT_MAX])
{
    size_t sides = (size_t)(pushes != NULL) + (size_t)(pulls != NULL);
    enum kv_status status;
    struct cursor at;

    if (sides == 0 || count == 0 || count > KV_KEYS_MAX) {
        snprintf(text, ARGUMENTS_TEXT_MAX, "no items, or more than %u",
                 KV_KEYS_MAX);
        return KV_EINVAL;
    }
    status = op_reserve(op, sides * count, s->tensors, s->name_bytes);
    if (status != KV_OK) {
        snprintf(text, ARGUMENTS_TEXT_MAX, "out of memory for %zu items",
                 count);
        return status;
    }
    at = (struct cursor){op->items, op->data, op->names};
    status = take_items(&at, pushes, count, &op->pushes, text);
    if (status == KV_OK) {
        status = take_items(&at, pulls, count, &op->pulls, text);
    }
    op->item_count = count;
    return status == KV_OK ? check_pairs(op, text) : status;
}

static enum kv_status check_out(size_t i, const struct key_spec *in,
                                const struct key_spec *out,
                                char text[ARGUMENTS_TEXT_MAX])
{
    char given[KEYS_TEXT_MAX], wanted[KEYS_TEXT_MAX];

    if (same_key(in, out)) {
        return keys_compare_forms(in, out, text, ARGUMENTS_TEXT_MAX);
    }
    snprintf(text, ARGUMENTS_TEXT_MAX,
             "item %zu gives %.240s, but its out is of %.200s", i,
             keys_text(in, given), keys_text(out, wanted));
    return KV_EINVAL;
}

enum kv_status arguments_outs(const struct kvw_item *items,
                              const struct kvw_item *outs, size_t count,
                              char text[ARGUMENTS_TEXT_MAX])
{
    enum kv_status status = KV_OK;
    struct key_spec in, out;

    for (size_t i = 0; items != NULL && status == KV_OK && i < count; i++) {
        status = arguments_spec(&items[i], &in, text);
        if (status == KV_OK) {
            status = arguments_spec(&outs[i], &out, text);
        }
        if (status == KV_OK) {
            status = check_out(i, &in, &out, text);
        }
    }
    return status;
}

static enum kv_status take_keys(struct kvw_op *op, const struct kvw_key *keys,
                                size_t count, char text[ARGUMENTS_TEXT_MAX])
{
    struct cursor at = {op->items, op->data, op->names};

    for (size_t i = 0; i < count; i++) {
        struct op_item *to = at.item++;
        enum kv_status status = arguments_key(&keys[i], &to->spec, text);

        if (status != KV_OK) {
            return status;
        }
        take_name(&at, &to->spec);
        to->data = NULL;
        to->data_count = 0;
        to->key = NULL;
    }
    op->pushes = op->items;
    op->item_count = count;
    return KV_OK;
}

enum kv_status arguments_keys(struct kvw_op *op, const struct kvw_key *keys,
                              size_t count, char text[ARGUMENTS_TEXT_MAX])
{
    struct arguments_survey survey = {0};
    enum kv_status status;

    if (keys == NULL || count == 0 || count > KV_KEYS_MAX) {
        snprintf(text, ARGUMENTS_TEXT_MAX, "no keys, or more than %u",
                 KV_KEYS_MAX);
        return KV_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        look_at_key(&keys[i], &survey);
    }
    status = arguments_kind(&survey, KEYS_ANY, text);
    if (status != KV_OK) {
        return status;
    }
    if (op_reserve(op, count, 0, survey.name_bytes) != KV_OK) {
        snprintf(text, ARGUMENTS_TEXT_MAX, "out of memory for %zu keys", count);
        return KV_ENOMEM;
    }
    return take_keys(op, keys, count, text);
}

/* --- Copies --------------------------------------------------------------- */

static size_t size_of(const struct op_item *item)
{
    size_t size = kv_dtype_size(item->spec.dtype);

    for (uint32_t i = 0; i < item->spec.dims; i++) {
        size *= item->spec.shape[i];
    }
    return size;
}

static size_t padded_size(const struct op_item *item)
{
    return (size_of(item) + COPY_ALIGN - 1) & ~(COPY_ALIGN - 1);
}

enum kv_status arguments_copy(struct op_pool *pool, struct kvw_op *op,
                              char text[ARGUMENTS_TEXT_MAX])
{
    size_t total = 0;
    char *to;

    for (size_t i = 0; i < op->item_count; i++) {
        total += padded_size(&op->pushes[i]) * op->pushes[i].data_count;
    }
    to = op_copy_room(pool, op, total);
    if (to == NULL) {
        snprintf(text, ARGUMENTS_TEXT_MAX,
                 "out of memory for a copy of %zu bytes", total);
        return KV_ENOMEM;
    }
    for (size_t i = 0; i < op->item_count; i++) {
        struct op_item *item = &op->pushes[i];

        for (uint32_t n = 0; n < item->data_count; n++) {
            item->data[n] = memcpy(to, item->data[n], size_of(item));
            to += padded_size(item);
        }
    }
    return KV_OK;
}
