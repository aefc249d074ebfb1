#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/shard_settings.h"

/* What changes for all keys is a list behind the optimizer's settings, what
 * changes for one key a list that its slices' records point to. Either is
 * replaced by one store. A change that is there already is answered again. */

struct sentence_at {
    char *text;
    size_t size;
};

/* --- One key -------------------------------------------------------------- */

static struct own_block *new_own(struct shard *s, const struct entry *e,
                                 const struct kv_hyper *h, size_t *count)
{
    struct kv_hyper list[KV_HYPER_OWN_MAX];
    struct own_block *b;

    *count = 0;
    if (e->own != NULL) {
        *count = e->own->hyper_count;
        memcpy(list, e->own->hypers, *count * sizeof *list);
    }
    *count = kv_hyper_forget(list, *count, shard_rounds(e) + 1);
    if (!kv_hyper_fits(list, *count, KV_HYPER_OWN_MAX, h)) {
        return NULL;
    }
    *count = kv_hyper_put(list, *count, h);
    b = arena_alloc(s->arena, sizeof *b + *count * sizeof *list);
    if (b == NULL) {
        return NULL;
    }
    memset(b, 0, sizeof *b);
    b->generation = s->generation;
    b->hyper_count = (uint32_t)*count;
    b->only_scales = kv_hyper_only_scales(list, *count);
    memcpy(b->hypers, list, *count * sizeof *list);
    return b;
}

static void set_own(struct shard *s, struct entry *e, struct own_block *b)
{
    struct own_block *old = e->own;

    arena_store(&e->record->own, b == NULL ? 0 : arena_offset(s->arena, b));
    e->own = b;
    if (old != NULL) {
        arena_release(s->arena, old);
    }
}

static enum kv_status change_own(struct shard *s, struct entry *e,
                                 const struct kv_hyper *h,
                                 struct sentence_at why)
{
    size_t count;
    struct own_block *b = new_own(s, e, h, &count);

    if (b == NULL) {
        snprintf(
            why.text, why.size,
            "%s of key id %u slice %u cannot change: it has %zu settings of "
            "its own, announced ones included, of at most %d, or the "
            "server has no room left (--arena-dir, --arena-size)",
            h->name, e->key_id, e->slice, count, KV_HYPER_OWN_MAX);
        return KV_ENOSPC;
    }
    set_own(s, e, b);
    return KV_OK;
}

void shard_drop_own(struct shard *s)
{
    struct entry *e;

    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        if (e->own != NULL && e->own->generation != s->generation) {
            set_own(s, e, NULL);
        }
    }
}

enum kv_status shard_recover_own(struct shard *s, struct entry *e)
{
    struct own_block *b;

    if (e->record->own == 0) {
        return KV_OK;
    }
    if (arena_claim(s->arena, e->record->own) != KV_OK) {
        return KV_EDATALOSS;
    }
    b = arena_at(s->arena, e->record->own);
    if (b->hyper_count > KV_HYPER_OWN_MAX) {
        return KV_EDATALOSS;
    }
    e->own = b;
    return KV_OK;
}

/* --- All keys ------------------------------------------------------------- */

/* The slice that is behind all others; NULL: there is no slice. */
static const struct entry *last_of_all(const struct shard *s)
{
    const struct entry *last = NULL, *e;

    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        if (last == NULL || shard_rounds(e) < shard_rounds(last)) {
            last = e;
        }
    }
    return last;
}

static enum kv_status too_many(const struct entry *last, const char *name,
                               struct sentence_at why)
{
    snprintf(
        why.text, why.size,
        "%s cannot change: %d changes for all keys wait for key id %u slice "
        "%u, which is at round %" PRIu64,
        name, KV_HYPER_ALL_MAX, last == NULL ? 0 : last->key_id,
        last == NULL ? 0 : last->slice, last == NULL ? 0 : shard_rounds(last));
    return KV_ENOSPC;
}

static enum kv_status change_all(struct shard *s, const struct kv_hyper *h,
                                 struct sentence_at why)
{
    struct kv_hyper list[KV_HYPER_ALL_MAX];
    size_t count = s->spec_block->hyper_count;

    memcpy(list, s->spec_block->hypers, count * sizeof *list);
    if (!kv_hyper_fits(list, count, KV_HYPER_ALL_MAX, h)) {
        const struct entry *last = last_of_all(s);

        count = kv_hyper_forget(list, count,
                                last == NULL ? 1 : shard_rounds(last) + 1);
        if (!kv_hyper_fits(list, count, KV_HYPER_ALL_MAX, h)) {
            return too_many(last, h->name, why);
        }
    }
    count = kv_hyper_put(list, count, h);
    return shard_install(s, &s->base, s->generation, list, count, why.text,
                         why.size);
}

/* --- Checks --------------------------------------------------------------- */

/* A slice that the change names and that has committed its round; NULL: none
 * has. */
static const struct entry *too_far(const struct shard *s,
                                   const struct entry *one, uint64_t round)
{
    const struct entry *e;

    if (one != NULL) {
        return shard_rounds(one) >= round ? one : NULL;
    }
    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        if (shard_rounds(e) >= round) {
            return e;
        }
    }
    return NULL;
}

static bool is_there(const struct shard *s, const struct entry *one,
                     const struct kv_hyper *h)
{
    if (one == NULL) {
        return kv_hyper_has(s->spec_block->hypers, s->spec_block->hyper_count,
                            h);
    }
    return one->own != NULL &&
           kv_hyper_has(one->own->hypers, one->own->hyper_count, h);
}

/* The change, if the settings of its round can have it. */
static enum kv_status make(struct shard *s, const struct entry *one,
                           const struct hyper_change *c, struct kv_hyper *h,
                           struct sentence_at why)
{
    struct kv_optim_spec spec = s->base;
    struct kv_optim_scale scale;
    uint64_t round = c->round;

    if (one != NULL && round == 0) {
        round = shard_rounds(one) + 1;
    }
    kv_hyper_apply(s->spec_block->hypers, s->spec_block->hyper_count, round,
                   &spec, &scale);
    if (one != NULL && one->own != NULL) {
        kv_hyper_apply(one->own->hypers, one->own->hyper_count, round, &spec,
                       &scale);
    }
    return kv_hyper_make(&spec, c->name, c->value, c->round, h, why.text,
                         why.size);
}

enum kv_status shard_hyper(struct shard *s, const struct hyper_change *c,
                           char *error, size_t error_size)
{
    struct entry *one =
        c->one ? map_get(&s->slices, shard_slice_key(c->key_id, c->slice))
               : NULL;
    struct sentence_at why = {error, error_size};
    const struct entry *far;
    enum kv_status status;
    struct kv_hyper h;

    if (s->spec_block == NULL) {
        snprintf(error, error_size,
                 "%s cannot change: no optimizer is set; call "
                 "kvw_set_optimizer first",
                 c->name);
        return KV_EINVAL;
    }
    if (c->one && one == NULL) {
        snprintf(error, error_size, "%s of key id %u slice %u: %s", c->name,
                 c->key_id, c->slice, SHARD_DELETED);
        return KV_ENOTFOUND;
    }
    status = make(s, one, c, &h, why);
    if (status != KV_OK || is_there(s, one, &h)) {
        return status;
    }
    far = c->round == 0 ? NULL : too_far(s, one, c->round);
    if (far != NULL) {
        snprintf(error, error_size,
                 "%s cannot change from round %" PRIu64
                 " on: key id %u slice %u "
                 "has committed round %" PRIu64
                 "; state a later one, or 0 for the next",
                 c->name, c->round, far->key_id, far->slice, shard_rounds(far));
        return KV_EINVAL;
    }
    return one != NULL ? change_own(s, one, &h, why) : change_all(s, &h, why);
}
