#include <string.h>

#include "server/shard_settings.h"

static const struct kv_optim_scale unscaled = {.lr_mult = 1, .wd_mult = 1};

void shard_untune(struct shard *s)
{
    memset(&s->tuning, 0, sizeof s->tuning);
}

/* Rounds that have the same settings for all keys share steps. */
static void tune_all(struct shard *s, uint64_t round)
{
    struct tuning *t = &s->tuning;
    const struct spec_block *b = s->spec_block;
    bool known = round - t->first < t->rounds;
    uint64_t next;

    s->spec = s->base;
    t->all = unscaled;
    next = kv_hyper_apply(b->hypers, b->hyper_count, round, &s->spec, &t->all);
    if (!known) {
        t->first = round;
        t->rounds = next - round;
        for (unsigned i = 0; i < STEP_WAYS; i++) {
            s->cache[i].updates = 0;
        }
    }
    t->alone = false;
}

static unsigned way_of(const struct kv_optim_scale *scale)
{
    uint64_t bits[2];

    memcpy(bits, &scale->lr_mult, sizeof bits[0]);
    memcpy(bits + 1, &scale->wd_mult, sizeof bits[1]);
    bits[0] = (bits[0] ^ bits[1] << 1 ^ bits[1] >> 63) * 0x9e3779b97f4a7c15;
    return 1 + (unsigned)(bits[0] >> 32) % (STEP_WAYS - 1);
}

void shard_retune(struct shard *s, const struct entry *e)
{
    struct tuning *t = &s->tuning;
    uint64_t round = shard_rounds(e) + 1;

    if (s->spec_block == NULL) {
        return;
    }
    if (t->alone || round - t->first >= t->rounds) {
        tune_all(s, round);
    }
    t->now = t->all;
    t->own = e->own != NULL;
    t->way = 0;
    if (t->own) {
        kv_hyper_apply(e->own->hypers, e->own->hyper_count, round, &s->spec,
                       &t->now);
        t->alone = !e->own->only_scales;
        t->way = way_of(&t->now);
    }
}

/* Few values are f64: their steps are not remembered. */
const void *shard_step(struct shard *s, enum kv_dtype dtype, uint64_t updates)
{
    const struct kv_optim_scale *now = &s->tuning.now;
    struct step_cache *c = &s->cache[s->tuning.way];

    if (s->tuning.alone || dtype == KV_F64) {
        kv_optim_prepare(&s->spec, dtype, now, updates, s->own_step);
        return s->own_step;
    }
    if (c->updates != updates || c->lr_mult != now->lr_mult ||
        c->wd_mult != now->wd_mult) {
        kv_optim_prepare(&s->spec, KV_F32, now, updates, c->step);
        c->updates = updates;
        c->lr_mult = now->lr_mult;
        c->wd_mult = now->wd_mult;
    }
    return c->step;
}
