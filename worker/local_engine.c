#include "worker/local_engine.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "worker/lane.h"
#include "worker/local_hyper.h"
#include "worker/local_keys.h"
#include "worker/lookup.h"

#define THREADS_DEFAULT_MAX 4

/* Bytes pushed and pulled before the next look at the mail, which may have
 * something of higher priority. */
#define TURN_BYTES ((size_t)1 << 20)

struct local {
    struct lane lane; /* Its running ops are the queue. */
    struct lane_job job;
    struct team *team;
    struct local_keys keys;
    struct local_rule rule;
    uint64_t pushes, pulls, skipped;
    struct log_limit skip_lines;
};

static struct local *local_of(struct lane *lane)
{
    return LIST_ENTRY(lane, struct local, lane);
}

/* --- The rule ------------------------------------------------------------- */

static void set_hyper(struct local *l, struct kvw_op *op,
                      const struct kvw_hyper *change)
{
    struct key_spec spec = {.name = NULL};
    char text[KV_OPTIM_ERROR_MAX], name[KEYS_TEXT_MAX] = "all keys";
    const struct key *key = NULL;
    enum kv_status status;

    if (change->key != NULL) {
        spec.name = change->key->name;
        spec.number = change->key->number;
        key = keys_find(&l->keys.table, &spec);
        keys_text(&spec, name);
    }
    if (change->key != NULL && key == NULL) {
        op_fail(op, KV_ENOTFOUND, "%s is not registered with kvw_init()", name);
        return;
    }
    status = local_hyper(&l->rule, &l->keys.roll, key, change, text);
    if (status != KV_OK) {
        op_fail(op, status, "%s: %s", name, text);
    }
}

/* --- The queue ------------------------------------------------------------ */

/* All or none: no value changes before all keys of the call can. */
static bool ready(struct local *l, struct kvw_op *op)
{
    for (size_t i = 0; op->pushes != NULL && i < op->item_count; i++) {
        struct local_change c = local_change_item(&op->pushes[i]);

        if (!local_value_ready(&l->rule, op, &c)) {
            return false;
        }
    }
    for (size_t i = 0; i < op->move_count; i++) {
        struct local_change c = local_change_move(&op->moves[i]);

        if (!op->moves[i].pull && !local_value_ready(&l->rule, op, &c)) {
            return false;
        }
    }
    return true;
}

static void tell_skip(struct local *l, struct kvw_op *op, const struct key *key)
{
    char name[KEYS_TEXT_MAX];

    keys_text(&key->spec, name);
    l->skipped++;
    if (l->rule.spec.nonfinite == (double)KV_NONFINITE_ERROR) {
        op_fail(op, KV_ENONFINITE,
                "%s round %" PRIu64 " changes nothing: what was pushed is not "
                "finite",
                name, key->value->version);
    } else if (log_allow(&l->skip_lines, uv_now(&l->lane.loop))) {
        log_warn("%s round %" PRIu64 " changes nothing: what was pushed is not "
                 "finite (nonfinite=skip)",
                 name, key->value->version);
    }
}

static size_t push(struct local *l, struct kvw_op *op, struct local_change c)
{
    if (!local_value_push(l->team, &l->rule, &c)) {
        tell_skip(l, op, c.key);
    }
    l->pushes++;
    return local_value_bytes(&c);
}

static size_t pull(struct local *l, struct local_change c)
{
    local_value_pull(l->team, &c);
    l->pulls++;
    return local_value_bytes(&c);
}

static size_t do_item(struct local *l, struct kvw_op *op, size_t index)
{
    size_t bytes = 0;

    if (op->pushes != NULL) {
        bytes += push(l, op, local_change_item(&op->pushes[index]));
    }
    if (op->pulls != NULL) {
        bytes += pull(l, local_change_item(&op->pulls[index]));
    }
    return bytes;
}

static size_t do_move(struct local *l, struct kvw_op *op, const struct move *m)
{
    struct local_change c = local_change_move(m);

    return m->pull ? pull(l, c) : push(l, op, c);
}

static size_t step_count(const struct kvw_op *op)
{
    return op->kind == OP_MOVES ? op->move_count : op->item_count;
}

/* One item or move; the bytes of it. */
static size_t transfer(struct local *l, struct kvw_op *op)
{
    size_t index = step_count(op) - op->left, bytes;

    if (index == 0 && !ready(l, op)) {
        lane_done(&l->lane, op);
        return 0;
    }
    bytes = op->kind == OP_MOVES ? do_move(l, op, &op->moves[index])
                                 : do_item(l, op, index);
    if (--op->left == 0) {
        lane_done(&l->lane, op);
    }
    return bytes;
}

static size_t do_some(struct local *l, struct kvw_op *op)
{
    switch (op->kind) {
    case OP_OPTIMIZER:
        local_rule_optimizer(&l->rule, &l->keys.roll, &op->optimizer);
        break;
    case OP_UPDATER:
        local_rule_updater(&l->rule, &l->keys.roll, op->updater, op->arg);
        break;
    case OP_HYPER:
        for (size_t i = 0; i < op->change_count && op->status == KV_OK; i++) {
            set_hyper(l, op, &op->changes[i]);
        }
        break;
    case OP_DELETE:
        local_keys_free(&l->keys, op);
        break;
    case OP_RESET:
        local_keys_reset(op);
        break;
    default:
        return transfer(l, op);
    }
    lane_done(&l->lane, op);
    return 0;
}

static bool work(struct lane *lane)
{
    struct local *l = local_of(lane);
    size_t bytes = 0;

    while (!list_empty(&lane->running) && bytes < TURN_BYTES) {
        bytes += do_some(
            l, LIST_ENTRY(list_first(&lane->running), struct kvw_op, on_lane));
    }
    return !list_empty(&lane->running);
}

/* The keys of `op` are marked with its number. */
static bool may_pass(const struct kvw_op *op, const struct kvw_op *before)
{
    const struct op_item *items =
        before->pushes != NULL ? before->pushes : before->pulls;

    if ((before->kind != OP_TRANSFER && before->kind != OP_MOVES) ||
        before->priority >= op->priority) {
        return false;
    }
    for (size_t i = 0; i < before->item_count; i++) {
        if (items[i].key->named_by == op->number) {
            return false;
        }
    }
    for (size_t i = 0; i < before->move_count; i++) {
        if (before->moves[i].key->named_by == op->number) {
            return false;
        }
    }
    return true;
}

static bool look_up(const struct local *l, struct kvw_op *op)
{
    const struct keys *keys = &l->keys.table;

    return op->kind == OP_MOVES ? lookup_moves(keys, l->job.rank, op)
                                : lookup_items(keys, l->job.rank, op);
}

/* It is the last one; forward to where its priority says. Nothing is left of a
 * call whose row_sparse tensors are all ignored. */
static void enqueue(struct local *l, struct kvw_op *op)
{
    struct list_link *at = &op->on_lane;

    op->left = step_count(op);
    if (!look_up(l, op) || op->left == 0) {
        lane_done(&l->lane, op);
        return;
    }
    while (at->prev != &l->lane.running.head &&
           may_pass(op, LIST_ENTRY(at->prev, struct kvw_op, on_lane))) {
        at = at->prev;
    }
    if (at != &op->on_lane) {
        list_unlink(&op->on_lane);
        list_insert_before(at, &op->on_lane);
    }
}

static void describe(const struct local *l, struct kvw_op *op)
{
    size_t before = 0;

    LIST_EACH(&l->lane.running, link, after)
    {
        if (LIST_ENTRY(link, struct kvw_op, on_lane)->number == op->about) {
            break;
        }
        before++;
    }
    snprintf(op->text, sizeof op->text, "%zu operations come before it",
             before);
}

static void begin(struct lane *lane, struct kvw_op *op)
{
    struct local *l = local_of(lane);

    switch (op->kind) {
    case OP_TRANSFER:
    case OP_MOVES:
        enqueue(l, op);
        return;
    case OP_OPTIMIZER:
    case OP_HYPER:
    case OP_UPDATER:
        return; /* In line. */
    case OP_RESET:
        if (look_up(l, op)) {
            return; /* In line. */
        }
        break;
    case OP_DELETE:
        if (local_keys_take(&l->keys, op)) {
            return; /* In line. */
        }
        break;
    case OP_INIT:
        local_keys_add(&l->keys, op);
        break;
    case OP_LIST:
        local_keys_list(&l->keys, op->page);
        break;
    case OP_VERSION:
        local_keys_version(&l->keys, op);
        break;
    case OP_CODEC:
        op_fail(op, KV_ENOTSUP,
                "gradient compression is not supported by local stores: "
                "nothing travels");
        break;
    case OP_STATS:
        *op->stats = (struct kvw_stats){
            .pushes = l->pushes, .pulls = l->pulls, .skipped = l->skipped};
        break;
    case OP_DESCRIBE:
        describe(l, op);
        break;
    case OP_OPEN:
    case OP_BARRIER:
    case OP_MEMBER:
    case OP_DEAD:
    case OP_LEAVE:
        break; /* One worker is all of them. */
    }
    lane_done(lane, op);
}

/* --- Start and end -------------------------------------------------------- */

static void free_local(struct lane *lane)
{
    struct local *l = local_of(lane);

    local_keys_fini(&l->keys);
    mem_free(l->rule.sum);
    mem_free(l->rule.room);
    team_free(l->team);
    mem_free(l);
}

static const struct lane_duties duties = {begin, work, lane_end, free_local,
                                          .scattered = false};

static unsigned thread_count(const struct options *options)
{
    unsigned processors = team_processors();

    if (options->threads != 0) {
        return (unsigned)options->threads;
    }
    return processors < THREADS_DEFAULT_MAX ? processors : THREADS_DEFAULT_MAX;
}

/* Each of them trains, and all believe that it is together. */
static void warn_of_others(const struct options *options)
{
    if (options->workers != OPTIONS_NONE && options->workers > 1) {
        log_warn("a local store is this process's own: the %" PRIu64
                 " workers of this job (KV_WORKERS) do not share it; "
                 "dist_sync and the like do",
                 options->workers);
    }
}

enum kv_status local_engine_open(struct lane **out, const struct kind *kind,
                                 const struct options *options,
                                 struct op_pool *pool)
{
    struct local *l = mem_zalloc(1, sizeof *l);
    enum kv_status status;

    (void)kind;
    if (l == NULL) {
        return KV_ENOMEM;
    }
    l->skip_lines =
        (struct log_limit){"rounds that changed nothing", 3, 5000, 0, 0, 0};
    l->job.workers = 1;
    local_keys_init(&l->keys);
    status = team_new(&l->team, thread_count(options));
    if (status == KV_OK) {
        status = lane_init(&l->lane, &duties, options, &l->job, pool);
    }
    if (status != KV_OK) {
        free_local(&l->lane);
        return status;
    }
    status = lane_start(&l->lane);
    if (status != KV_OK) {
        lane_drop(&l->lane);
        free_local(&l->lane);
        return status;
    }
    warn_of_others(options);
    *out = &l->lane;
    return KV_OK;
}
