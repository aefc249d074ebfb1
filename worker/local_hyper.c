#include "worker/local_hyper.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

static const struct kv_optim_scale unscaled = {.lr_mult = 1, .wd_mult = 1};

/* The next value on the roll; NULL at the end. */
static struct local_value *walk(const struct roll *keys, uint64_t *at)
{
    const struct key *key = roll_walk(keys, at);

    return key == NULL ? NULL : key->value;
}

/* --- The rule ------------------------------------------------------------- */

static bool same(const struct kv_optim_spec *a, const struct kv_optim_spec *b)
{
    char x[KV_OPTIM_TEXT_MAX], y[KV_OPTIM_TEXT_MAX];

    kv_optim_format(a, x, sizeof x);
    kv_optim_format(b, y, sizeof y);
    return a->optim == b->optim && strcmp(x, y) == 0;
}

/* Nothing of the rule before holds. */
static void begin(struct local_rule *rule, const struct roll *keys)
{
    struct local_value *v;
    uint64_t at = 0;

    rule->hyper_count = 0;
    rule->spec = rule->base;
    rule->scale = unscaled;
    rule->generation++;
    while ((v = walk(keys, &at)) != NULL) {
        v->own_count = 0;
    }
}

void local_rule_optimizer(struct local_rule *rule, const struct roll *keys,
                          const struct kv_optim_spec *spec)
{
    if (rule->base.optim != NULL && same(&rule->base, spec)) {
        return;
    }
    rule->base = *spec;
    rule->updater = NULL;
    begin(rule, keys);
}

void local_rule_updater(struct local_rule *rule, const struct roll *keys,
                        kvw_updater_fn updater, void *arg)
{
    rule->base.optim = NULL;
    rule->updater = updater;
    rule->arg = arg;
    begin(rule, keys);
}

void local_tune(struct local_rule *rule, const struct local_value *v)
{
    uint64_t round = v->version + 1;

    if (rule->base.optim == NULL) {
        return;
    }
    rule->spec = rule->base;
    rule->scale = unscaled;
    kv_hyper_apply(rule->hypers, rule->hyper_count, round, &rule->spec,
                   &rule->scale);
    kv_hyper_apply(v->own, v->own_count, round, &rule->spec, &rule->scale);
}

/* --- Changes -------------------------------------------------------------- */

static enum kv_status check_round(const struct local_value *v,
                                  const struct kvw_hyper *change, char *text)
{
    if (change->round == 0 || v->version < change->round) {
        return KV_OK;
    }
    snprintf(text, KV_OPTIM_ERROR_MAX,
             "%s cannot change from round %" PRIu64 " on: %" PRIu64
             " were pushed; state a later one, or 0 for the next",
             change->name, change->round, v->version);
    return KV_EINVAL;
}

static enum kv_status check_rounds(const struct roll *keys,
                                   const struct kvw_hyper *change, char *text)
{
    const struct local_value *v;
    enum kv_status status = KV_OK;
    uint64_t at = 0;

    while (status == KV_OK && (v = walk(keys, &at)) != NULL) {
        status = check_round(v, change, text);
    }
    return status;
}

/* The round that the value which is behind all others comes to next. */
static uint64_t next_of_all(const struct roll *keys)
{
    const struct local_value *v;
    uint64_t at = 0, least = UINT64_MAX;

    while ((v = walk(keys, &at)) != NULL) {
        least = v->version < least ? v->version : least;
    }
    return least == UINT64_MAX ? 1 : least + 1;
}

static enum kv_status put(struct kv_hyper *list, size_t *count, size_t max,
                          uint64_t next, const struct kv_hyper *h, char *text)
{
    if (!kv_hyper_fits(list, *count, max, h)) {
        *count = kv_hyper_forget(list, *count, next);
    }
    if (!kv_hyper_fits(list, *count, max, h)) {
        snprintf(text, KV_OPTIM_ERROR_MAX,
                 "%s cannot change: %zu changes wait for rounds to come, no "
                 "more go in",
                 h->name, *count);
        return KV_ENOSPC;
    }
    *count = kv_hyper_put(list, *count, h);
    return KV_OK;
}

static enum kv_status put_own(struct local_value *v, const struct kv_hyper *h,
                              char *text)
{
    if (v->own == NULL) {
        v->own = mem_alloc(KV_HYPER_OWN_MAX * sizeof *v->own);
    }
    if (v->own == NULL) {
        snprintf(text, KV_OPTIM_ERROR_MAX, "out of memory for %s", h->name);
        return KV_ENOMEM;
    }
    return put(v->own, &v->own_count, KV_HYPER_OWN_MAX, v->version + 1, h,
               text);
}

/* The change, if the settings of its round can have it. */
static enum kv_status make(const struct local_rule *rule,
                           const struct local_value *one,
                           const struct kvw_hyper *change, struct kv_hyper *out,
                           char *text)
{
    struct kv_optim_spec spec = rule->base;
    struct kv_optim_scale scale = unscaled;
    uint64_t round = change->round;

    if (one != NULL && round == 0) {
        round = one->version + 1;
    }
    kv_hyper_apply(rule->hypers, rule->hyper_count, round, &spec, &scale);
    if (one != NULL) {
        kv_hyper_apply(one->own, one->own_count, round, &spec, &scale);
    }
    return kv_hyper_make(&spec, change->name, change->value, change->round, out,
                         text, KV_OPTIM_ERROR_MAX);
}

enum kv_status local_hyper(struct local_rule *rule, const struct roll *keys,
                           const struct key *key,
                           const struct kvw_hyper *change, char *text)
{
    struct local_value *one = key == NULL ? NULL : key->value;
    enum kv_status status;
    struct kv_hyper h;

    if (rule->base.optim == NULL) {
        snprintf(text, KV_OPTIM_ERROR_MAX,
                 "%s cannot change: no optimizer is set; call "
                 "kvw_set_optimizer first",
                 change->name);
        return KV_EINVAL;
    }
    status = make(rule, one, change, &h, text);
    if (status == KV_OK) {
        status = one != NULL ? check_round(one, change, text)
                             : check_rounds(keys, change, text);
    }
    if (status != KV_OK) {
        return status;
    }
    return one != NULL ? put_own(one, &h, text)
                       : put(rule->hypers, &rule->hyper_count, KV_HYPER_ALL_MAX,
                             next_of_all(keys), &h, text);
}
