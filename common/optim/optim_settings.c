/* Settings of an optimizer, from text and from numbers, checked. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/settings.h"
#include "common/optim/optim_private.h"

static struct kv_optim_spec defaults(const struct kv_optim *optim)
{
    struct kv_optim_spec spec = {.optim = optim};

    for (int i = 0; optim->params[i].name != NULL; i++) {
        spec.params[i] = optim->params[i].initial;
    }
    for (const struct optim_common *c = optim_commons; c->param.name; c++) {
        optim_common_put(&spec, c, optim_common_param(optim, c).initial);
    }
    return spec;
}

/* --- One number ----------------------------------------------------------- */

static enum kv_status refuse_param(const struct kv_optim *optim,
                                   const char *param, struct sentence why)
{
    char list[OPTIM_LIST_MAX] = "";

    for (const struct kv_optim_param *p = optim->params; p->name != NULL; p++) {
        optim_add_name(list, p->name);
    }
    optim_common_names(list);
    return optim_refuse(why, "%s has no parameter '%.64s'; it has: %s",
                        optim->name, param, list);
}

static enum kv_status check_value(const struct kv_optim *optim,
                                  const struct kv_optim_param *p, bool whole,
                                  double value, struct sentence why)
{
    if (!isfinite(value)) {
        return optim_refuse(why, "%s's %s must be a finite number, not %g",
                            optim->name, p->name, value);
    }
    if (value >= p->min && value <= p->max &&
        (!whole || value == rint(value))) {
        return KV_OK;
    }
    if (p->min == p->max) {
        return optim_refuse(why, "%s's %s must be %.9g, not %.9g", optim->name,
                            p->name, p->min, value);
    }
    return optim_refuse(why, "%s's %s must be %sfrom %.9g to %.9g, not %.9g",
                        optim->name, p->name, whole ? "a whole number " : "",
                        p->min, p->max, value);
}

static enum kv_status choose_common(struct kv_optim_spec *spec,
                                    const struct optim_common *c, double value,
                                    struct sentence why)
{
    struct kv_optim_param p = optim_common_param(spec->optim, c);
    enum kv_status status;

    if (!optim_common_belongs(spec, c)) {
        return optim_common_refuse(spec, p.name, why);
    }
    status = check_value(spec->optim, &p, c->whole, value, why);
    if (status == KV_OK) {
        optim_common_put(spec, c, value);
    }
    return status;
}

static enum kv_status choose(struct kv_optim_spec *spec, const char *param,
                             double value, struct sentence why)
{
    const struct optim_common *c = optim_common_find(param);
    int i = kv_optim_param_index(spec->optim, param);
    enum kv_status status;

    if (i < 0) {
        return c == NULL ? refuse_param(spec->optim, param, why)
                         : choose_common(spec, c, value, why);
    }
    status =
        check_value(spec->optim, &spec->optim->params[i], false, value, why);
    if (status == KV_OK) {
        spec->params[i] = value;
    }
    return status;
}

/* --- Text ----------------------------------------------------------------- */

static enum kv_status choose_number(struct kv_optim_spec *spec,
                                    const char *param, const char *text,
                                    struct sentence why)
{
    int i = kv_optim_param_index(spec->optim, param);
    double value;

    if (i < 0 && optim_common_find(param) == NULL) {
        return refuse_param(spec->optim, param, why);
    }
    if (!settings_number(text, &value)) {
        return optim_refuse(why, "%s's %s must be a finite number, not '%.64s'",
                            spec->optim->name,
                            i < 0 ? param : spec->optim->params[i].name, text);
    }
    return choose(spec, param, value, why);
}

/* "15;25" */
static enum kv_status choose_steps(struct kv_optim_spec *spec, const char *text,
                                   struct sentence why)
{
    struct kv_schedule *s = &spec->schedule;
    double step[KV_SCHEDULE_STEPS_MAX];
    unsigned count = 0;

    for (bool more = true; more; count++) {
        size_t size = strcspn(text, ";");
        char number[SETTINGS_PAIR_MAX];
        enum kv_status status;

        if (count == KV_SCHEDULE_STEPS_MAX) {
            return optim_refuse(why, "step has more than %d numbers",
                                KV_SCHEDULE_STEPS_MAX);
        }
        snprintf(number, sizeof number, "%.*s", (int)size, text);
        status = choose_number(spec, "step", number, why);
        if (status != KV_OK) {
            return status;
        }
        step[count] = s->step[0];
        more = text[size] == ';';
        text += size + (more ? 1 : 0);
    }
    memcpy(s->step, step, count * sizeof *step);
    s->step_count = count;
    return KV_OK;
}

/* One "name=value"; `given` has a bit for each of params[] seen before. */
static enum kv_status choose_text(struct kv_optim_spec *spec,
                                  const struct settings_pair *pair,
                                  unsigned *given, struct sentence why)
{
    int i = kv_optim_param_index(spec->optim, pair->name);

    if (i >= 0 && (*given & 1u << i) != 0) {
        return optim_refuse(why, "%s's %s is given twice", spec->optim->name,
                            spec->optim->params[i].name);
    }
    *given |= i >= 0 ? 1u << i : 0;
    if (strcmp(pair->name, "lr_scheduler") == 0) {
        return KV_OK; /* Was the first. */
    }
    if (strcmp(pair->name, "warmup_mode") == 0) {
        return optim_choose_warmup(spec, pair->value, why);
    }
    if (strcmp(pair->name, "nonfinite") == 0) {
        return optim_choose_nonfinite(spec, pair->value, why);
    }
    return strcmp(pair->name, "step") == 0
               ? choose_steps(spec, pair->value, why)
               : choose_number(spec, pair->name, pair->value, why);
}

/* The scheduler first: it decides which others there are. */
static enum kv_status choose_pairs(struct kv_optim_spec *spec,
                                   const struct settings_pairs *pairs,
                                   struct sentence why)
{
    enum kv_status status = KV_OK;
    unsigned given = 0;

    for (size_t i = 0; status == KV_OK && i < pairs->count; i++) {
        if (strcmp(pairs->pair[i].name, "lr_scheduler") == 0) {
            status = optim_choose_scheduler(spec, pairs->pair[i].value, why);
        }
    }
    for (size_t i = 0; status == KV_OK && i < pairs->count; i++) {
        status = choose_text(spec, &pairs->pair[i], &given, why);
    }
    return status == KV_OK ? optim_check_schedule(spec, why) : status;
}

enum kv_status kv_optim_parse(const char *name, const char *params,
                              struct kv_optim_spec *out, char *error,
                              size_t error_size)
{
    const struct kv_optim *optim = kv_optim_find(name);
    struct sentence why = {error, error_size};
    struct settings_pairs pairs;
    struct settings_error reason;
    struct kv_optim_spec spec;
    enum kv_status status;

    if (optim == NULL) {
        char list[OPTIM_LIST_MAX];

        kv_optim_names(list, sizeof list);
        return optim_refuse(why, "unknown optimizer '%.64s'; known are: %s",
                            name, list);
    }
    if (settings_pairs(params, &pairs, &reason) != KV_OK) {
        return optim_refuse(why, "%s: %s", name, reason.text);
    }
    spec = defaults(optim);
    status = choose_pairs(&spec, &pairs, why);
    if (status == KV_OK) {
        *out = spec;
    }
    return status;
}

/* --- Numbers, one by one -------------------------------------------------- */

enum kv_status kv_optim_choose(struct kv_optim_spec *spec, const char *param,
                               double value, char *error, size_t error_size)
{
    struct sentence why = {error, error_size};
    struct kv_optim_spec changed = *spec;
    enum kv_status status = choose(&changed, param, value, why);

    if (status == KV_OK) {
        status = optim_check_schedule(&changed, why);
    }
    if (status == KV_OK) {
        *spec = changed;
    }
    return status;
}

enum kv_status kv_optim_set(struct kv_optim_spec *spec, const char *param,
                            double value, char *error, size_t error_size)
{
    const struct kv_optim *optim = spec->optim;
    struct sentence why = {error, error_size};
    unsigned slots = optim->slots(spec->params);
    struct kv_optim_spec changed = *spec;
    enum kv_status status;

    status = kv_optim_choose(&changed, param, value, error, error_size);
    if (status != KV_OK) {
        return status;
    }
    if (optim->slots(changed.params) != slots) {
        return optim_refuse(
            why,
            "%s's %s cannot become %.9g while training: it would need %u "
            "values of state a weight instead of %u",
            optim->name, param, value, optim->slots(changed.params), slots);
    }
    if (changed.multi_precision != spec->multi_precision) {
        return optim_refuse(why,
                            "%s's multi_precision cannot become %.9g while "
                            "training: it decides what state there is",
                            optim->name, value);
    }
    *spec = changed;
    return KV_OK;
}
