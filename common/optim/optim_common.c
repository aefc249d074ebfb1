/* Settings that all optimizers have, and the learning rate's schedule. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/optim/optim_private.h"

#define BIT(kind) (1u << (kind))
#define FACTOR BIT(KV_SCHEDULE_FACTOR)
#define FACTORS (FACTOR | BIT(KV_SCHEDULE_MULTIFACTOR))
#define POLY BIT(KV_SCHEDULE_POLY)
#define CURVES (POLY | BIT(KV_SCHEDULE_COSINE))
#define SCHEDULED (FACTORS | CURVES)
#define ALWAYS (SCHEDULED | BIT(KV_SCHEDULE_NONE))
#define UPDATES KV_SCHEDULE_UPDATES_MAX
#define HUGE KV_OPTIM_HUGE
#define SPEC(field) offsetof(struct kv_optim_spec, field)
#define PLAN(field) offsetof(struct kv_optim_spec, schedule.field)

/* 0 is out of the range of what has to be given. `step` is the first of the
 * list. */
const struct optim_common optim_commons[] = {
    {{"begin_num_update", NULL, 0, 0, UPDATES},
     SPEC(begin_num_update),
     ALWAYS,
     true},
    {{"multi_precision", NULL, 0, 0, 1}, SPEC(multi_precision), ALWAYS, true},
    {{"lazy_update", NULL, 1, 0, 1}, SPEC(lazy_update), ALWAYS, true},
    {{"nonfinite", NULL, KV_NONFINITE_SKIP, 0, KV_NONFINITE_ALLOW},
     SPEC(nonfinite),
     ALWAYS,
     true},
    {{"step", NULL, 0, 1, UPDATES}, PLAN(step), FACTORS, true},
    {{"factor", NULL, 1, 0, 1}, PLAN(factor), FACTORS, false},
    {{"stop_factor_lr", NULL, 1e-8, 0, HUGE},
     PLAN(stop_factor_lr),
     FACTOR,
     false},
    {{"max_update", NULL, 0, 1, UPDATES}, PLAN(max_update), CURVES, true},
    {{"pwr", NULL, 2, 0, HUGE}, PLAN(pwr), POLY, false},
    {{"final_lr", NULL, 0, 0, HUGE}, PLAN(final_lr), CURVES, false},
    {{"warmup_steps", NULL, 0, 0, UPDATES},
     PLAN(warmup_steps),
     SCHEDULED,
     true},
    {{"warmup_begin_lr", NULL, 0, 0, HUGE},
     PLAN(warmup_begin_lr),
     SCHEDULED,
     false},
    {{NULL, NULL, 0, 0, 0}, 0, 0, false},
};

const char *const optim_nonfinites[] = {"skip", "error", "allow", NULL};

const char *const optim_schedulers[] = {"",     "factor", "multifactor",
                                        "poly", "cosine", NULL};

/* --- Sentences ------------------------------------------------------------ */

enum kv_status optim_refuse(struct sentence why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why.text, why.size, format, args);
    va_end(args);
    return KV_EINVAL;
}

void optim_add_name(char *list, const char *name)
{
    size_t used = strlen(list);

    snprintf(list + used, OPTIM_LIST_MAX - used, "%s%s", used > 0 ? ", " : "",
             name);
}

/* Those that a kind of schedule has, but for those that the other has too. */
static void add_names(char *list, unsigned of, unsigned but)
{
    for (const struct optim_common *c = optim_commons; c->param.name; c++) {
        if ((c->schedules & of) != 0 && (c->schedules & but) == 0) {
            optim_add_name(list, c->param.name);
        }
    }
}

void optim_common_names(char *list)
{
    add_names(list, BIT(KV_SCHEDULE_NONE), 0);
    optim_add_name(list, "lr_scheduler");
}

static void list_schedulers(char *list)
{
    for (size_t i = 1; optim_schedulers[i] != NULL; i++) {
        optim_add_name(list, optim_schedulers[i]);
    }
}

enum kv_status optim_common_refuse(const struct kv_optim_spec *spec,
                                   const char *param, struct sentence why)
{
    enum kv_schedule_kind kind = spec->schedule.kind;
    char list[OPTIM_LIST_MAX] = "";

    if (kind == KV_SCHEDULE_NONE) {
        list_schedulers(list);
        return optim_refuse(why, "%s belongs to an lr_scheduler, one of: %s",
                            param, list);
    }
    add_names(list, BIT(kind), BIT(KV_SCHEDULE_NONE));
    optim_add_name(list, "warmup_mode");
    return optim_refuse(why, "lr_scheduler=%s has no parameter %s; it has: %s",
                        optim_schedulers[kind], param, list);
}

/* --- Values --------------------------------------------------------------- */

const struct optim_common *optim_common_find(const char *name)
{
    for (const struct optim_common *c = optim_commons; c->param.name; c++) {
        if (strcmp(c->param.name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

double optim_common_get(const struct kv_optim_spec *spec,
                        const struct optim_common *c)
{
    double value;

    memcpy(&value, (const char *)spec + c->where, sizeof value);
    return value;
}

void optim_common_put(struct kv_optim_spec *spec, const struct optim_common *c,
                      double value)
{
    memcpy((char *)spec + c->where, &value, sizeof value);
    if (c->where == PLAN(step)) {
        spec->schedule.step_count = value == 0 ? 0 : 1;
    }
}

bool optim_common_belongs(const struct kv_optim_spec *spec,
                          const struct optim_common *c)
{
    return (c->schedules & BIT(spec->schedule.kind)) != 0;
}

struct kv_optim_param optim_common_param(const struct kv_optim *optim,
                                         const struct optim_common *c)
{
    struct kv_optim_param p = c->param;

    if (c->where == SPEC(lazy_update)) {
        p.min = optim->lazy == KV_OPTIM_LAZY_ALWAYS ? 1 : 0;
        p.max = optim->lazy == KV_OPTIM_LAZY_NEVER ? 0 : 1;
        p.initial = p.max;
    }
    return p;
}

/* --- The schedule --------------------------------------------------------- */

enum kv_status optim_choose_scheduler(struct kv_optim_spec *spec,
                                      const char *name, struct sentence why)
{
    char list[OPTIM_LIST_MAX] = "";

    for (unsigned kind = 1; optim_schedulers[kind] != NULL; kind++) {
        if (strcmp(optim_schedulers[kind], name) == 0) {
            spec->schedule.kind = (enum kv_schedule_kind)kind;
            return KV_OK;
        }
    }
    list_schedulers(list);
    return optim_refuse(why, "unknown lr_scheduler '%.64s'; known are: %s",
                        name, list);
}

enum kv_status optim_choose_warmup(struct kv_optim_spec *spec, const char *mode,
                                   struct sentence why)
{
    bool constant = strcmp(mode, "constant") == 0;

    if (spec->schedule.kind == KV_SCHEDULE_NONE) {
        return optim_common_refuse(spec, "warmup_mode", why);
    }
    if (!constant && strcmp(mode, "linear") != 0) {
        return optim_refuse(
            why, "warmup_mode must be linear or constant, not '%.64s'", mode);
    }
    spec->schedule.constant_warmup = constant;
    return KV_OK;
}

enum kv_status optim_choose_nonfinite(struct kv_optim_spec *spec,
                                      const char *word, struct sentence why)
{
    for (int i = 0; optim_nonfinites[i] != NULL; i++) {
        if (strcmp(word, optim_nonfinites[i]) == 0) {
            spec->nonfinite = i;
            return KV_OK;
        }
    }
    return optim_refuse(
        why, "%s's nonfinite must be skip, error or allow, not '%.64s'",
        spec->optim->name, word);
}

static enum kv_status check_steps(const struct kv_schedule *s,
                                  struct sentence why)
{
    if (s->step_count == 0) {
        return optim_refuse(why, "lr_scheduler=%s needs step",
                            optim_schedulers[s->kind]);
    }
    if (s->kind == KV_SCHEDULE_FACTOR && s->step_count > 1) {
        return optim_refuse(why, "lr_scheduler=factor has one step; a list "
                                 "belongs to multifactor");
    }
    for (unsigned i = 1; i < s->step_count; i++) {
        if (s->step[i] <= s->step[i - 1]) {
            return optim_refuse(why, "step must rise: %.17g follows %.17g",
                                s->step[i], s->step[i - 1]);
        }
    }
    return KV_OK;
}

static enum kv_status check_end(const struct kv_schedule *s,
                                struct sentence why)
{
    if (s->max_update == 0) {
        return optim_refuse(why, "lr_scheduler=%s needs max_update",
                            optim_schedulers[s->kind]);
    }
    if (s->max_update <= s->warmup_steps) {
        return optim_refuse(why,
                            "max_update must be more than warmup_steps, which "
                            "is %.17g, not %.17g",
                            s->warmup_steps, s->max_update);
    }
    return KV_OK;
}

enum kv_status optim_check_schedule(const struct kv_optim_spec *spec,
                                    struct sentence why)
{
    const struct kv_schedule *s = &spec->schedule;
    int lr = kv_optim_param_index(spec->optim, "learning_rate");

    if (s->kind == KV_SCHEDULE_NONE) {
        return KV_OK;
    }
    if (lr < 0) {
        return optim_refuse(why, "%s has no learning_rate for an lr_scheduler",
                            spec->optim->name);
    }
    if (s->warmup_begin_lr > spec->params[lr]) {
        return optim_refuse(why,
                            "warmup_begin_lr must be at most learning_rate, "
                            "which is %.9g, not %.9g",
                            spec->params[lr], s->warmup_begin_lr);
    }
    return (BIT(s->kind) & FACTORS) != 0 ? check_steps(s, why)
                                         : check_end(s, why);
}
