#include "common/optim/optim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/settings.h"

/* The Makefile lists common/optim/rules. */
#define X(name) extern const struct kv_optim kv_optim_##name;
#include "optimizers.inc"
#undef X

static const struct kv_optim *const known[] = {
#define X(name) &kv_optim_##name,
#include "optimizers.inc"
#undef X
};

#define KNOWN_COUNT (sizeof known / sizeof *known)
#define LIST_MAX 256 /* Bytes of a list of names in a sentence. */

/* --- Names ---------------------------------------------------------------- */

const struct kv_optim *kv_optim_find(const char *name)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (strcmp(known[i]->name, name) == 0) {
            return known[i];
        }
    }
    return NULL;
}

/* Adds a name to a list that has `used` bytes so far; returns the new length.
 */
static size_t list_add(char *buf, size_t size, size_t used, const char *name)
{
    size_t at = used < size ? used : size;

    return used + (size_t)snprintf(buf + at, size - at, "%s%s",
                                   used > 0 ? ", " : "", name);
}

size_t kv_optim_names(char *buf, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        used = list_add(buf, size, used, known[i]->name);
    }
    return used;
}

static void param_names(const struct kv_optim *optim, char *buf, size_t size)
{
    size_t used = 0;

    for (const struct kv_optim_param *p = optim->params; p->name != NULL; p++) {
        used = list_add(buf, size, used, p->name);
    }
}

int kv_optim_param_index(const struct kv_optim *optim, const char *name)
{
    for (int i = 0; optim->params[i].name != NULL; i++) {
        const struct kv_optim_param *p = &optim->params[i];

        if (strcmp(p->name, name) == 0 ||
            (p->alias != NULL && strcmp(p->alias, name) == 0)) {
            return i;
        }
    }
    return -1;
}

/* --- Checks, each with its sentence --------------------------------------- */

static enum kv_status refuse_name(const char *name, char *error, size_t size)
{
    char list[LIST_MAX];

    kv_optim_names(list, sizeof list);
    snprintf(error, size, "unknown optimizer '%.64s'; known are: %s", name,
             list);
    return KV_EINVAL;
}

static enum kv_status refuse_param(const struct kv_optim *optim,
                                   const char *param, char *error, size_t size)
{
    char list[LIST_MAX];

    param_names(optim, list, sizeof list);
    snprintf(error, size, "%s has no parameter '%.64s'; it has: %s",
             optim->name, param, list);
    return KV_EINVAL;
}

static enum kv_status refuse_value(const struct kv_optim *optim,
                                   const struct kv_optim_param *p, double value,
                                   char *error, size_t size)
{
    if (!isfinite(value)) {
        snprintf(error, size, "%s's %s must be a finite number, not %g",
                 optim->name, p->name, value);
    } else {
        snprintf(error, size, "%s's %s must be from %.9g to %.9g, not %.9g",
                 optim->name, p->name, p->min, p->max, value);
    }
    return KV_EINVAL;
}

static bool allowed(const struct kv_optim_param *p, double value)
{
    return isfinite(value) && value >= p->min && value <= p->max;
}

/* --- Settings ------------------------------------------------------------- */

static struct kv_optim_spec defaults(const struct kv_optim *optim)
{
    struct kv_optim_spec spec = {.optim = optim};

    for (int i = 0; optim->params[i].name != NULL; i++) {
        spec.params[i] = optim->params[i].initial;
    }
    return spec;
}

enum kv_status kv_optim_choose(struct kv_optim_spec *spec, const char *param,
                               double value, char *error, size_t error_size)
{
    int i = kv_optim_param_index(spec->optim, param);

    if (i < 0) {
        return refuse_param(spec->optim, param, error, error_size);
    }
    if (!allowed(&spec->optim->params[i], value)) {
        return refuse_value(spec->optim, &spec->optim->params[i], value, error,
                            error_size);
    }
    spec->params[i] = value;
    return KV_OK;
}

enum kv_status kv_optim_set(struct kv_optim_spec *spec, const char *param,
                            double value, char *error, size_t error_size)
{
    const struct kv_optim *optim = spec->optim;
    unsigned slots = optim->slots(spec->params);
    struct kv_optim_spec changed = *spec;
    enum kv_status status;

    status = kv_optim_choose(&changed, param, value, error, error_size);
    if (status != KV_OK) {
        return status;
    }
    if (optim->slots(changed.params) != slots) {
        snprintf(error, error_size,
                 "%s's %s cannot become %.9g while training: it would need %u "
                 "values of state a weight instead of %u",
                 optim->name, param, value, optim->slots(changed.params),
                 slots);
        return KV_EINVAL;
    }
    *spec = changed;
    return KV_OK;
}

/* One "name=value"; `given` has a bit for each parameter seen before. */
static enum kv_status choose_text(struct kv_optim_spec *spec,
                                  const struct settings_pair *pair,
                                  unsigned *given, char *error, size_t size)
{
    int i = kv_optim_param_index(spec->optim, pair->name);
    double value;

    if (i < 0) {
        return refuse_param(spec->optim, pair->name, error, size);
    }
    if ((*given & 1u << i) != 0) {
        snprintf(error, size, "%s's %s is given twice", spec->optim->name,
                 spec->optim->params[i].name);
        return KV_EINVAL;
    }
    *given |= 1u << i;
    if (!settings_number(pair->value, &value)) {
        snprintf(error, size, "%s's %s must be a finite number, not '%s'",
                 spec->optim->name, spec->optim->params[i].name, pair->value);
        return KV_EINVAL;
    }
    return kv_optim_choose(spec, pair->name, value, error, size);
}

enum kv_status kv_optim_parse(const char *name, const char *params,
                              struct kv_optim_spec *out, char *error,
                              size_t error_size)
{
    const struct kv_optim *optim = kv_optim_find(name);
    struct settings_pairs pairs;
    struct settings_error reason;
    struct kv_optim_spec spec;
    unsigned given = 0;

    if (optim == NULL) {
        return refuse_name(name, error, error_size);
    }
    if (settings_pairs(params, &pairs, &reason) != KV_OK) {
        snprintf(error, error_size, "%s: %s", name, reason.text);
        return KV_EINVAL;
    }
    spec = defaults(optim);
    for (size_t i = 0; i < pairs.count; i++) {
        enum kv_status status =
            choose_text(&spec, &pairs.pair[i], &given, error, error_size);

        if (status != KV_OK) {
            return status;
        }
    }
    *out = spec;
    return KV_OK;
}

/* --- Updates -------------------------------------------------------------- */

bool kv_optim_lazy(const struct kv_optim_spec *spec)
{
    (void)spec;
    return true;
}

void kv_optim_prepare(const struct kv_optim_spec *spec, uint64_t t, void *step)
{
    int lr = kv_optim_param_index(spec->optim, "learning_rate");
    struct kv_optim_now now = {.t = t, .fresh = t == 1};

    now.last_lr = lr < 0 ? 0 : spec->params[lr];
    spec->optim->prepare(spec->params, &now, step);
}
