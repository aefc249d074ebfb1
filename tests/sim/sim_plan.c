#include "tests/sim/sim_plan.h"

#include <string.h>

#include "common/base/check.h"
#include "proto/limits.h"
#include "tests/sim/sim_odd.h"

/* splitmix64 (Steele, Lea and Flood, 2014). */
uint64_t plan_draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint32_t below(uint64_t *random, uint32_t bound)
{
    return (uint32_t)(plan_draw(random) >> 32) % bound;
}

static uint32_t between(uint64_t *random, uint32_t low, uint32_t high)
{
    return low + below(random, high - low + 1);
}

/* --- The job -------------------------------------------------------------- */

static size_t draw_count(uint64_t *random, enum kv_dtype dtype, bool crowded)
{
    size_t unit = kv_dtype_size(dtype), direct;

    KV_CHECK(unit > 0);
    direct = KV_DIRECT_MIN / unit;
    if (crowded) {
        return direct;
    }
    switch (below(random, 8)) {
    case 0:
        return direct + 64 * below(random, 8); /* Travels alone. */
    case 1:
        return direct - 1 - below(random, 100); /* Just not. */
    case 2:
    case 3:
        return between(random, 1, 3);
    default:
        return between(random, 100, 900);
    }
}

/* Of many short rows, or of some that are longer than what the server works on
 * at a time, and of which a few travel alone. */
static void make_rows(struct plan_slice *s, uint64_t *random)
{
    bool wide = below(random, 6) == 0;

    s->rows = wide ? between(random, 2, 6) : between(random, 1, PLAN_ROWS_MAX);
    s->row_length = wide ? between(random, 2100, 3300) : between(random, 1, 40);
    s->count = s->rows * s->row_length;
}

static void make_slice(struct plan *p, uint64_t *random, uint32_t i)
{
    static const enum kv_dtype dtypes[] = {KV_F32, KV_F32, KV_F16, KV_BF16};
    struct plan_slice *s = &p->slice[i];

    if (i > 0 && s[-1].rows == 0 && !p->crowded && below(random, 2) == 0) {
        *s = s[-1];
        s->key_id = i / p->width;
        s->index = i % p->width;
        s->twin = true;
        return;
    }
    s->shard = below(random, p->shards);
    s->key_id = i / p->width;
    s->index = i % p->width;
    s->dtype = p->async ? KV_F32 : dtypes[below(random, 4)];
    s->count = draw_count(random, s->dtype, p->crowded);
    if (!p->crowded && below(random, 3) == 0) {
        make_rows(s, random);
    }
    s->size = s->count * kv_dtype_size(s->dtype);
    KV_CHECK(s->count <= PLAN_COUNT_MAX);
    for (uint32_t step = 0; step < p->steps; step++) {
        static const uint32_t pushes[] = {0, 1, 1, 1, 2};

        s->pushes[step] = pushes[below(random, 5)];
        s->before[step + 1] = s->before[step] + s->pushes[step];
    }
}

/* A further slice of a key is of the same form, and pushed in the same rounds.
 */
static void join_key(struct plan_slice *s)
{
    const struct plan_slice *first = s - 1;
    size_t count = s->count;

    s->dtype = first->dtype;
    s->row_length = first->row_length;
    s->rows = first->rows > 0 ? 1 + (uint32_t)(count % first->rows) : 0;
    s->count = first->rows > 0 ? s->rows * s->row_length : count;
    s->size = s->count * kv_dtype_size(s->dtype);
    memcpy(s->pushes, first->pushes, sizeof s->pushes);
    memcpy(s->before, first->before, sizeof s->before);
}

static void append(struct plan_ops *ops, bool pull)
{
    ops->pull[ops->count++] = pull;
}

static void make_ops(struct plan_ops *ops, uint64_t *random, uint32_t pushes)
{
    bool pulls = below(random, 4) > 0;

    if (pulls && below(random, 6) == 0) {
        append(ops, true);
    }
    for (uint32_t i = 0; i < pushes; i++) {
        append(ops, false);
        if (pulls && i + 1 < pushes && below(random, 2) == 0) {
            append(ops, true);
        }
    }
    if (pulls) {
        append(ops, true);
    }
}

static void make_steps(struct plan *p, uint64_t *random, uint32_t rank,
                       uint32_t slice)
{
    uint32_t base = 0;

    for (uint32_t step = 0; step < p->steps; step++) {
        struct plan_ops *ops = &p->ops[rank][step][slice];

        if (p->deleted[slice] && step == p->delete_step) {
            base = p->slice[slice].before[step];
        }
        p->base[rank][step][slice] = base;
        make_ops(ops, random,
                 p->away[rank][step] ? 0 : p->slice[slice].pushes[step]);
        if (ops->count > 0 && ops->pull[ops->count - 1] &&
            !p->away[rank][step]) {
            base = p->slice[slice].before[step + 1];
        }
    }
}

/* All but one: without anybody, rounds do not go on. */
static void make_away(struct plan *p, uint32_t rank, uint64_t *random)
{
    uint32_t step = between(random, 1, p->steps - 1);

    while (step < p->steps && below(random, 4) > 0) {
        uint32_t end = between(random, step + 1, p->steps);

        while (step < end) {
            p->away[rank][step++] = true;
        }
        step += between(random, 1, 3);
    }
    p->away[rank][p->steps] = p->away[rank][p->steps - 1];
}

static void choose_away(struct plan *p)
{
    uint64_t random = p->seed ^ UINT64_C(0xbb67ae8584caa73b);
    uint32_t stays = below(&random, p->workers);

    for (uint32_t rank = 0; rank < p->workers; rank++) {
        if (!p->async && rank != stays && p->seed % 3 == 0) {
            make_away(p, rank, &random);
        }
    }
}

/* Drawn apart, too. Nobody is away then, and no number changes. */
static void choose_deleted(struct plan *p)
{
    uint64_t random = p->seed ^ UINT64_C(0x3c6ef372fe94f82b);

    if (p->async || p->measured || p->hyper_step > 0 || p->seed % 3 == 0 ||
        below(&random, 3) > 0) {
        return;
    }
    p->delete_step = 1 + below(&random, p->steps > 1 ? p->steps - 1 : 1);
    for (uint32_t i = 0; i < p->slices; i++) {
        struct plan_slice *s = &p->slice[i];

        p->deleted[i] =
            s->index > 0 ? p->deleted[i - 1] : i == 0 || below(&random, 2) == 0;
        for (uint32_t step = p->delete_step; p->deleted[i] && step <= p->steps;
             step++) {
            s->before[step]++;
        }
    }
}

bool plan_reborn(const struct plan *p, uint32_t slice, uint32_t version)
{
    return p->deleted[slice] &&
           version == p->slice[slice].before[p->delete_step];
}

uint64_t plan_deletion(const struct plan *p, uint32_t slice)
{
    return p->slice[slice].key_id + 1;
}

uint64_t plan_last_deletion(const struct plan *p, uint32_t slice)
{
    uint64_t last = 0;

    for (uint32_t i = 0; i < p->slices; i++) {
        if (p->deleted[i] && p->slice[i].shard == p->slice[slice].shard) {
            last = plan_deletion(p, i);
        }
    }
    return last;
}

bool plan_comes_back(const struct plan *p, uint32_t rank, uint32_t step)
{
    return step > 0 && p->away[rank][step - 1] && !p->away[rank][step];
}

static void choose_optimizer(struct plan *p, uint64_t *random)
{
    if (p->async) {
        /* Exact, so that any order gives the same sum. */
        p->optimizer = "sgd";
        p->params = "lr=1";
        return;
    }
    switch (below(random, 3)) {
    case 0:
        return;
    case 1:
        p->optimizer = "sgd";
        p->params = "lr=0.1,momentum=0.9,wd=0.001";
        break;
    default:
        p->optimizer = "adam";
        p->params = "lr=0.01";
    }
    switch (below(random, 3)) {
    case 0:
        p->hyper_step = between(random, 1, p->steps - 1);
        p->hyper = 0.003;
        p->hyper_ahead = below(random, 4);
        p->own = below(random, 2) == 0;
        p->own_slice = below(random, p->slices);
        p->own_ahead = below(random, 4);
        p->own_mult = 0.5;
        break;
    case 1:
        p->again_step = between(random, 1, p->steps - 1);
        break;
    default:
        break;
    }
}

/* One in five jobs; drawn apart, so that the others stay what they were. */
static void choose_measured(struct plan *p)
{
    static const char *const rules[][2] = {
        {"lamb", "lr=0.01,wd=0.001"},
        {"lars", "lr=1,eta=0.1,momentum=0.9"},
        {"lans", "lr=0.01"},
        {"lars", "lr=1,eta=0.1,lazy_update=0"},
    };

    p->width = 2;
    p->measured = !p->async && p->seed % 5 == 2;
    if (p->measured) {
        p->width += (uint32_t)(p->seed / 20 % 3);
        p->optimizer = rules[p->seed / 5 % 4][0];
        p->params = rules[p->seed / 5 % 4][1];
    }
}

uint32_t plan_key_slices(const struct plan *p, uint32_t slice)
{
    uint32_t left = p->slices - slice + p->slice[slice].index;

    return left < p->width ? left : p->width;
}

uint64_t plan_hyper_round(const struct plan *p)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < p->slices; i++) {
        uint64_t before = p->slice[i].before[p->hyper_step];

        most = before > most ? before : most;
    }
    return p->hyper_ahead == 0 ? 0 : most + p->hyper_ahead;
}

uint64_t plan_own_round(const struct plan *p)
{
    return p->own_ahead == 0
               ? 0
               : p->slice[p->own_slice].before[p->hyper_step] + p->own_ahead;
}

static bool holds(const struct plan *p, uint32_t slice, uint64_t round,
                  uint64_t from)
{
    return p->hyper_step > 0 && round > p->slice[slice].before[p->hyper_step] &&
           round >= from;
}

bool plan_hyper_holds(const struct plan *p, uint32_t slice, uint64_t round)
{
    return holds(p, slice, round, plan_hyper_round(p));
}

bool plan_own_holds(const struct plan *p, uint32_t slice, uint64_t round)
{
    return p->own && slice == p->own_slice &&
           holds(p, slice, round, plan_own_round(p));
}

/* --- The weather ---------------------------------------------------------- */

static void make_weather(struct plan_weather *w, uint64_t *random)
{
    static const uint32_t cuts[] = {0, 100, 400, 1500};
    static const uint32_t kills[] = {0, 30, 100, 300};
    static const uint32_t crashes[] = {0, 0, 50, 200};
    static const uint32_t intruders[] = {0, 0, 100, 300};
    static const uint32_t sheds[] = {0, 0, 100, 400};
    static const uint32_t factors[] = {1, 1, 100, 400};
    static const uint32_t windows[] = {1, 2, 8, 1000};

    w->cut = cuts[below(random, 4)];
    w->kill = kills[below(random, 4)];
    w->crash = crashes[below(random, 4)];
    w->intruder = intruders[below(random, 4)];
    w->shed = sheds[below(random, 4)];
    w->held_factor = factors[below(random, 4)];
    w->window = windows[below(random, 4)];
    w->room = 1u << between(random, 4, 20);
    w->chaos_steps = between(random, 300, 3000);
}

void plan_make(struct plan *p, uint64_t seed)
{
    const struct kv_codec *fp16 = kv_codec_find("fp16");
    uint64_t random = seed * UINT64_C(0xd1342543de82ef95) + 1;

    memset(p, 0, sizeof *p);
    p->seed = seed;
    p->workers = between(&random, 1, PLAN_WORKERS_MAX);
    p->shards = between(&random, 1, PLAN_SHARDS_MAX);
    p->slices = between(&random, 1, PLAN_SLICES_MAX);
    p->steps = between(&random, 3, PLAN_STEPS_MAX);
    p->async = below(&random, 4) == 0;
    p->crowded = below(&random, 25) == 0;
    if (p->crowded) {
        p->shards = 1;
        p->slices = between(&random, 3, PLAN_SLICES_MAX);
        p->steps = 3;
    }
    p->everyone_sets = below(&random, 3) == 0;
    choose_optimizer(p, &random);
    choose_measured(p);
    choose_away(p);
    for (uint32_t i = 0; i < p->slices; i++) {
        make_slice(p, &random, i);
        if (p->measured && p->slice[i].index > 0 && !p->slice[i].twin) {
            join_key(&p->slice[i]);
        }
    }
    choose_deleted(p);
    for (uint32_t rank = 0; rank < p->workers; rank++) {
        p->inputs[rank] = below(&random, 4) == 0 ? 2 : 1;
        p->codec[rank] = below(&random, 4) == 0 ? fp16 : NULL;
        for (uint32_t i = 0; i < p->slices; i++) {
            make_steps(p, &random, rank, i);
        }
    }
    make_weather(&p->weather, &random);
    if (p->delete_step > 0 && p->seed % 2 == 0) {
        p->weather.kill = 1000; /* That hurts at one step only. */
        p->weather.crash = 400;
    }
    if (p->measured && p->seed / 5 % 3 == 0) {
        p->weather.crash = 400; /* Between the commits of a key. */
    }
    if (p->crowded) {
        p->weather.held_factor = 400;
        p->weather.window = 1;
        p->weather.room = 1;
    }
}

uint32_t plan_step_of(const struct plan *p, uint32_t slice, uint32_t round)
{
    uint32_t step = 0;

    while (p->slice[slice].before[step + 1] < round) {
        step++;
    }
    return step;
}

/* --- Numbers -------------------------------------------------------------- */

/* A small whole number that depends on all of them. */
static float noise(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t h = (a * 2654435761u + b * 2246822519u + c * 3266489917u) >> 13;

    return (float)(h & 255);
}

size_t plan_mark(const struct plan *p, uint32_t rank, uint32_t slice,
                 uint32_t round)
{
    const struct plan_slice *s = &p->slice[slice];
    size_t all = (size_t)p->workers * s->before[p->steps];

    return s->count < all ? s->count
                          : (size_t)rank * s->before[p->steps] + round - 1;
}

static void exact_gradient(const struct plan *p, uint32_t rank, uint32_t slice,
                           uint32_t round, uint32_t input, float *out)
{
    const struct plan_slice *s = &p->slice[slice];
    size_t all = (size_t)p->workers * s->before[p->steps];
    size_t mark = plan_mark(p, rank, slice, round);

    for (size_t i = 0; i < s->count; i++) {
        out[i] = noise((uint32_t)i, rank * 64 + round, input) + 1;
    }
    if (mark < s->count) {
        memset(out, 0, all * sizeof *out);
        out[mark] = input == 0 ? 1 : 0;
    }
}

void plan_gradient(const struct plan *p, uint32_t rank, uint32_t slice,
                   uint32_t round, uint32_t input, const void *base, void *out)
{
    static float weights[PLAN_COUNT_MAX], gradient[PLAN_COUNT_MAX];
    const struct plan_slice *s = &p->slice[slice];
    uint32_t salt = rank * 64 + round;

    if (p->async) {
        exact_gradient(p, rank, slice, round, input, out);
        return;
    }
    kv_to_f32(s->dtype, base, weights, s->count);
    for (size_t i = 0; i < s->count; i++) {
        gradient[i] = weights[i] * 0.125f +
                      (noise((uint32_t)i, salt, input) - 128) * 0.015625f;
    }
    kv_from_f32(s->dtype, gradient, out, s->count);
    if (input == 0 && sim_spoils(p, rank, slice, round)) {
        memset(out, 0xff, s->size); /* NaN in all formats. */
    }
}

void plan_first_value(const struct plan *p, uint32_t slice, bool again,
                      void *out)
{
    static float value[PLAN_COUNT_MAX];
    const struct plan_slice *s = &p->slice[slice];

    for (size_t i = 0; i < s->count; i++) {
        value[i] =
            noise((uint32_t)i, slice, (uint32_t)p->seed) - (again ? 50 : 100);
    }
    kv_from_f32(s->dtype, value, out, s->count);
}
