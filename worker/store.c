#include "worker/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/legacy_env.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "worker/failure.h"

#define CLOSE_MS 10000   /* For pushes to be committed. */
#define LEAVE_MS 2000    /* For the shards, and for the root, to be told. */
#define DEAD_MS 5000     /* For the root to say who is dead. */
#define NODE_ROOT 1      /* MXNet's scheduler. */
#define DESCRIBE_MS 1000 /* For the lane to say what it waits for. */

/* The public numbers are ours, without a header between them. */
#define SAME(name)                                                             \
    _Static_assert((int)KVW_##name == (int)KV_##name, "numbers differ")
SAME(OK);
SAME(ENOMEM);
SAME(EINVAL);
SAME(EPROTO);
SAME(ETOOBIG);
SAME(ECONN);
SAME(ETIMEOUT);
SAME(ECANCELED);
SAME(ENOTFOUND);
SAME(EDEVICE);
SAME(EEXIST);
SAME(EMISMATCH);
SAME(EAUTH);
SAME(ESTALE);
SAME(ENOSPC);
SAME(EAGAIN);
SAME(EDATALOSS);
SAME(ENOTSUP);
SAME(EBUSY);
SAME(ENONFINITE);
SAME(F32);
SAME(F64);
SAME(F16);
SAME(U8);
SAME(I32);
SAME(I8);
SAME(I64);
SAME(BF16);
SAME(DIMS_MAX);

/* --- What every call begins and ends with --------------------------------- */

int store_enter(const struct kvw *kv, bool waits)
{
    if (getpid() != kv->pid) {
        return failure(kv->number, KV_EINVAL,
                       "this store belongs to process %ld; after fork() the "
                       "child opens its own",
                       (long)kv->pid);
    }
    if (waits && lane_here(kv->lane)) {
        return failure(kv->number, KV_EBUSY, "a callback may not wait");
    }
    if (atomic_load(&kv->closing)) {
        return failure(kv->number, KV_ECANCELED, "the store is being closed");
    }
    return KVW_OK;
}

int store_take(struct kvw *kv, enum op_kind kind, struct kvw_op **op)
{
    enum kv_status status = op_take(&kv->pool, kind, !lane_here(kv->lane), op);

    if (status == KV_EBUSY) {
        return failure(kv->number, status,
                       "%d operations are in flight already", OP_IN_FLIGHT_MAX);
    }
    if (status != KV_OK) {
        return failure(kv->number, status, "out of memory for an operation");
    }
    return KVW_OK;
}

void store_start(struct kvw *kv, struct kvw_op *op, bool handle)
{
    op_start(&kv->pool, op, handle);
    lane_submit(kv->lane, op);
}

/* What is the operation of this number waiting for? */
static void describe(struct kvw *kv, uint64_t number, char *text, size_t size)
{
    struct kvw_op *op;
    enum kv_status status;

    snprintf(text, size, "the library's thread is busy");
    if (op_take(&kv->pool, OP_DESCRIBE, false, &op) != KV_OK) {
        return;
    }
    op->about = number;
    store_start(kv, op, true);
    status = op_wait(&kv->pool, op, DESCRIBE_MS, text, size);
    if (status == KV_ETIMEOUT) {
        op_forget(&kv->pool, op);
    }
}

int store_late(struct kvw *kv, uint64_t of, uint64_t number, int64_t timeout_ms)
{
    char text[OP_TEXT_MAX - 64];

    if (timeout_ms == 0) { /* Somebody polls: make it cheap. */
        return failure(of, KV_ETIMEOUT, "not done yet");
    }
    describe(kv, number, text, sizeof text);
    return failure(of, KV_ETIMEOUT, "not done within %.3f s: %s",
                   (double)timeout_ms / 1000, text);
}

/* The handle stays after KVW_ETIMEOUT. */
int store_wait(struct kvw *kv, struct kvw_op *op, int64_t timeout_ms)
{
    char text[OP_TEXT_MAX] = "";
    enum kv_status status =
        op_wait(&kv->pool, op, timeout_ms, text, sizeof text);

    if (status == KV_ETIMEOUT) {
        return store_late(kv, kv->number, op->number, timeout_ms);
    }
    return status == KV_OK ? KVW_OK : failure(kv->number, status, "%s", text);
}

int store_run(struct kvw *kv, struct kvw_op *op)
{
    store_start(kv, op, true);
    return store_wait(kv, op, KVW_FOREVER);
}

/* --- Store ---------------------------------------------------------------- */

const char *kvw_strstatus(int status)
{
    return kv_strstatus((enum kv_status)status);
}

const char *kvw_error(const struct kvw *kv)
{
    return failure_text(kv == NULL ? FAILURE_OPEN : kv->number);
}

/* Lines of all stores of a process carry the name of the first: there is one
 * stderr. */
static void open_log(const struct options *o)
{
    static atomic_flag named = ATOMIC_FLAG_INIT;
    char who[32] = "worker";

    if (atomic_flag_test_and_set(&named)) {
        log_set_level((enum log_level)o->log_level);
        return;
    }
    if (o->rank != OPTIONS_NONE) {
        snprintf(who, sizeof who, "rank %" PRIu64, o->rank);
    }
    log_open(who, (enum log_level)o->log_level);
}

static void free_store(struct kvw *kv)
{
    if (kv->lane != NULL) {
        lane_close(kv->lane);
    }
    op_pool_fini(&kv->pool);
    mem_free(kv);
}

static int join(struct kvw *kv)
{
    int64_t timeout_ms = (int64_t)(kv->options.timeout_s * 1000);
    char text[OP_TEXT_MAX] = "";
    struct kvw_op *op;
    enum kv_status status;
    uint64_t number;

    if (op_take(&kv->pool, OP_OPEN, true, &op) != KV_OK) {
        return failure(FAILURE_OPEN, KV_ENOMEM, "out of memory");
    }
    store_start(kv, op, true);
    number = op->number;
    status = op_wait(&kv->pool, op, timeout_ms, text, sizeof text);
    if (status != KV_ETIMEOUT) {
        return status == KV_OK ? KVW_OK
                               : failure(FAILURE_OPEN, status, "%s", text);
    }
    (void)store_late(kv, FAILURE_OPEN, number,
                     timeout_ms == 0 ? 1 : timeout_ms);
    op_forget(&kv->pool, op);
    return KVW_ETIMEOUT;
}

static int make(struct kvw **out, const struct kind *kind, const char *type,
                const struct options *o)
{
    static atomic_uint_fast64_t stores;
    struct kvw *kv = mem_zalloc(1, sizeof *kv);
    enum kv_status status;

    if (kv == NULL) {
        return failure(FAILURE_OPEN, KV_ENOMEM, "out of memory");
    }
    kv->number = atomic_fetch_add(&stores, 1) + 1;
    kv->pid = getpid();
    kv->options = *o;
    op_pool_init(&kv->pool, OP_IN_FLIGHT_MAX);
    snprintf(kv->type, sizeof kv->type, "%s", type);
    status = kind->open(&kv->lane, kind, &kv->options, &kv->pool);
    if (status != KV_OK) {
        free_store(kv);
        return failure(FAILURE_OPEN, status, "cannot start a thread: %s",
                       kv_strstatus(status));
    }
    *out = kv;
    return KVW_OK;
}

static int settle(struct kvw *kv)
{
    int status = join(kv);

    if (status == KVW_OK && kv->options.compression[0] != '\0') {
        status = kvw_set_gradient_compression(kv, kv->options.compression);
        if (status != KVW_OK) {
            failure(FAILURE_OPEN, (enum kv_status)status, "%s", kvw_error(kv));
        }
    }
    return status;
}

int kvw_open(struct kvw **kv, const char *kind, const char *options)
{
    const struct kind *found;
    struct options o;
    struct kvw *made = NULL;
    char text[OP_TEXT_MAX], type[KIND_NAME_MAX + 1];
    enum kv_status status;
    int result;

    if (kv == NULL || kind == NULL) {
        return failure(FAILURE_OPEN, KV_EINVAL,
                       "a store and a kind are needed");
    }
    kind_spell(kind, type);
    status = kind_find(type, &found, text, sizeof text);
    if (status == KV_OK) {
        status = options_read(&o, options, text, sizeof text);
    }
    if (status != KV_OK) {
        return failure(FAILURE_OPEN, status, "%s", text);
    }
    open_log(&o);
    legacy_env_warn(LEGACY_WORKER);
    settings_warn_slips(options_table, OPTIONS_PREFIX);
    result = make(&made, found, type, &o);
    if (result != KVW_OK) {
        return result;
    }
    result = settle(made);
    if (result != KVW_OK) {
        free_store(made);
        return result;
    }
    *kv = made;
    return KVW_OK;
}

/* True when they are. */
static bool wait_for_pushes(struct kvw *kv)
{
    uint64_t number = op_wait_transfers(&kv->pool, CLOSE_MS);
    char text[OP_TEXT_MAX];

    if (number != 0) {
        describe(kv, number, text, sizeof text);
        log_warn("closing with operations that are not done: %s", text);
    }
    return number == 0;
}

/* Others may need more time than one who has nothing left to do. */
static void wait_for_others(struct kvw *kv)
{
    int64_t timeout_ms = (int64_t)(kv->options.timeout_s * 1000);

    if (atomic_load(&kv->barrier_before_exit) &&
        kvw_barrier(kv, timeout_ms) != KVW_OK) {
        log_warn("closing without the others: %s", kvw_error(kv));
    }
}

/* Shards or the root. Who cannot be told in time finds out by waiting. */
static void tell(struct kvw *kv, enum op_kind kind)
{
    char text[OP_TEXT_MAX];
    struct kvw_op *op;

    if (op_take(&kv->pool, kind, false, &op) != KV_OK) {
        return;
    }
    op->in = false;
    store_start(kv, op, true);
    if (op_wait(&kv->pool, op, LEAVE_MS, text, sizeof text) == KV_ETIMEOUT) {
        op_forget(&kv->pool, op);
    }
}

void kvw_close(struct kvw *kv)
{
    bool settled;

    if (kv == NULL || getpid() != kv->pid) {
        return;
    }
    if (lane_here(kv->lane)) {
        log_error("kvw_close() was called from a callback, and does nothing");
        return;
    }
    settled = wait_for_pushes(kv);
    wait_for_others(kv);
    if (settled) {
        tell(kv, OP_MEMBER);
    }
    tell(kv, OP_LEAVE);
    /* Callbacks that run now start nothing. */
    atomic_store(&kv->closing, true);
    free_store(kv);
}

const char *kvw_type(const struct kvw *kv)
{
    return kv->type;
}

int kvw_rank(const struct kvw *kv)
{
    return (int)kv->lane->job->rank;
}

int kvw_num_workers(const struct kvw *kv)
{
    return (int)kv->lane->job->workers;
}

int kvw_num_servers(const struct kvw *kv)
{
    return (int)kv->lane->job->servers;
}

int kvw_is_capable(const struct kvw *kv, const char *capability)
{
    if (capability != NULL && strcasecmp(capability, "optimizer") == 0) {
        return 1;
    }
    return failure(kv->number, KV_EINVAL,
                   "unknown capability '%.64s'; known: optimizer",
                   capability == NULL ? "" : capability);
}

/* The root, or why it does not say. */
static int ask_dead(struct kvw *kv, int node_id, int timeout_s)
{
    char text[OP_TEXT_MAX] = "";
    struct kvw_op *op;
    enum kv_status status;
    uint64_t number;
    int result = store_take(kv, OP_DEAD, &op);

    if (result != KVW_OK) {
        return result;
    }
    op->node = (uint32_t)node_id;
    op->seconds = (uint32_t)timeout_s;
    store_start(kv, op, true);
    number = op->number;
    status = op_wait(&kv->pool, op, DEAD_MS, text, sizeof text);
    if (status == KV_ETIMEOUT) {
        result = store_late(kv, kv->number, number, DEAD_MS);
        op_forget(&kv->pool, op);
        return result;
    }
    return status == KV_OK ? (int)strtol(text, NULL, 10)
                           : failure(kv->number, status, "%s", text);
}

int kvw_num_dead_node(struct kvw *kv, int node_id, int timeout_s)
{
    int result = store_enter(kv, true);

    if (result != KVW_OK) {
        return result;
    }
    if (node_id < 1 || node_id >= KV_NODE_MAX || timeout_s < 0) {
        return failure(kv->number, KV_EINVAL,
                       "node %d, %d s: a node is 1 to 7 or 8 + 2 * its number, "
                       "9 + 2 * its number, and time does not go back",
                       node_id, timeout_s);
    }
    if (kv->lane->job->servers == 0 || timeout_s == 0) {
        return 0;
    }
    result = ask_dead(kv, node_id, timeout_s);
    return result == KVW_ETIMEOUT && node_id == NODE_ROOT ? 1 : result;
}

int kvw_set_barrier_before_exit(struct kvw *kv, int barrier)
{
    int result = store_enter(kv, false);

    if (result == KVW_OK) {
        atomic_store(&kv->barrier_before_exit, barrier != 0);
    }
    return result;
}
