#include "worker/kvworker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/codec/codec.h"
#include "worker/failure.h"
#include "worker/moves.h"
#include "worker/store.h"

/* --- Operations ----------------------------------------------------------- */

/* An op with its items; dropped again when they are refused. */
static int take_items(struct kvw *kv, enum op_kind kind,
                      const struct kvw_item *pushes,
                      const struct kvw_item *pulls, size_t count,
                      uint32_t flags, struct kvw_op **out)
{
    char text[ARGUMENTS_TEXT_MAX];
    struct arguments_survey survey = {0};
    enum key_kind stores = KEYS_ANY;
    enum kv_status status;
    bool moves;
    int result;

    arguments_look(pushes, count, &survey);
    arguments_look(pulls, count, &survey);
    moves = kind == OP_TRANSFER && survey.rows;
    result = store_take(kv, moves ? OP_MOVES : kind, out);
    if (result != KVW_OK) {
        return result;
    }
    if (kind == OP_INIT) {
        stores = (enum key_kind)atomic_load(&kv->key_kind);
    }
    status = arguments_kind(&survey, stores, text);
    if (status == KV_OK && moves) {
        flags |= kv->lane->duties->scattered ? MOVES_SCATTERED : 0;
        status = moves_take(&kv->pool, *out, pushes, pulls, count, flags, text);
    } else if (status == KV_OK) {
        status = arguments_items(*out, pushes, pulls, count, &survey, text);
    }
    if (status == KV_OK && !moves && (flags & KVW_COPY) != 0 &&
        pushes != NULL) {
        status = arguments_copy(&kv->pool, *out, text);
    }
    if (status != KV_OK) {
        op_drop(&kv->pool, *out);
        return failure(kv->number, status, "%s", text);
    }
    return KVW_OK;
}

static int transfer(struct kvw *kv, const struct kvw_item *pushes,
                    const struct kvw_item *pulls, size_t count,
                    const struct kvw_call *call, struct kvw_op **handle)
{
    static const struct kvw_call plain;
    struct kvw_op *op;
    int result = store_enter(kv, false);

    if (result != KVW_OK) {
        return result;
    }
    if (call == NULL) {
        call = &plain;
    }
    if ((call->flags & ~(KVW_COPY | KVW_IGNORE_SPARSE)) != 0) {
        return failure(kv->number, KV_EINVAL, "unknown flags 0x%x",
                       call->flags);
    }
    result =
        take_items(kv, OP_TRANSFER, pushes, pulls, count, call->flags, &op);
    if (result != KVW_OK) {
        return result;
    }
    op->priority = call->priority;
    op->done = call->done;
    op->arg = call->arg;
    if (handle != NULL) {
        *handle = op;
    }
    store_start(kv, op, handle != NULL);
    return KVW_OK;
}

static int missing_items(const struct kvw *kv)
{
    return failure(kv->number, KV_EINVAL, "items are needed");
}

static int assign(struct kvw *kv, enum op_kind kind,
                  const struct kvw_item *items, size_t count)
{
    struct kvw_op *op;
    int result = take_items(kv, kind, items, NULL, count, 0, &op);

    if (result == KVW_OK) {
        result = store_run(kv, op);
    }
    if (result == KVW_OK && kind == OP_INIT) { /* For the store's life. */
        atomic_store(&kv->key_kind,
                     items->key.name != NULL ? KEYS_STRINGS : KEYS_INTEGERS);
    }
    return result;
}

/* Of row_sparse tensors that lack rows, whole ones are made first. */
static int assign_rows(struct kvw *kv, enum op_kind kind,
                       const struct kvw_item *items, size_t count)
{
    char text[ARGUMENTS_TEXT_MAX];
    enum kv_status status = moves_check(items, count, text);
    struct kvw_item *whole;
    int result;

    if (status != KV_OK) {
        return failure(kv->number, status, "%s", text);
    }
    whole = moves_spread(items, count);
    if (whole == NULL) {
        return failure(kv->number, KV_ENOMEM, "out of memory for %zu values",
                       count);
    }
    result = assign(kv, kind, whole, count);
    mem_free(whole);
    return result;
}

static int assign_all(struct kvw *kv, enum op_kind kind,
                      const struct kvw_item *items, size_t count)
{
    struct arguments_survey survey = {0};
    int result = store_enter(kv, true);

    if (result != KVW_OK) {
        return result;
    }
    arguments_look(items, count, &survey);
    return survey.rows ? assign_rows(kv, kind, items, count)
                       : assign(kv, kind, items, count);
}

int kvw_init(struct kvw *kv, const struct kvw_item *items, size_t count)
{
    return assign_all(kv, OP_INIT, items, count);
}

int kvw_reset(struct kvw *kv, const struct kvw_item *items, size_t count)
{
    return assign_all(kv, OP_RESET, items, count);
}

int kvw_push(struct kvw *kv, const struct kvw_item *items, size_t count,
             const struct kvw_call *call, struct kvw_op **op)
{
    return transfer(kv, items, NULL, count, call, op);
}

int kvw_pull(struct kvw *kv, const struct kvw_item *items, size_t count,
             const struct kvw_call *call, struct kvw_op **op)
{
    return transfer(kv, NULL, items, count, call, op);
}

int kvw_pushpull(struct kvw *kv, const struct kvw_item *items,
                 const struct kvw_item *outs, size_t count,
                 const struct kvw_call *call, struct kvw_op **op)
{
    if (items == NULL) {
        return missing_items(kv);
    }
    return transfer(kv, items, outs == NULL ? items : outs, count, call, op);
}

static int check_outs(const struct kvw *kv, const struct kvw_item *items,
                      const struct kvw_item *outs, size_t count)
{
    char text[ARGUMENTS_TEXT_MAX];
    enum kv_status status = arguments_outs(items, outs, count, text);

    return status == KV_OK ? KVW_OK : failure(kv->number, status, "%s", text);
}

int kvw_broadcast(struct kvw *kv, const struct kvw_item *items,
                  const struct kvw_item *outs, size_t count)
{
    struct kvw_op *op = NULL;
    int result = outs == NULL ? KVW_OK : check_outs(kv, items, outs, count);

    if (result == KVW_OK) {
        result = kvw_init(kv, items, count);
    }
    if (result == KVW_OK) {
        result = kvw_pull(kv, outs == NULL ? items : outs, count, NULL, &op);
    }
    return result == KVW_OK ? kvw_wait(kv, op, KVW_FOREVER) : result;
}

/* --- Waiting -------------------------------------------------------------- */

int kvw_wait(struct kvw *kv, struct kvw_op *op, int64_t timeout_ms)
{
    int result = store_enter(kv, true);

    if (result != KVW_OK) {
        return result;
    }
    if (op == NULL) {
        return failure(kv->number, KV_EINVAL, "an operation is needed");
    }
    return store_wait(kv, op, timeout_ms);
}

void kvw_forget(struct kvw *kv, struct kvw_op *op)
{
    if (op != NULL && store_enter(kv, false) == KVW_OK) {
        op_forget(&kv->pool, op);
    }
}

static int wait_all(struct kvw *kv, const struct key_spec *spec,
                    int64_t timeout_ms)
{
    char text[OP_TEXT_MAX] = "";
    uint64_t number = 0;
    enum kv_status status =
        op_wait_all(&kv->pool, spec, timeout_ms, &number, text, sizeof text);

    if (status == KV_ETIMEOUT && number != 0) {
        return store_late(kv, kv->number, number, timeout_ms);
    }
    return status == KV_OK ? KVW_OK : failure(kv->number, status, "%s", text);
}

int kvw_wait_key(struct kvw *kv, struct kvw_key key, int64_t timeout_ms)
{
    char text[ARGUMENTS_TEXT_MAX];
    struct key_spec spec;
    enum kv_status status;
    int result = store_enter(kv, true);

    if (result != KVW_OK) {
        return result;
    }
    status = arguments_key(&key, &spec, text);
    if (status != KV_OK) {
        return failure(kv->number, status, "%s", text);
    }
    return wait_all(kv, &spec, timeout_ms);
}

int kvw_wait_all(struct kvw *kv, int64_t timeout_ms)
{
    int result = store_enter(kv, true);

    return result == KVW_OK ? wait_all(kv, NULL, timeout_ms) : result;
}

int kvw_barrier(struct kvw *kv, int64_t timeout_ms)
{
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result != KVW_OK) {
        return result;
    }
    op = op_kept(&kv->pool);
    if (op == NULL) {
        result = store_take(kv, OP_BARRIER, &op);
        if (result != KVW_OK) {
            return result;
        }
        store_start(kv, op, true);
    }
    result = store_wait(kv, op, timeout_ms);
    if (result == KVW_ETIMEOUT) {
        op_keep(&kv->pool, op);
    }
    return result;
}

/* --- Members of rounds ---------------------------------------------------- */

static int set_member(struct kvw *kv, bool in)
{
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result == KVW_OK) {
        result = store_take(kv, OP_MEMBER, &op);
    }
    if (result != KVW_OK) {
        return result;
    }
    op->in = in;
    return store_run(kv, op);
}

int kvw_leave(struct kvw *kv)
{
    return set_member(kv, false);
}

int kvw_join(struct kvw *kv)
{
    return set_member(kv, true);
}

/* --- Optimizer and compression -------------------------------------------- */

int kvw_set_optimizer(struct kvw *kv, const char *name, const char *params)
{
    char text[KV_OPTIM_ERROR_MAX];
    struct kv_optim_spec spec;
    struct kvw_op *op;
    enum kv_status status;
    int result = store_enter(kv, true);

    if (result != KVW_OK) {
        return result;
    }
    if (name == NULL) {
        return failure(kv->number, KV_EINVAL, "the optimizer needs a name");
    }
    status = kv_optim_parse(name, params == NULL ? "" : params, &spec, text,
                            sizeof text);
    if (status != KV_OK) {
        return failure(kv->number, status, "%s", text);
    }
    result = store_take(kv, OP_OPTIMIZER, &op);
    if (result != KVW_OK) {
        return result;
    }
    op->optimizer = spec;
    return store_run(kv, op);
}

static int check_change(const struct kvw *kv, const struct kvw_hyper *c)
{
    char text[ARGUMENTS_TEXT_MAX];
    struct key_spec spec;
    enum kv_status status;

    if (c->name == NULL || c->name[0] == '\0' ||
        strlen(c->name) > KV_NAME_MAX) {
        return failure(kv->number, KV_EINVAL,
                       "a parameter's name has 1 to %d bytes", KV_NAME_MAX);
    }
    if (!isfinite(c->value)) {
        return failure(kv->number, KV_EINVAL, "%s: %f is not a finite number",
                       c->name, c->value);
    }
    if (c->key != NULL) {
        status = arguments_key(c->key, &spec, text);
        if (status != KV_OK) {
            return failure(kv->number, status, "%s", text);
        }
    }
    return KVW_OK;
}

int kvw_set_hypers(struct kvw *kv, const struct kvw_hyper *changes,
                   size_t count)
{
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result == KVW_OK && changes == NULL && count > 0) {
        return failure(kv->number, KV_EINVAL, "changes are needed");
    }
    for (size_t i = 0; i < count && result == KVW_OK; i++) {
        result = check_change(kv, &changes[i]);
    }
    if (result == KVW_OK) {
        result = store_take(kv, OP_HYPER, &op);
    }
    if (result != KVW_OK) {
        return result;
    }
    op->changes = changes;
    op->change_count = count;
    return store_run(kv, op);
}

int kvw_set_hyper(struct kvw *kv, const struct kvw_key *key, const char *name,
                  double value, uint64_t round)
{
    const struct kvw_hyper change = {key, name, value, round};

    return kvw_set_hypers(kv, &change, 1);
}

int kvw_set_updater(struct kvw *kv, kvw_updater_fn fn, void *arg)
{
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result == KVW_OK) {
        result = store_take(kv, OP_UPDATER, &op);
    }
    if (result != KVW_OK) {
        return result;
    }
    op->updater = fn;
    op->arg = arg;
    return store_run(kv, op);
}

static int find_codec(const struct kvw *kv, const char *params,
                      const struct kv_codec **out)
{
    struct settings_error wrong;
    struct settings_pairs pairs;
    const char *type = NULL, *other = NULL;
    char names[128];

    if (settings_pairs(params, &pairs, &wrong) != KV_OK) {
        return failure(kv->number, KV_EINVAL, "compression: %s", wrong.text);
    }
    for (size_t i = 0; i < pairs.count; i++) {
        bool is_type = strcmp(pairs.pair[i].name, "type") == 0;

        *(is_type ? &type : &other) =
            is_type ? pairs.pair[i].value : pairs.pair[i].name;
    }
    *out = type != NULL ? kv_codec_find(type) : NULL;
    if (*out == NULL) {
        kv_codec_names(names, sizeof names);
        return failure(kv->number, KV_EINVAL,
                       "compression '%.64s' has no type that is known: "
                       "type=NAME, of %s",
                       params, names);
    }
    if (other != NULL) {
        return failure(kv->number, KV_EINVAL,
                       "compression of type %s has no parameter '%s'", type,
                       other);
    }
    return KVW_OK;
}

int kvw_set_gradient_compression(struct kvw *kv, const char *params)
{
    const struct kv_codec *codec = NULL;
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result == KVW_OK) {
        result = find_codec(kv, params == NULL ? "" : params, &codec);
    }
    if (result == KVW_OK) {
        result = store_take(kv, OP_CODEC, &op);
    }
    if (result != KVW_OK) {
        return result;
    }
    op->codec = codec;
    return store_run(kv, op);
}

/* --- Figures -------------------------------------------------------------- */

int kvw_get_stats(struct kvw *kv, struct kvw_stats *stats, size_t size)
{
    struct kvw_stats all;
    struct kvw_op *op;
    int result = store_enter(kv, true);

    if (result == KVW_OK) {
        result = store_take(kv, OP_STATS, &op);
    }
    if (result != KVW_OK) {
        return result;
    }
    op->stats = &all;
    result = store_run(kv, op);
    if (result == KVW_OK) {
        memcpy(stats, &all, size < sizeof all ? size : sizeof all);
    }
    return result;
}
