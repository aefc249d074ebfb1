#include "common/optim/hyper.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/optim/optim_private.h"

#define LR_MULT "lr_mult"
#define WD_MULT "wd_mult"

_Static_assert(sizeof(struct kv_hyper) % 8 == 0, "an array without gaps");

/* --- Names ---------------------------------------------------------------- */

static bool same_name(const struct kv_hyper *a, const struct kv_hyper *b)
{
    return memcmp(a->name, b->name, sizeof a->name) == 0;
}

/* What a multiplier multiplies; NULL: it is none. */
static const char *multiplied(const char *name)
{
    if (strcmp(name, LR_MULT) == 0) {
        return "learning_rate";
    }
    return strcmp(name, WD_MULT) == 0 ? "wd" : NULL;
}

static const char *full_name(const struct kv_optim *optim, const char *name)
{
    int i = kv_optim_param_index(optim, name);

    return i >= 0 ? optim->params[i].name : name;
}

/* --- Checks --------------------------------------------------------------- */

static enum kv_status check_multiplier(const struct kv_optim *optim,
                                       const char *name, double value,
                                       struct sentence why)
{
    const char *what = multiplied(name);

    if (kv_optim_param_index(optim, what) < 0) {
        return optim_refuse(why, "%s has no %s for a %s", optim->name, what,
                            name);
    }
    if (!(value >= 0 && value <= KV_OPTIM_HUGE)) {
        return optim_refuse(why, "%s must be from 0 to %g, not %.9g", name,
                            KV_OPTIM_HUGE, value);
    }
    return KV_OK;
}

enum kv_status kv_hyper_make(const struct kv_optim_spec *spec, const char *name,
                             double value, uint64_t round, struct kv_hyper *out,
                             char *error, size_t error_size)
{
    struct sentence why = {error, error_size};
    struct kv_optim_spec changed = *spec;
    enum kv_status status;

    if (multiplied(name) != NULL) {
        status = check_multiplier(spec->optim, name, value, why);
    } else {
        status = kv_optim_set(&changed, name, value, error, error_size);
    }
    if (status != KV_OK) {
        return status;
    }
    name = full_name(spec->optim, name);
    KV_CHECK(strlen(name) <= KV_HYPER_NAME_MAX);
    memset(out, 0, sizeof *out);
    out->round = round;
    out->value = value;
    memcpy(out->name, name, strlen(name));
    return KV_OK;
}

/* --- Lists ---------------------------------------------------------------- */

bool kv_hyper_has(const struct kv_hyper *list, size_t count,
                  const struct kv_hyper *h)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].round == h->round && list[i].value == h->value &&
            strcmp(list[i].name, h->name) == 0) {
            return true;
        }
    }
    return false;
}

/* Does the new one take the place of this one? */
static bool replaces(const struct kv_hyper *h, const struct kv_hyper *old)
{
    return same_name(h, old) && (h->round == 0 || h->round == old->round);
}

bool kv_hyper_fits(const struct kv_hyper *list, size_t count, size_t max,
                   const struct kv_hyper *h)
{
    bool fits = count < max;

    for (size_t i = 0; i < count; i++) {
        fits = fits || replaces(h, &list[i]);
    }
    return fits;
}

size_t kv_hyper_put(struct kv_hyper *list, size_t count,
                    const struct kv_hyper *h)
{
    size_t kept = 0, at;

    for (size_t i = 0; i < count; i++) {
        if (!replaces(h, &list[i])) {
            list[kept++] = list[i];
        }
    }
    at = kept;
    while (at > 0 && list[at - 1].round > h->round) {
        at--;
    }
    memmove(&list[at + 1], &list[at], (kept - at) * sizeof *list);
    list[at] = *h;
    return kept + 1;
}

size_t kv_hyper_forget(struct kv_hyper *list, size_t count, uint64_t next)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        bool hidden = false;

        for (size_t j = i + 1; j < count && list[j].round <= next; j++) {
            hidden = hidden || same_name(&list[i], &list[j]);
        }
        if (!hidden) {
            list[kept++] = list[i];
        }
    }
    return kept;
}

/* --- A round -------------------------------------------------------------- */

/* It was checked when it was made. */
static void give(const struct kv_hyper *h, struct kv_optim_spec *spec,
                 struct kv_optim_scale *scale)
{
    const struct optim_common *c;
    int i;

    if (strcmp(h->name, LR_MULT) == 0) {
        scale->lr_mult = h->value;
        return;
    }
    if (strcmp(h->name, WD_MULT) == 0) {
        scale->wd_mult = h->value;
        return;
    }
    i = kv_optim_param_index(spec->optim, h->name);
    c = i < 0 ? optim_common_find(h->name) : NULL;
    if (i >= 0) {
        spec->params[i] = h->value;
    } else if (c != NULL) {
        optim_common_put(spec, c, h->value);
    }
}

uint64_t kv_hyper_apply(const struct kv_hyper *list, size_t count,
                        uint64_t round, struct kv_optim_spec *spec,
                        struct kv_optim_scale *scale)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].round > round) {
            return list[i].round;
        }
        give(&list[i], spec, scale);
    }
    return UINT64_MAX;
}

bool kv_hyper_only_scales(const struct kv_hyper *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (multiplied(list[i].name) == NULL) {
            return false;
        }
    }
    return true;
}
