#include "worker/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

/* --- One key -------------------------------------------------------------- */

static void leave_block(struct key_block *b)
{
    if (b != NULL && --b->live == 0) {
        mem_free(b);
    }
}

/* Zeroed, but for its block. */
static struct key *take_place(struct keys *k)
{
    struct key *key;

    if (k->block == NULL || k->block->used == KEYS_BLOCK) {
        struct key_block *b = mem_aligned(_Alignof(struct key), sizeof *b);

        if (b == NULL) {
            return NULL;
        }
        memset(b, 0, sizeof *b);
        leave_block(k->block);
        b->live = 1;
        k->block = b;
    }
    key = &k->block->keys[k->block->used++];
    key->block = k->block;
    k->block->live++;
    return key;
}

struct key *keys_new(struct keys *k, const struct key_spec *spec)
{
    struct key *key = take_place(k);

    if (key == NULL) {
        return NULL;
    }
    key->spec = *spec;
    key->count = 1;
    for (uint32_t i = 0; i < spec->dims; i++) {
        key->count *= spec->shape[i];
    }
    if (spec->name != NULL) {
        key->spec.name = mem_strdup(spec->name);
        if (key->spec.name == NULL) {
            leave_block(key->block);
            return NULL;
        }
    }
    return key;
}

void keys_free(struct key *key)
{
    if (key == NULL) {
        return;
    }
    mem_free((char *)key->spec.name);
    if (key->slices != &key->only) {
        mem_free(key->slices);
    }
    leave_block(key->block);
}

enum kv_status keys_cut(struct key *key, uint64_t step, uint64_t slice_count)
{
    if (step == 0 || slice_count != (key->count - 1) / step + 1) {
        return KV_EPROTO;
    }
    if (key->slices != &key->only) {
        mem_free(key->slices);
    }
    if (slice_count == 1) {
        key->slices = &key->only;
        memset(&key->only, 0, sizeof key->only);
    } else {
        key->slices = mem_zalloc(slice_count, sizeof *key->slices);
    }
    if (key->slices == NULL) {
        return KV_ENOMEM; /* keys_free() has the rest. */
    }
    key->slice_step = step;
    key->slice_count = (uint32_t)slice_count;
    for (uint32_t i = 0; i < key->slice_count; i++) {
        struct slice *s = &key->slices[i];
        uint64_t left = key->count - i * step;

        s->dtype = key->spec.dtype;
        s->count = (uint32_t)(left < step ? left : step);
        s->owner = key;
    }
    return KV_OK;
}

bool keys_plain(const struct key_spec *spec)
{
    static const char *const endings[] = {"gamma", "beta", "bias"};
    size_t size = spec->name == NULL ? 0 : strlen(spec->name);

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t end = strlen(endings[i]);

        if (size >= end && strcmp(spec->name + size - end, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* --- Texts ---------------------------------------------------------------- */

const char *keys_text(const struct key_spec *spec, char out[KEYS_TEXT_MAX])
{
    if (spec->name != NULL) {
        snprintf(out, KEYS_TEXT_MAX, "key '%s'", spec->name);
    } else {
        snprintf(out, KEYS_TEXT_MAX, "key %" PRId64, spec->number);
    }
    return out;
}

const char *keys_form_text(const struct key_spec *spec,
                           char out[KEYS_FORM_TEXT_MAX])
{
    size_t used = (size_t)snprintf(out, KEYS_FORM_TEXT_MAX, "%s (",
                                   kv_dtype_name(spec->dtype));

    for (uint32_t i = 0; i < spec->dims; i++) {
        used +=
            (size_t)snprintf(out + used, KEYS_FORM_TEXT_MAX - used,
                             "%s%" PRIu64, i == 0 ? "" : ",", spec->shape[i]);
    }
    snprintf(out + used, KEYS_FORM_TEXT_MAX - used, ")");
    return out;
}

static bool same_form(const struct key_spec *a, const struct key_spec *b)
{
    return a->dtype == b->dtype && a->dims == b->dims &&
           keys_same_shape(a->dims, a->shape, b->shape);
}

/* Apart, so that the good case has no large locals: they are cleared. */
__attribute__((noinline)) static void tell_forms(const struct key *key,
                                                 uint32_t rank,
                                                 const struct key_spec *spec,
                                                 char *error, size_t error_size)
{
    char name[KEYS_TEXT_MAX];
    char registered[KEYS_FORM_TEXT_MAX], given[KEYS_FORM_TEXT_MAX];

    snprintf(
        error, error_size, "%s on rank %" PRIu32 ": registered as %s, given %s",
        keys_text(spec, name), rank, keys_form_text(&key->spec, registered),
        keys_form_text(spec, given));
}

enum kv_status keys_compare(const struct key *key, uint32_t rank,
                            const struct key_spec *spec, char *error,
                            size_t error_size)
{
    if (same_form(&key->spec, spec)) {
        return KV_OK;
    }
    tell_forms(key, rank, spec, error, error_size);
    return KV_EMISMATCH;
}

enum kv_status keys_compare_forms(const struct key_spec *in,
                                  const struct key_spec *out, char *error,
                                  size_t error_size)
{
    char name[KEYS_TEXT_MAX];
    char first[KEYS_FORM_TEXT_MAX], second[KEYS_FORM_TEXT_MAX];

    if (same_form(in, out)) {
        return KV_OK;
    }
    snprintf(error, error_size, "%s: given as %s, but its out is %s",
             keys_text(in, name), keys_form_text(in, first),
             keys_form_text(out, second));
    return KV_EMISMATCH;
}

/* --- The table ------------------------------------------------------------ */

void keys_init(struct keys *k)
{
    map_init(&k->by_number);
    strmap_init(&k->by_name);
    k->block = NULL;
    k->removals = 0;
}

void keys_fini(struct keys *k)
{
    struct key *key;
    size_t at = 0;

    while ((key = map_next(&k->by_number, &at, NULL)) != NULL) {
        keys_free(key);
    }
    at = 0;
    while ((key = strmap_next(&k->by_name, &at, NULL, NULL)) != NULL) {
        keys_free(key);
    }
    map_fini(&k->by_number);
    strmap_fini(&k->by_name);
    leave_block(k->block);
    k->block = NULL;
}

struct key *keys_find(const struct keys *k, const struct key_spec *spec)
{
    if (spec->name == NULL) {
        return map_get(&k->by_number, (uint64_t)spec->number);
    }
    return strmap_get(&k->by_name, spec->name, strlen(spec->name));
}

static bool is_named(const struct key *key, const struct key_spec *spec)
{
    if (spec->name == NULL || key->spec.name == NULL) {
        return spec->name == key->spec.name && spec->number == key->spec.number;
    }
    return strcmp(spec->name, key->spec.name) == 0;
}

struct key *keys_find_next(const struct keys *k, struct key *before,
                           const struct key_spec *spec)
{
    struct key *key = before == NULL ? NULL : before->follower;

    if (key != NULL && before->guessed_at == k->removals &&
        is_named(key, spec)) {
        return key;
    }
    key = keys_find(k, spec);
    if (before != NULL) {
        before->follower = key;
        before->guessed_at = k->removals;
    }
    return key;
}

enum kv_status keys_add(struct keys *k, struct key *key)
{
    const char *name = key->spec.name;

    if (name == NULL) {
        return map_put(&k->by_number, (uint64_t)key->spec.number, key);
    }
    return strmap_put(&k->by_name, name, strlen(name), key);
}

struct key *keys_remove(struct keys *k, const struct key_spec *spec)
{
    k->removals++; /* Whatever followed another key may be gone. */
    if (spec->name == NULL) {
        return map_remove(&k->by_number, (uint64_t)spec->number);
    }
    return strmap_remove(&k->by_name, spec->name, strlen(spec->name));
}

struct key *keys_each(const struct keys *k, struct keys_walk *at)
{
    struct key *key = map_next(&k->by_number, &at->number, NULL);

    return key != NULL ? key : strmap_next(&k->by_name, &at->name, NULL, NULL);
}
