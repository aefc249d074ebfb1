#include "worker/local_value.h"

#include <string.h>

#include "common/base/mem.h"
#include "worker/local_math.h"

static size_t size_of(const struct key *key)
{
    return (size_t)key->count * kv_dtype_size(key->spec.dtype);
}

struct local_value *local_value_new(const struct key *key, const void *data)
{
    struct local_value *v = mem_zalloc(1, sizeof *v);

    if (v == NULL) {
        return NULL;
    }
    v->data = mem_aligned(MEM_ALIGN_MIN, size_of(key));
    if (v->data == NULL) {
        mem_free(v);
        return NULL;
    }
    memcpy(v->data, data, size_of(key));
    return v;
}

static void free_slots(struct local_value *v)
{
    for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
        mem_free(v->slots[i]);
        v->slots[i] = NULL;
    }
}

void local_value_free(struct local_value *v)
{
    free_slots(v);
    mem_free(v->data);
    mem_free(v);
}

/* --- Is everything there? ------------------------------------------------- */

/* State that belongs to an earlier rule is not looked at any more. */
static bool make_slots(const struct local_rule *rule, const struct key *key)
{
    struct local_value *v = key->value;
    unsigned count = rule->spec.optim->slots(rule->spec.params);

    if (v->generation == rule->generation) {
        return true;
    }
    free_slots(v);
    for (unsigned i = 0; i < count; i++) {
        v->slots[i] = mem_zalloc(key->count, sizeof *v->slots[i]);
        if (v->slots[i] == NULL) {
            free_slots(v);
            return false;
        }
    }
    v->updates = 0;
    v->generation = rule->generation;
    return true;
}

static bool grow_sum(struct local_rule *rule, size_t size)
{
    void *sum;

    if (size <= rule->sum_size) {
        return true;
    }
    sum = mem_aligned(MEM_ALIGN_MIN, size);
    if (sum == NULL) {
        return false;
    }
    mem_free(rule->sum);
    rule->sum = sum;
    rule->sum_size = size;
    return true;
}

bool local_value_ready(struct local_rule *rule, struct kvw_op *op,
                       const struct op_item *item)
{
    const struct key *key = item->key;
    const struct kv_optim *optim = rule->spec.optim;
    char name[KEYS_TEXT_MAX];
    bool ready = true;

    if (optim != NULL && !kv_dtype_supported(key->spec.dtype)) {
        op_fail(op, KV_ENOTSUP,
                "%s is %s, and the optimizer %s works on f32, f16 and bf16",
                keys_text(&key->spec, name), kv_dtype_name(key->spec.dtype),
                optim->name);
        return false;
    }
    if (optim != NULL) {
        ready = make_slots(rule, key);
    } else if (rule->updater != NULL && item->data_count > 1) {
        ready = grow_sum(rule, size_of(key));
    }
    if (!ready) {
        op_fail(op, KV_ENOMEM, "%s: out of memory for its update",
                keys_text(&key->spec, name));
    }
    return ready;
}

/* --- Push ----------------------------------------------------------------- */

static void optimize(struct team *team, const struct local_rule *rule,
                     const struct op_item *item)
{
    const struct key *key = item->key;
    struct local_value *v = key->value;
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct local_update u = {.dtype = key->spec.dtype,
                             .count = key->count,
                             .weights = v->data,
                             .slots = v->slots,
                             .slot_count =
                                 rule->spec.optim->slots(rule->spec.params),
                             .inputs = (const void *const *)item->data,
                             .input_count = item->data_count,
                             .optim = rule->spec.optim,
                             .step = step};

    kv_optim_prepare(&rule->spec, NULL, ++v->updates, step);
    local_update(team, &u);
}

static struct kvw_tensor tensor_of(const struct key *key, void *data)
{
    struct kvw_tensor t = {.data = data,
                           .dtype = (enum kvw_dtype)key->spec.dtype,
                           .dims = key->spec.dims};

    memcpy(t.shape, key->spec.shape, sizeof t.shape);
    return t;
}

static void call_updater(struct team *team, const struct local_rule *rule,
                         const struct op_item *item)
{
    const struct key *key = item->key;
    struct kvw_key name = {key->spec.name, key->spec.number};
    struct kvw_tensor stored = tensor_of(key, key->value->data);
    struct kvw_tensor received = tensor_of(key, item->data[0]);

    if (item->data_count > 1) {
        received.data = rule->sum;
        local_sum(team, key->spec.dtype, key->count, rule->sum,
                  (const void *const *)item->data, item->data_count);
    }
    rule->updater(rule->arg, name, &received, &stored);
}

void local_value_push(struct team *team, struct local_rule *rule,
                      const struct op_item *item)
{
    const struct key *key = item->key;

    if (rule->spec.optim != NULL) {
        optimize(team, rule, item);
    } else if (rule->updater != NULL) {
        call_updater(team, rule, item);
    } else {
        local_sum(team, key->spec.dtype, key->count, key->value->data,
                  (const void *const *)item->data, item->data_count);
    }
}

void local_value_pull(struct team *team, const struct op_item *item)
{
    const struct key *key = item->key;

    local_copy(team, size_of(key), key->value->data, item->data,
               item->data_count);
}
