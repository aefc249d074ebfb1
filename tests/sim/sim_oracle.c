#include "tests/sim/sim_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/compute/sum.h"
#include "tests/sim/sim_odd.h"
#include "tests/sim/sim_rows.h"

#define ELEMENT_MAX 4 /* Bytes. */

static void *allocate(size_t size)
{
    void *p = calloc(1, size);

    KV_CHECK(p != NULL);
    return p;
}

/* --- One round ------------------------------------------------------------ */

/* What arrives of a rank's push once it is decoded again. */
static void contribution(const struct plan *p, uint32_t rank, uint32_t slice,
                         uint32_t round, const void *base, void *out)
{
    static unsigned char tensors[PLAN_INPUTS_MAX][PLAN_COUNT_MAX * ELEMENT_MAX];
    static unsigned char summed[PLAN_COUNT_MAX * ELEMENT_MAX];
    static unsigned char encoded[PLAN_COUNT_MAX * ELEMENT_MAX];
    const struct plan_slice *s = &p->slice[slice];
    const struct kv_codec *codec = p->codec[rank];
    const void *inputs[PLAN_INPUTS_MAX];
    uint32_t count = sim_rows_pushed(p, rank, slice, round) == SIM_ROWS_ALL
                         ? p->inputs[rank]
                         : 1;

    for (uint32_t i = 0; i < count; i++) {
        plan_gradient(p, rank, slice, round, i, base, tensors[i]);
        inputs[i] = tensors[i];
    }
    kv_sum(s->dtype, summed, inputs, count, s->count);
    if (codec == NULL || !codec->accepts(s->dtype)) {
        memcpy(out, summed, s->size);
        return;
    }
    codec->encode(s->dtype, summed, s->count, encoded);
    kv_codec_decode(codec, s->dtype, encoded, s->count, out);
}

/* What the rank has when the step begins: what its pulls have brought. */
static const void *base_of(const struct plan *p, const struct oracle_slice *o,
                           uint32_t rank, uint32_t slice, uint32_t step)
{
    static unsigned char packed[PLAN_COUNT_MAX * ELEMENT_MAX];
    static unsigned char base[PLAN_COUNT_MAX * ELEMENT_MAX];
    const struct plan_slice *s = &p->slice[slice];
    uint32_t first = 0;

    if (s->rows == 0) {
        return o->value[p->base[rank][step][slice]];
    }
    if (p->deleted[slice] && step >= p->delete_step) {
        first = p->delete_step;
    }
    memcpy(base, o->value[first == 0 ? 0 : s->before[first]], s->size);
    for (uint32_t i = first; i < step; i++) {
        const struct plan_ops *ops = &p->ops[rank][i][slice];

        if (ops->count > 0 && ops->pull[ops->count - 1] && !p->away[rank][i]) {
            uint32_t set = sim_rows_pulled(p, rank, slice, i, ops->count - 1);

            (void)sim_rows_pack(s, set, o->value[s->before[i + 1]], packed);
            (void)sim_rows_unpack(s, set, packed, base);
        }
    }
    return base;
}

/* Each row is the sum over those who have it. Returns the rows that anyone
 * has. */
static uint32_t sum_rows(const struct plan *p, uint32_t slice, uint32_t round,
                         const void *const *contributions, float *out)
{
    const struct plan_slice *s = &p->slice[slice];
    uint32_t step = plan_step_of(p, slice, round);
    uint32_t any = 0;

    memset(out, 0, s->count * sizeof *out);
    for (uint32_t row = 0; row < s->rows; row++) {
        size_t first = row * s->row_length;
        const void *inputs[PLAN_WORKERS_MAX];
        uint32_t n = 0;

        for (uint32_t rank = 0; rank < p->workers; rank++) {
            if (!p->away[rank][step] &&
                sim_rows_has(sim_rows_pushed(p, rank, slice, round), row)) {
                inputs[n++] = contributions[rank];
            }
        }
        if (n > 0) {
            any |= 1u << row;
            kv_sum_range(s->dtype, out + first, inputs, n, first,
                         s->row_length);
        }
    }
    return any;
}

static uint32_t sum_round(const struct plan *p, const struct oracle_slice *o,
                          uint32_t slice, uint32_t round, float *out)
{
    static unsigned char contributions[PLAN_WORKERS_MAX]
                                      [PLAN_COUNT_MAX * ELEMENT_MAX];
    uint32_t step = plan_step_of(p, slice, round);
    const void *inputs[PLAN_WORKERS_MAX] = {NULL}, *members[PLAN_WORKERS_MAX];
    uint32_t n = 0;

    for (uint32_t rank = 0; rank < p->workers; rank++) {
        contribution(p, rank, slice, round, base_of(p, o, rank, slice, step),
                     contributions[rank]);
        inputs[rank] = contributions[rank];
        if (!p->away[rank][step]) {
            members[n++] = inputs[rank];
        }
    }
    if (p->slice[slice].rows > 0) {
        return sum_rows(p, slice, round, inputs, out);
    }
    kv_sum_f32(p->slice[slice].dtype, out, members, n, p->slice[slice].count);
    return SIM_ROWS_ALL;
}

/* A slice on its way through a round. */
struct folding {
    const struct plan_slice *s;
    struct oracle_slice *o;
    uint32_t slice, any;
    struct kv_optim_spec spec;
    struct kv_optim_scale scale;
    unsigned char step[KV_OPTIM_STEP_MAX];
    float gradient[PLAN_COUNT_MAX], weights[PLAN_COUNT_MAX];
    float after[PLAN_COUNT_MAX];
    float states[KV_OPTIM_SLOTS_MAX][PLAN_COUNT_MAX];
};

static struct kv_optim_args args_of(struct folding *f, size_t first)
{
    struct kv_optim_args args = {.count = f->s->count - first,
                                 .weight = f->weights + first,
                                 .new_weight = f->after + first,
                                 .gradient = f->gradient + first,
                                 .step = f->step};

    for (unsigned i = 0; i < f->o->states; i++) {
        args.slot[i] = f->o->state[i] + first;
        args.new_slot[i] = f->states[i] + first;
    }
    return args;
}

static void begin(struct folding *f, uint32_t round)
{
    f->o->updates++;
    kv_optim_prepare(&f->spec, KV_F32, &f->scale, f->o->updates, f->step);
    kv_to_f32(f->s->dtype, f->o->value[round - 1], f->weights, f->s->count);
}

/* Blocks in order, then slices in order. */
static void measure(struct folding *f, uint32_t count, unsigned pass)
{
    double total[KV_OPTIM_NORMS_MAX] = {0};

    for (uint32_t k = 0; k < count; k++) {
        double sums[KV_OPTIM_NORMS_MAX] = {0};

        for (size_t i = 0; i < f[k].s->count; i += KV_OPTIM_BLOCK) {
            struct kv_optim_args args = args_of(&f[k], i);
            double block[KV_OPTIM_NORMS_MAX] = {0};

            args.count =
                args.count < KV_OPTIM_BLOCK ? args.count : KV_OPTIM_BLOCK;
            f->spec.optim->measure(&args, pass, block);
            for (unsigned n = 0; n < KV_OPTIM_NORMS_MAX; n++) {
                sums[n] += block[n];
            }
        }
        for (unsigned n = 0; n < KV_OPTIM_NORMS_MAX; n++) {
            total[n] += sums[n];
        }
    }
    for (uint32_t k = 0; k < count; k++) {
        f->spec.optim->absorb(f[k].step, pass, total);
    }
}

/* Rows that nobody has pushed stay as they are, with their state, if the rule
 * is lazy. */
static void apply(struct folding *f, uint32_t round)
{
    const struct plan_slice *s = f->s;
    bool all = s->rows == 0 || !kv_optim_lazy(&f->spec);
    struct kv_optim_args args = args_of(f, 0);

    f->spec.optim->update(&args);
    for (size_t i = 0; i < s->count; i++) {
        bool moves = all || sim_rows_has(f->any, i / s->row_length);

        for (unsigned n = 0; moves && n < f->o->states; n++) {
            f->o->state[n][i] = f->states[n][i];
        }
        f->after[i] = moves ? f->after[i] : f->weights[i];
    }
    kv_from_f32(s->dtype, f->after, f->o->value[round], s->count);
}

/* --- One slice ------------------------------------------------------------ */

static void parse(const struct plan *p, struct kv_optim_spec *spec)
{
    char error[KV_OPTIM_ERROR_MAX];

    KV_CHECK(kv_optim_parse(p->optimizer, p->params, spec, error,
                            sizeof error) == KV_OK);
}

static void change_numbers(const struct plan *p, struct folding *f,
                           uint32_t round)
{
    char error[KV_OPTIM_ERROR_MAX];

    if (plan_hyper_holds(p, f->slice, round)) {
        KV_CHECK(kv_optim_set(&f->spec, "lr", p->hyper, error, sizeof error) ==
                 KV_OK);
    }
    if (plan_own_holds(p, f->slice, round)) {
        f->scale.lr_mult = p->own_mult;
    }
}

/* As it was before. */
static void leave_out(struct folding *f, uint32_t round)
{
    f->o->value[round] = allocate(f->s->size);
    memcpy(f->o->value[round], f->o->value[round - 1], f->s->size);
}

static void begin_anew(const struct plan *p, struct folding *f, uint32_t round)
{
    f->o->value[round] = allocate(f->s->size);
    if (plan_reborn(p, f->slice, round)) {
        plan_first_value(p, f->slice, true, f->o->value[round]);
    } else {
        sim_reset_value(p, f->slice, round, f->o->value[round]);
    }
    f->o->updates = 0;
    for (unsigned i = 0; i < f->o->states; i++) {
        memset(f->o->state[i], 0, f->s->count * sizeof(float));
    }
}

static void fold_round(const struct plan *p, struct folding *f, uint32_t count,
                       uint32_t round)
{
    uint32_t culprit;

    if (plan_reborn(p, f[0].slice, round) || sim_resets(p, f[0].slice, round)) {
        begin_anew(p, f, round); /* Not of a key of several. */
        return;
    }
    if (sim_spoiled(p, f[0].slice, round, &culprit)) {
        for (uint32_t k = 0; k < count; k++) {
            leave_out(&f[k], round);
        }
        return;
    }
    for (uint32_t k = 0; k < count; k++) {
        struct oracle_slice *o = f[k].o;

        o->value[round] = allocate(f[k].s->size);
        f[k].any = sum_round(p, o, f[k].slice, round, f[k].gradient);
        if (p->optimizer == NULL) {
            kv_from_f32(f[k].s->dtype, f[k].gradient, o->value[round],
                        f[k].s->count);
            continue;
        }
        change_numbers(p, &f[k], round);
        begin(&f[k], round);
    }
    for (unsigned pass = 0;
         p->optimizer != NULL && pass < f->spec.optim->passes; pass++) {
        measure(f, count, pass);
    }
    for (uint32_t k = 0; p->optimizer != NULL && k < count; k++) {
        apply(&f[k], round);
    }
}

/* `count` slices that make a key, or one for itself. */
static void fold_sync(const struct plan *p, uint32_t first, uint32_t count,
                      struct oracle_slice *o)
{
    static struct folding f[PLAN_SLICES_MAX];

    memset(f, 0, sizeof f);
    for (uint32_t k = 0; k < count; k++) {
        f[k].s = &p->slice[first + k];
        f[k].o = &o[k];
        f[k].slice = first + k;
        f[k].scale = (struct kv_optim_scale){.lr_mult = 1, .wd_mult = 1};
        o[k].rounds = f[k].s->before[p->steps];
        if (p->optimizer != NULL) {
            parse(p, &f[k].spec);
            o[k].states = f[k].spec.optim->slots(f[k].spec.params);
        }
    }
    for (uint32_t round = 1; round <= o->rounds; round++) {
        fold_round(p, f, count, round);
    }
}

/* The rule is w -= g, and everything is a whole number. */
static void fold_async(const struct plan *p, uint32_t slice,
                       struct oracle_slice *o)
{
    static float contributed[PLAN_COUNT_MAX];
    const struct plan_slice *s = &p->slice[slice];
    uint32_t pushes = s->before[p->steps];
    float *value;

    o->rounds = (uint64_t)pushes * p->workers;
    o->updates = o->rounds;
    if (pushes == 0) {
        return;
    }
    o->value[pushes] = allocate(s->size);
    memcpy(o->value[pushes], o->value[0], s->size);
    value = (float *)(void *)o->value[pushes];
    for (uint32_t round = 1; round <= pushes; round++) {
        for (uint32_t rank = 0; rank < p->workers; rank++) {
            uint32_t set = sim_rows_pushed(p, rank, slice, round);

            contribution(p, rank, slice, round, o->value[0], contributed);
            for (size_t i = 0; i < s->count; i++) {
                if (s->rows == 0 || sim_rows_has(set, i / s->row_length)) {
                    value[i] -= contributed[i];
                }
            }
        }
    }
}

void oracle_make(struct oracle *o, const struct plan *p)
{
    memset(o, 0, sizeof *o);
    for (uint32_t slice = 0; slice < p->slices; slice++) {
        const struct plan_slice *s = &p->slice[slice];
        struct oracle_slice *out = &o->slice[slice];

        out->value[0] = allocate(s->size);
        plan_first_value(p, slice, false, out->value[0]);
        for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
            out->state[i] = allocate(s->count * sizeof(float));
        }
        if (p->async) {
            fold_async(p, slice, out);
        } else if (!p->measured) {
            fold_sync(p, slice, 1, out);
        }
    }
    for (uint32_t slice = 0; p->measured && slice < p->slices;
         slice += p->width) {
        fold_sync(p, slice, plan_key_slices(p, slice), &o->slice[slice]);
    }
}

void oracle_free(struct oracle *o)
{
    for (uint32_t slice = 0; slice < PLAN_SLICES_MAX; slice++) {
        for (size_t i = 0; i <= PLAN_ROUNDS_MAX; i++) {
            free(o->slice[slice].value[i]);
        }
        for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
            free(o->slice[slice].state[i]);
        }
    }
    memset(o, 0, sizeof *o);
}

/* --- Pulls ---------------------------------------------------------------- */

/* Each mark says whether one push was applied: 0 or 1 times, one after the
 * other, and all those of this rank. Only those in `set` can be seen. */
static const char *check_marks(const struct oracle *o, const struct plan *p,
                               uint32_t rank, uint32_t slice, uint32_t round,
                               uint32_t set, const float *value)
{
    size_t length = p->slice[slice].row_length;
    const float *first = (const float *)(const void *)o->slice[slice].value[0];
    uint32_t pushes = p->slice[slice].before[p->steps];

    for (uint32_t who = 0; who < p->workers; who++) {
        bool missing = false;

        for (uint32_t i = 1; i <= pushes; i++) {
            size_t mark = plan_mark(p, who, slice, i);
            float applied = first[mark] - value[mark];

            if (length > 0 && !sim_rows_has(set, mark / length)) {
                continue;
            }
            if (applied != 0 && applied != 1) {
                return "a push was applied more than once";
            }
            if (applied != 0 && missing) {
                return "a push was applied before one that came first";
            }
            missing = missing || applied == 0;
            if (missing && who == rank && i <= round) {
                return "a pull does not see a push before it";
            }
        }
    }
    return NULL;
}

static bool has_bits(const struct oracle_slice *o, const struct plan_slice *s,
                     uint32_t round, uint32_t set, const void *value,
                     bool later)
{
    static unsigned char bytes[PLAN_COUNT_MAX * ELEMENT_MAX];
    uint64_t last = later ? o->rounds : round;
    size_t size;

    for (; round <= last; round++) {
        size = sim_rows_pack(s, set, o->value[round], bytes);
        if (memcmp(value, bytes, size) == 0) {
            return true;
        }
    }
    return false;
}

const char *oracle_check_pull(const struct oracle *o, const struct plan *p,
                              uint32_t rank, uint32_t slice, uint32_t round,
                              uint32_t set, const void *value, bool later)
{
    static _Alignas(4) unsigned char bytes[PLAN_COUNT_MAX * ELEMENT_MAX];
    const struct plan_slice *s = &p->slice[slice];

    if (!p->async) {
        return has_bits(&o->slice[slice], s, round, set, value, later)
                   ? NULL
                   : "a pull gave other bits than its round has";
    }
    if (s->before[p->steps] == 0 || plan_mark(p, rank, slice, 1) == s->count) {
        return NULL;
    }
    (void)sim_rows_unpack(s, set, value, bytes);
    return check_marks(o, p, rank, slice, round, set,
                       (const float *)(const void *)bytes);
}
