#include <stdio.h>
#include <string.h>

#include "server/shard_settings.h"

/* Setting an optimizer is one store: of the word that points to its settings.
 * They are kept as they were set, apart from what has changed since: so the
 * same optimizer is known again whoever sets it, and whenever.
 * Slices follow at their next round, each by its own commit: state that belongs
 * to a lower generation is not read any more. So there is nothing that a kill
 * could leave half done, and nothing to wait for. */

/* --- In the arena --------------------------------------------------------- */

_Static_assert(KV_OPTIM_TEXT_MAX <= KV_PARAMS_TEXT_MAX + 1,
               "settings do not fit");

static void fill(struct spec_block *b, const struct kv_optim_spec *spec,
                 uint64_t generation, const struct kv_hyper *hypers,
                 size_t count)
{
    memset(b, 0, sizeof *b);
    b->generation = generation;
    snprintf(b->name, sizeof b->name, "%s", spec->optim->name);
    kv_optim_format(spec, b->params, sizeof b->params);
    b->hyper_count = count;
    if (count > 0) {
        memcpy(b->hypers, hypers, count * sizeof *hypers);
    }
}

static void use(struct shard *s, struct spec_block *b,
                const struct kv_optim_spec *spec)
{
    s->spec_block = b;
    s->base = *spec;
    s->spec = *spec;
    s->generation = b->generation;
    for (int dtype = 0; dtype < KV_DTYPE_END; dtype++) {
        s->forms[dtype] = state_form(spec, (enum kv_dtype)dtype);
    }
    shard_untune(s);
}

static enum kv_status parse(struct spec_block *b, struct kv_optim_spec *spec,
                            char *error, size_t error_size)
{
    enum kv_status status;

    b->name[KV_NAME_MAX] = '\0';
    b->params[KV_PARAMS_TEXT_MAX] = '\0';
    status = kv_optim_parse(b->name, b->params, spec, error, error_size);
    return status == KV_EINVAL ? KV_EMISMATCH : status;
}

enum kv_status shard_recover_spec(struct shard *s, char *error,
                                  size_t error_size)
{
    uint64_t offset = arena_words(s->arena)[SHARD_WORD_SPEC];
    struct kv_optim_spec spec;
    struct spec_block *b;
    enum kv_status status;

    if (offset == 0) {
        return KV_OK;
    }
    b = arena_at(s->arena, offset);
    if (arena_claim(s->arena, offset) != KV_OK || b->generation == 0 ||
        b->hyper_count > KV_HYPER_ALL_MAX) {
        snprintf(error, error_size,
                 "the arena is damaged: the optimizer's settings make no "
                 "sense");
        return KV_EDATALOSS;
    }
    status = parse(b, &spec, error, error_size);
    if (status == KV_OK) {
        use(s, b, &spec);
    }
    return status;
}

/* --- Setting and changing ------------------------------------------------- */

/* Will every slice find room for its new state? Better said now than at the
 * rounds to come. */
static enum kv_status check_room(const struct shard *s,
                                 const struct kv_optim_spec *spec, char *error,
                                 size_t error_size)
{
    struct arena_usage usage;
    uint64_t more = 0;
    const struct entry *e;

    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        size_t now = state_size(&e->shape, e->value->form);
        size_t then = state_size(&e->shape, state_form(spec, e->dtype));

        if (then > now) {
            more += (then - now) * (e->count / e->shape.count);
        }
    }
    arena_usage(s->arena, &usage);
    if (more > usage.room_bytes) {
        snprintf(error, error_size,
                 "optimizer %s needs %llu bytes more for its state, and the "
                 "server has room for %zu (--arena-dir, --arena-max)",
                 spec->optim->name, (unsigned long long)more, usage.room_bytes);
        return KV_ENOSPC;
    }
    return KV_OK;
}

/* What waits in an open round was pushed under the rule before. */
static enum kv_status check_open(const struct shard *s,
                                 const struct kv_optim *optim, char *error,
                                 size_t error_size)
{
    const struct entry *e;

    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        if (e->arrived > 0 && !e->reset && !shard_trains(optim, e)) {
            snprintf(error, error_size,
                     "key id %u slice %u (%s) is none that %s trains, and %u "
                     "ranks have pushed to its round",
                     e->key_id, e->slice, kv_dtype_name(e->dtype), optim->name,
                     e->arrived);
            return KV_EBUSY;
        }
    }
    return KV_OK;
}

/* In force from each slice's next round on. */
enum kv_status shard_install(struct shard *s, const struct kv_optim_spec *spec,
                             uint64_t generation, const struct kv_hyper *hypers,
                             size_t count, char *error, size_t error_size)
{
    struct spec_block *old = s->spec_block;
    size_t size = sizeof *old + count * sizeof *hypers;
    struct spec_block *b = arena_alloc(s->arena, size);

    if (b == NULL) {
        snprintf(error, error_size,
                 "the server has no room left for the settings of optimizer "
                 "%s: %zu bytes",
                 spec->optim->name, size);
        return KV_ENOSPC;
    }
    fill(b, spec, generation, hypers, count);
    arena_store(&arena_words(s->arena)[SHARD_WORD_SPEC],
                arena_offset(s->arena, b));
    if (old != NULL) {
        arena_release(s->arena, old);
    }
    use(s, b, spec);
    return KV_OK;
}

static bool same(const struct spec_block *b, const struct kv_optim_spec *spec)
{
    char params[sizeof b->params];

    kv_optim_format(spec, params, sizeof params);
    return strcmp(b->name, spec->optim->name) == 0 &&
           strcmp(b->params, params) == 0;
}

static bool is_set(const struct shard *s, const struct kv_optim_spec *spec)
{
    return s->spec_block != NULL && same(s->spec_block, spec);
}

enum kv_status shard_check_optimizer(const struct shard *s,
                                     const struct kv_optim_spec *spec,
                                     char *error, size_t error_size)
{
    enum kv_status status;

    if (is_set(s, spec)) {
        return KV_OK;
    }
    if (s->measures > 0) {
        snprintf(error, error_size,
                 "%u rounds are being measured for %s: set another optimizer "
                 "when no push is under way",
                 s->measures, s->spec.optim->name);
        return KV_EBUSY;
    }
    status = check_open(s, spec->optim, error, error_size);
    if (status == KV_OK) {
        status = check_room(s, spec, error, error_size);
    }
    return status;
}

enum kv_status shard_optimizer(struct shard *s,
                               const struct kv_optim_spec *spec, char *error,
                               size_t error_size)
{
    enum kv_status status = shard_check_optimizer(s, spec, error, error_size);

    if (status != KV_OK || is_set(s, spec)) {
        return status;
    }
    status =
        shard_install(s, spec, s->generation + 1, NULL, 0, error, error_size);
    if (status == KV_OK) {
        shard_drop_own(s);
    }
    return status;
}
