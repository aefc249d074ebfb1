#include "worker/local_value.h"

#include <string.h>

#include "common/base/mem.h"
#include "worker/local_hyper.h"
#include "worker/local_update.h"

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

static void free_state(struct local_value *v)
{
    for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
        mem_free(v->slots[i]);
        v->slots[i] = NULL;
    }
    mem_free(v->master);
    v->master = NULL;
}

void local_value_free(struct local_value *v)
{
    free_state(v);
    mem_free(v->own);
    mem_free(v->data);
    mem_free(v);
}

/* No rule has the generation 0: its state is made again. */
void local_value_reset(const struct key *key, const void *data)
{
    struct local_value *v = key->value;

    memcpy(v->data, data, size_of(key));
    free_state(v);
    v->generation = 0;
    v->version++;
}

/* --- Is everything there? ------------------------------------------------- */

/* It begins as the weights. */
static bool make_master(const struct key *key)
{
    struct local_value *v = key->value;

    v->master = mem_aligned(MEM_ALIGN_MIN, key->count * sizeof(float));
    if (v->master != NULL) {
        kv_to_f32(key->spec.dtype, v->data, v->master, key->count);
    }
    return v->master != NULL;
}

/* State that belongs to an earlier rule is not looked at any more. */
static bool make_state(const struct local_rule *rule, const struct key *key)
{
    struct local_value *v = key->value;
    unsigned count = rule->spec.optim->slots(rule->spec.params);
    size_t width = moves_row_length(&key->spec);
    size_t length = rule->spec.optim->rows ? key->count / width : key->count;

    if (v->generation == rule->generation) {
        return true;
    }
    free_state(v);
    for (unsigned i = 0; i < count; i++) {
        v->slots[i] =
            mem_zalloc(length, kv_dtype_size(kv_optim_real(key->spec.dtype)));
        if (v->slots[i] == NULL) {
            free_state(v);
            return false;
        }
    }
    if (kv_optim_master(&rule->spec, key->spec.dtype) && !make_master(key)) {
        free_state(v);
        return false;
    }
    v->updates = 0;
    v->generation = rule->generation;
    return true;
}

static bool grow(void **room, size_t *room_size, size_t size)
{
    void *grown;

    if (size <= *room_size) {
        return true;
    }
    grown = mem_aligned(MEM_ALIGN_MIN, size);
    if (grown == NULL) {
        return false;
    }
    mem_free(*room);
    *room = grown;
    *room_size = size;
    return true;
}

static bool grow_sum(struct local_rule *rule, size_t size)
{
    return grow(&rule->sum, &rule->sum_size, size);
}

static bool grow_room(struct local_rule *rule, const struct local_change *c)
{
    size_t size = local_update_room(rule->spec.optim, c->key->spec.dtype,
                                    c->key->count, c->data_count);

    return grow(&rule->room, &rule->room_size, size);
}

/* Does the optimizer need the gradient that rows stand for? */
static bool needs_whole(const struct local_rule *rule,
                        const struct local_change *c)
{
    return c->rows != NULL &&
           (c->key->spec.storage == KV_DENSE || !kv_optim_lazy(&rule->spec));
}

/* Norms are of that gradient, even where only its rows are updated. */
static bool spreads(const struct local_rule *rule, const struct local_change *c)
{
    return needs_whole(rule, c) ||
           (c->rows != NULL && rule->spec.optim->passes > 0);
}

bool local_value_ready(struct local_rule *rule, struct kvw_op *op,
                       const struct local_change *c)
{
    const struct key *key = c->key;
    const struct kv_optim *optim = rule->spec.optim;
    char name[KEYS_TEXT_MAX];
    bool ready = true;

    local_tune(rule, key->value);
    if (optim != NULL && !kv_optim_takes(optim, key->spec.dtype)) {
        op_fail(op, KV_ENOTSUP,
                "%s is %s, and the optimizer %s trains f32, f64, f16 and bf16",
                keys_text(&key->spec, name), kv_dtype_name(key->spec.dtype),
                optim->name);
        return false;
    }
    if (optim != NULL) {
        ready = make_state(rule, key) && grow_room(rule, c) &&
                (!spreads(rule, c) || grow_sum(rule, size_of(key)));
    } else if (rule->updater != NULL && c->data_count > 1) {
        ready = grow_sum(rule, size_of(key));
    }
    if (!ready) {
        op_fail(op, KV_ENOMEM, "%s: out of memory for its update",
                keys_text(&key->spec, name));
    }
    return ready;
}

/* --- Push ----------------------------------------------------------------- */

static struct local_rows rows_of(const struct local_change *c)
{
    struct local_rows rows = {c->rows, c->row_count,
                              moves_row_length(&c->key->spec)};

    return rows;
}

/* The table that rows stand for: zeros elsewhere. */
static void spread(struct team *team, const struct local_change *c, void *out)
{
    struct local_rows rows = rows_of(c);

    local_spread(team, c->key->spec.dtype, &rows, c->data[0], out,
                 size_of(c->key));
}

/* Into u->step, which is `step`. */
static void prepare(struct team *team, const struct local_rule *rule,
                    const struct key *key, const struct local_update *u,
                    void *step)
{
    struct kv_optim_scale scale = rule->scale;
    double total[KV_OPTIM_NORMS_MAX];

    scale.plain = keys_plain(&key->spec);
    kv_optim_prepare(&rule->spec, u->dtype, &scale, ++key->value->updates,
                     step);
    for (unsigned pass = 0; pass < u->optim->passes; pass++) {
        local_measure(team, u, pass, total);
        kv_optim_for(u->optim, u->dtype)->absorb(step, pass, total);
    }
}

static bool is_acceptable(struct team *team, const struct local_rule *rule,
                          const struct local_change *c,
                          const struct local_update *u)
{
    struct local_update pushed = *u;

    if (c->rows != NULL && !spreads(rule, c)) {
        pushed.count = c->row_count * moves_row_length(&c->key->spec);
    }
    return !kv_optim_guards(&rule->spec) ||
           local_gradient_is_finite(team, &pushed);
}

static bool optimize(struct team *team, const struct local_rule *rule,
                     const struct local_change *c)
{
    const struct key *key = c->key;
    struct local_value *v = key->value;
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct local_update u = {.dtype = key->spec.dtype,
                             .count = key->count,
                             .weights = v->data,
                             .master = v->master,
                             .slots = v->slots,
                             .slot_count =
                                 rule->spec.optim->slots(rule->spec.params),
                             .inputs = (const void *const *)c->data,
                             .input_count = c->data_count,
                             .width = moves_row_length(&key->spec),
                             .room = rule->room,
                             .optim = rule->spec.optim,
                             .step = step,
                             .number = (uint64_t)key->id << 40};

    if (spreads(rule, c)) {
        spread(team, c, rule->sum);
        u.inputs = (const void *const *)&rule->sum;
    }
    if (!is_acceptable(team, rule, c, &u)) {
        return false;
    }
    prepare(team, rule, key, &u, step);
    if (c->rows != NULL && !needs_whole(rule, c)) {
        u.inputs = (const void *const *)c->data;
        u.rows = rows_of(c);
        u.count = u.rows.count * u.rows.length;
    }
    local_update(team, &u);
    return true;
}

/* All of a value, or of a gradient. */
static struct kvw_tensor tensor_of(const struct key *key,
                                   enum kv_storage storage, void *data)
{
    struct kvw_tensor t = {.data = data,
                           .dtype = (enum kvw_dtype)key->spec.dtype,
                           .dims = key->spec.dims};

    memcpy(t.shape, key->spec.shape, sizeof t.shape);
    if (storage == KV_ROW_SPARSE) {
        t.storage = KVW_ROW_SPARSE;
        t.row_count = t.shape[0];
    }
    return t;
}

static void call_updater(struct team *team, const struct local_rule *rule,
                         const struct local_change *c)
{
    const struct key *key = c->key;
    struct kvw_key name = {key->spec.name, key->spec.number};
    struct kvw_tensor stored =
        tensor_of(key, key->spec.storage, key->value->data);
    struct kvw_tensor received = tensor_of(key, c->storage, c->data[0]);

    if (c->rows != NULL) {
        received.rows = (int64_t *)c->rows;
        received.row_count = c->row_count;
    } else if (c->data_count > 1) {
        received.data = rule->sum;
        local_sum(team, key->spec.dtype, key->count, rule->sum,
                  (const void *const *)c->data, c->data_count);
    }
    rule->updater(rule->arg, name, &received, &stored);
}

bool local_value_push(struct team *team, struct local_rule *rule,
                      const struct local_change *c)
{
    const struct key *key = c->key;

    local_tune(rule, key->value);
    key->value->version++;
    if (rule->spec.optim != NULL) {
        return optimize(team, rule, c);
    }
    if (rule->updater != NULL) {
        call_updater(team, rule, c);
    } else if (c->rows != NULL) {
        spread(team, c, key->value->data);
    } else {
        local_sum(team, key->spec.dtype, key->count, key->value->data,
                  (const void *const *)c->data, c->data_count);
    }
    return true;
}

/* --- Pull ----------------------------------------------------------------- */

void local_value_pull(struct team *team, const struct local_change *c)
{
    const struct key *key = c->key;
    struct local_rows rows = rows_of(c);

    if (c->rows != NULL) {
        local_gather(team, key->spec.dtype, &rows, key->value->data, c->data,
                     c->data_count);
        return;
    }
    local_copy(team, size_of(key), key->value->data, c->data, c->data_count);
}

size_t local_value_bytes(const struct local_change *c)
{
    size_t size = size_of(c->key);

    if (c->rows != NULL) {
        size = c->row_count * moves_row_length(&c->key->spec) *
               kv_dtype_size(c->key->spec.dtype);
    }
    return size * c->data_count;
}
