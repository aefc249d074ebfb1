/* Settings of an optimizer as text, for what keeps or sends them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/optim/optim_private.h"

/* Is written as one. */
#define WORD offsetof(struct kv_optim_spec, nonfinite)

struct out {
    char *buf;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct out *o,
                                                      const char *format, ...)
{
    size_t at = o->used < o->size ? o->used : o->size;
    va_list args;
    int more;

    va_start(args, format);
    more = vsnprintf(o->size == at ? NULL : o->buf + at, o->size - at, format,
                     args);
    va_end(args);
    o->used += (size_t)more;
}

/* What a thread that flushes denormals can tell apart. */
static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* As short as it can be without losing a bit. */
static void put_number(struct out *o, double value)
{
    char text[32];

    snprintf(text, sizeof text, "%.15g", value);
    put(o, "%.*g", bits_of(strtod(text, NULL)) == bits_of(value) ? 15 : 17,
        value);
}

static void put_pair(struct out *o, const char *name, double value)
{
    put(o, "%s%s=", o->used > 0 ? "," : "", name);
    put_number(o, value);
}

static void put_schedule(struct out *o, const struct kv_schedule *s)
{
    put(o, ",lr_scheduler=%s,warmup_mode=%s", optim_schedulers[s->kind],
        s->constant_warmup ? "constant" : "linear");
    for (unsigned i = 0; i < s->step_count; i++) {
        put(o, "%s", i == 0 ? ",step=" : ";");
        put_number(o, s->step[i]);
    }
}

size_t kv_optim_format(const struct kv_optim_spec *spec, char *buf, size_t size)
{
    struct out o = {buf, size, 0};

    for (int i = 0; spec->optim->params[i].name != NULL; i++) {
        put_pair(&o, spec->optim->params[i].name, spec->params[i]);
    }
    for (const struct optim_common *c = optim_commons; c->param.name; c++) {
        if (optim_common_belongs(spec, c) && c->where != WORD &&
            strcmp(c->param.name, "step") != 0) {
            put_pair(&o, c->param.name, optim_common_get(spec, c));
        }
    }
    put(&o, ",nonfinite=%s", optim_nonfinites[(int)spec->nonfinite]);
    if (spec->schedule.kind != KV_SCHEDULE_NONE) {
        put_schedule(&o, &spec->schedule);
    }
    return o.used;
}
