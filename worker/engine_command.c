#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "worker/engine_core.h"

/* --- Barriers: one at a time ---------------------------------------------- */

static void ask_barrier(struct engine *e);

static void on_barrier(struct request *q, enum kv_status status,
                       const char *text, const struct message *reply,
                       const void *payload, size_t payload_size)
{
    struct engine *e = q->owner;
    struct kvw_op *op =
        LIST_ENTRY(list_first(&e->barriers), struct kvw_op, on_lane);

    (void)reply;
    (void)payload;
    (void)payload_size;
    if (status == KV_OK) {
        e->barrier++;
    } else {
        op_fail(op, status, "barrier %" PRIu64 " of rank %" PRIu32 ": %s",
                e->barrier + 1, e->job.rank, text);
    }
    engine_done(e, op);
    if (!list_empty(&e->barriers) && !e->lane.stopping) {
        ask_barrier(e);
    }
}

static void on_barrier_waiting(struct request *q, const struct message *m)
{
    struct engine *e = q->owner;
    char name[48];

    snprintf(name, sizeof name, "barrier %" PRIu64, e->barrier + 1);
    engine_note(e, e->barrier_note, name, m);
}

static void ask_barrier(struct engine *e)
{
    struct request *q = &e->barrier_request;

    memset(q, 0, sizeof *q);
    e->barrier_note[0] = '\0';
    q->message.kind = MESSAGE_BARRIER;
    q->message.barrier.generation = e->barrier + 1;
    q->done = on_barrier;
    q->waiting = on_barrier_waiting;
    q->owner = e;
    route_request(&e->control, q);
}

void engine_barrier(struct engine *e, struct kvw_op *op)
{
    bool first = list_empty(&e->barriers);

    list_unlink(&op->on_lane);
    list_push(&e->barriers, &op->on_lane);
    if (first) {
        ask_barrier(e);
    }
}

/* --- Optimizer, members: the same to every shard -------------------------- */

/* An optimizer goes out twice: it is set once every shard has said that it can
 * be, so that one that refuses leaves all as they were. */
struct command {
    struct engine *engine;
    struct kvw_op *op;
    char params[KV_PARAMS_TEXT_MAX + 1];
    bool check; /* This is the first time. */
    uint32_t left;
    struct request requests[]; /* By route. */
};

static void send_command(struct command *c);

static void commanded(struct engine *e, struct kvw_op *op)
{
    if (op->kind == OP_MEMBER) {
        engine_member_over(e, op);
    }
    engine_done(e, op);
}

static void all_have_answered(struct command *c)
{
    if (c->check && c->op->status == KV_OK) {
        c->check = false;
        send_command(c);
        return;
    }
    commanded(c->engine, c->op);
    mem_free(c);
}

static void on_commanded(struct request *q, enum kv_status status,
                         const char *text, const struct message *reply,
                         const void *payload, size_t payload_size)
{
    struct command *c = q->owner;
    const struct route *r = &c->engine->routes[q - c->requests];
    char name[ROUTE_NAME_MAX];

    (void)reply;
    (void)payload;
    (void)payload_size;
    if (status != KV_OK) {
        op_fail(c->op, status, "rank %" PRIu32 ": %s says: %s",
                c->engine->job.rank, route_name(r, name), text);
    }
    if (--c->left == 0) {
        all_have_answered(c);
    }
}

static void fill_message(const struct command *c, struct message *m)
{
    const struct kvw_op *op = c->op;

    if (op->kind == OP_MEMBER) {
        m->kind = MESSAGE_MEMBER;
        m->member.in = op->in;
        return;
    }
    m->kind = MESSAGE_OPTIMIZER;
    m->optimizer.name = c->op->optimizer.optim->name;
    m->optimizer.params = c->params;
    m->optimizer.check = c->check;
}

/* The last one to be answered at once frees `c`. */
static void send_command(struct command *c)
{
    struct engine *e = c->engine;
    uint32_t count = e->route_count;

    c->left = count;
    for (uint32_t i = 0; i < count; i++) {
        struct request *q = &c->requests[i];

        *q = (struct request){.done = on_commanded, .owner = c};
        fill_message(c, &q->message);
    }
    for (uint32_t i = 0; i < count; i++) {
        route_request(&e->routes[i], &c->requests[i]);
    }
}

static void command(struct engine *e, struct kvw_op *op)
{
    struct command *c =
        mem_zalloc(1, sizeof *c + e->route_count * sizeof c->requests[0]);

    if (c == NULL) {
        op_fail(op, KV_ENOMEM, "out of memory for %" PRIu32 " requests",
                e->route_count);
        commanded(e, op);
        return;
    }
    c->engine = e;
    c->op = op;
    c->check = op->kind == OP_OPTIMIZER;
    if (op->kind == OP_OPTIMIZER) {
        kv_optim_format(&op->optimizer, c->params, sizeof c->params);
    }
    send_command(c);
}

/* --- Fences --------------------------------------------------------------- */

/* Who comes back gets to know where each slice stands: nothing that goes by
 * what was known before is under way then. */
bool engine_holds_up(const struct kvw_op *op, const struct kvw_op *fence)
{
    bool back = fence->kind == OP_MEMBER && fence->in;

    return op->turn < fence->turn &&
           (op_pushes(op) ||
            (back && (op->kind == OP_INIT || op->kind == OP_TRANSFER ||
                      op->kind == OP_MOVES)));
}

static bool waits_for_any(const struct engine *e, const struct kvw_op *fence)
{
    LIST_EACH(&e->lane.running, link, after)
    {
        if (engine_holds_up(LIST_ENTRY(link, struct kvw_op, on_lane), fence)) {
            return true;
        }
    }
    return false;
}

static void open_fence(struct engine *e, struct kvw_op *op)
{
    list_unlink(&op->on_lane);
    list_push(&e->lane.running, &op->on_lane);
    if (op->kind == OP_HYPER) {
        engine_hyper(e, op);
    } else {
        command(e, op);
    }
}

/* Who comes back waits for more than who leaves, and is not overtaken. */
void engine_check_fences(struct engine *e)
{
    bool member_waits = false;

    LIST_EACH(&e->fenced, link, after)
    {
        struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);
        bool member = op->kind == OP_MEMBER;

        if ((member && member_waits) || waits_for_any(e, op)) {
            member_waits |= member;
        } else {
            open_fence(e, op);
        }
    }
}

void engine_command(struct engine *e, struct kvw_op *op)
{
    list_unlink(&op->on_lane);
    list_push(&e->fenced, &op->on_lane);
    engine_check_fences(e);
}

/* --- At once -------------------------------------------------------------- */

void engine_codec(struct engine *e, struct kvw_op *op)
{
    for (uint32_t i = 0; i < e->route_count; i++) {
        courier_codec(e->routes[i].courier, op->codec);
    }
    engine_done(e, op);
}

void engine_stats(struct engine *e, struct kvw_op *op)
{
    struct kvw_stats s = {
        .pushes = e->pushes, .pulls = e->pulls, .skipped = e->skipped};

    route_bytes(&e->control, &s.bytes_received, &s.bytes_sent);
    s.resent = courier_resent(e->control.courier);
    s.reconnects = e->control.connections - 1;
    for (uint32_t i = 0; i < e->route_count; i++) {
        const struct route *r = &e->routes[i];

        route_bytes(r, &s.bytes_received, &s.bytes_sent);
        s.resent += courier_resent(r->courier);
        s.reconnects += r->connections - 1;
    }
    *op->stats = s;
    engine_done(e, op);
}

/* --- Who is dead ---------------------------------------------------------- */

struct inquiry {
    struct engine *engine;
    struct kvw_op *op;
    struct request request;
};

static void on_counted(struct request *q, enum kv_status status,
                       const char *text, const struct message *reply,
                       const void *payload, size_t payload_size)
{
    struct inquiry *i = q->owner;

    (void)payload;
    (void)payload_size;
    if (status == KV_OK && reply->kind != MESSAGE_DEAD_COUNT) {
        status = KV_EPROTO;
    }
    if (status != KV_OK) {
        op_fail(i->op, status, "%s", text);
    } else {
        snprintf(i->op->text, sizeof i->op->text, "%" PRIu32,
                 reply->dead_count.count);
    }
    engine_done(i->engine, i->op);
    mem_free(i);
}

void engine_dead(struct engine *e, struct kvw_op *op)
{
    struct inquiry *i = mem_zalloc(1, sizeof *i);

    if (i == NULL) {
        op_fail(op, KV_ENOMEM, "out of memory for a request");
        engine_done(e, op);
        return;
    }
    i->engine = e;
    i->op = op;
    i->request.message.kind = MESSAGE_DEAD;
    i->request.message.dead.node = op->node;
    i->request.message.dead.seconds = op->seconds;
    i->request.done = on_counted;
    i->request.owner = i;
    route_request(&e->control, &i->request);
}

/* --- Leaving -------------------------------------------------------------- */

static void on_left(struct request *q, enum kv_status status, const char *text,
                    const struct message *reply, const void *payload,
                    size_t payload_size)
{
    struct engine *e = q->owner;

    (void)reply;
    (void)payload;
    (void)payload_size;
    if (status != KV_OK) {
        op_fail(e->leaving, status, "%s", text);
    }
    engine_done(e, e->leaving);
}

void engine_leave(struct engine *e, struct kvw_op *op)
{
    struct request *q = &e->leave_request;

    memset(q, 0, sizeof *q);
    q->message.kind = MESSAGE_LEAVE;
    q->done = on_left;
    q->owner = e;
    e->leaving = op;
    route_request(&e->control, q);
}
