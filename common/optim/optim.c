#include "common/optim/optim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

/* --- Updates -------------------------------------------------------------- */

bool kv_optim_lazy(const struct kv_optim_spec *spec)
{
    return spec->lazy_update != 0;
}

static double rate_at(const struct kv_optim_spec *spec, int lr, double times,
                      uint64_t n)
{
    const struct kv_optim_param *p = &spec->optim->params[lr];
    double rate = kv_schedule_lr(&spec->schedule, spec->params[lr], n) * times;

    /* A rule may divide by its rate, and says so by its smallest. */
    return fmin(fmax(rate, p->min), p->max);
}

void kv_optim_prepare(const struct kv_optim_spec *spec,
                      const struct kv_optim_scale *scale, uint64_t t,
                      void *step)
{
    static const struct kv_optim_scale none = {.lr_mult = 1, .wd_mult = 1};
    const struct kv_optim_scale *own = scale == NULL ? &none : scale;
    int lr = kv_optim_param_index(spec->optim, "learning_rate");
    int wd = kv_optim_param_index(spec->optim, "wd");
    struct kv_optim_now now = {.fresh = t == 1};
    double params[KV_OPTIM_PARAMS_MAX];

    memcpy(params, spec->params, sizeof params);
    now.t = (uint64_t)spec->begin_num_update + t;
    now.plain = own->plain;
    if (lr >= 0) {
        params[lr] = rate_at(spec, lr, own->lr_mult, now.t);
        now.last_lr =
            now.fresh ? params[lr] : rate_at(spec, lr, own->lr_mult, now.t - 1);
    }
    if (wd >= 0) {
        params[wd] *= own->wd_mult;
    }
    spec->optim->prepare(params, &now, step);
}
