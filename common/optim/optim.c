#include "common/optim/optim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/compute/vector.h"

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
        if (strcasecmp(known[i]->name, name) == 0) {
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

bool kv_optim_takes(const struct kv_optim *optim, enum kv_dtype dtype)
{
    return optim->adds || kv_optim_computes(dtype);
}

bool kv_optim_master(const struct kv_optim_spec *spec, enum kv_dtype dtype)
{
    return spec->multi_precision != 0 && dtype != KV_F32 &&
           kv_dtype_in_f32(dtype);
}

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

void kv_optim_prepare(const struct kv_optim_spec *spec, enum kv_dtype dtype,
                      const struct kv_optim_scale *scale, uint64_t t,
                      void *step)
{
    static const struct kv_optim_scale none = {.lr_mult = 1, .wd_mult = 1};
    const struct kv_optim_scale *own = scale == NULL ? &none : scale;
    int lr = kv_optim_param_index(spec->optim, "learning_rate");
    int wd = kv_optim_param_index(spec->optim, "wd");
    struct kv_optim_now now = {.fresh = t == 1, .key = own->key};
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
    kv_optim_for(spec->optim, dtype)->prepare(params, &now, step);
}

/* --- Rows ----------------------------------------------------------------- */

/* Rows lie anywhere in a table that no cache holds: the processor is told of
 * this many at a time, and so waits for all of them together. */
#define ROWS_TOGETHER 64
#define FETCHED_MAX 256 /* Floats. The rest of a row it finds by itself. */

/* Into the second cache, as the first has no room for that many. Inline,
 * because gcc drops a call that does nothing but this. */
KV_TEMPLATE void fetch(const float *row, size_t count)
{
    for (size_t i = 0; i < count && i < FETCHED_MAX; i += 16) {
        __builtin_prefetch(row + i, 0, 2);
    }
}

KV_TEMPLATE void fetch_rows(const struct kv_optim_args *slice,
                            const int64_t *rows, size_t row_count,
                            size_t state_length)
{
    for (size_t i = 0; i < row_count && i < ROWS_TOGETHER; i++) {
        size_t row = (size_t)rows[i];

        fetch((const float *)slice->weight + row * slice->row_length,
              slice->row_length);
        for (unsigned s = 0; s < KV_OPTIM_SLOTS_MAX; s++) {
            if (slice->slot[s] != NULL) {
                fetch((const float *)slice->slot[s] + row * state_length,
                      state_length);
            }
        }
    }
}

static void point_at_row(struct kv_optim_args *row,
                         const struct kv_optim_args *slice, size_t at,
                         size_t state_at)
{
    row->weight = (const float *)slice->weight + at;
    row->new_weight = (float *)slice->new_weight + at;
    row->first = slice->first + at;
    for (unsigned s = 0; s < KV_OPTIM_SLOTS_MAX; s++) {
        if (slice->slot[s] != NULL) {
            row->slot[s] = (const float *)slice->slot[s] + state_at;
            row->new_slot[s] = (float *)slice->new_slot[s] + state_at;
        }
    }
}

/* Only what differs from row to row is written: a struct that was copied whole
 * is read only after all stores before it, those of cold rows included. */
void kv_optim_update_rows(const struct kv_optim *optim,
                          const struct kv_optim_args *slice,
                          const int64_t *rows, size_t row_count)
{
    size_t length = slice->row_length, state = optim->rows ? 1 : length;
    struct kv_optim_args row = *slice;

    row.count = length;
    for (size_t i = 0; i < row_count; i++) {
        size_t now = (size_t)rows[i];

        if (i % ROWS_TOGETHER == 0) {
            fetch_rows(slice, rows + i, row_count - i, state);
        }
        point_at_row(&row, slice, now * length, now * state);
        row.gradient = (const kv_f32_any *)slice->gradient + i * length;
        optim->update(&row);
    }
}
