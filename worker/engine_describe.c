#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"
#include "worker/engine_core.h"

#define LINE_AGE_S 5 /* Younger is nothing that a log need tell. */

/* --- Stalls --------------------------------------------------------------- */

static void stall_text(const struct key *key, char *out, size_t size)
{
    const struct key_stall *s = &key->stall;
    char name[KEYS_TEXT_MAX], more[48] = "", left[48] = "";

    if (s->left > 0) {
        snprintf(left, sizeof left, "; %" PRIu32 " left before", s->left);
    }
    if (s->missing_count > 1) {
        snprintf(more, sizeof more, " and %" PRIu32 " more",
                 s->missing_count - 1);
    }
    snprintf(out, size,
             "%s round %" PRIu64 ": waiting for rank %" PRIu32 "%s%s%s",
             keys_text(&key->spec, name), message_rounds(s->round), s->rank,
             s->connected ? "" : " (not connected)", more, left);
}

/* Somebody who is not connected says more than somebody who is slow. */
void engine_stalled(struct route *r, const struct slice *slice,
                    const struct message *m)
{
    struct engine *e = r->data;
    struct key *key = slice->owner;
    uint32_t worst = 0;
    char text[OP_TEXT_MAX];

    if (m->stalled.listed == 0) {
        return;
    }
    while (worst < m->stalled.listed && m->stalled.connected[worst]) {
        worst++;
    }
    if (worst == m->stalled.listed) {
        worst = 0;
    }
    e->stalls += key->stall.round == 0 ? 1 : 0;
    key->stall.slice = slice;
    key->stall.round = m->stalled.round;
    key->stall.rank = m->stalled.missing[worst];
    key->stall.connected = m->stalled.connected[worst];
    key->stall.missing_count = m->stalled.missing_count;
    key->stall.left = m->stalled.left;
    stall_text(key, text, sizeof text);
    if (m->stalled.seconds >= LINE_AGE_S &&
        log_allow(&e->stall_lines, uv_now(&e->lane.loop))) {
        log_warn("%s, %" PRIu32 " s so far", text, m->stalled.seconds);
    }
}

void engine_note(struct engine *e, char note[OP_TEXT_MAX], const char *subject,
                 const struct message *m)
{
    snprintf(note, OP_TEXT_MAX, "%s: rank %" PRIu32 " waits for %s", subject,
             e->job.rank, m->waiting.what);
    if (m->waiting.seconds >= LINE_AGE_S &&
        log_allow(&e->stall_lines, uv_now(&e->lane.loop))) {
        log_warn("%s, %" PRIu32 " s so far", note, m->waiting.seconds);
    }
}

/* --- What is it waiting for? ---------------------------------------------- */

static struct kvw_op *find_in(const struct list *ops, uint64_t number)
{
    LIST_EACH(ops, link, after)
    {
        struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);

        if (op->number == number) {
            return op;
        }
    }
    return NULL;
}

static void transfer_text(struct engine *e, const struct kvw_op *op, char *out,
                          size_t size)
{
    char name[KEYS_TEXT_MAX], text[ROUTE_TEXT_MAX];
    struct engine_view v;

    if (!engine_look(e, op, &v)) {
        snprintf(out, size, "about to be done");
    } else if (!route_is_up(v.route)) {
        snprintf(out, size, "%s: %s", keys_text(&v.key->spec, name),
                 route_trouble(v.route, text));
    } else if (v.key->stall.round > 0) {
        stall_text(v.key, out, size);
    } else {
        snprintf(out, size, "%s: waiting for %s", keys_text(&v.key->spec, name),
                 route_name(v.route, text));
    }
}

static void open_text(struct engine *e, const struct kvw_op *op, char *out,
                      size_t size)
{
    char text[ROUTE_TEXT_MAX];

    if (e->control_open && !route_is_up(&e->control)) {
        snprintf(out, size, "%s", route_trouble(&e->control, text));
        return;
    }
    for (uint32_t i = 0; i < e->route_count; i++) {
        if (!route_is_up(&e->routes[i])) {
            snprintf(out, size, "%s", route_trouble(&e->routes[i], text));
            return;
        }
    }
    if (op->kind == OP_INIT && e->key_note[0] != '\0') {
        snprintf(out, size, "%s", e->key_note);
        return;
    }
    snprintf(out, size,
             op->kind != OP_INIT ? "about to be done"
             : e->job.rank == 0  ? "keys are being registered"
                                 : "keys are being registered, which takes "
                                   "rank 0's values");
}

static void running_text(struct engine *e, const struct kvw_op *op, char *out,
                         size_t size)
{
    if (op->kind == OP_TRANSFER || op->kind == OP_MOVES ||
        op->kind == OP_RESET) {
        transfer_text(e, op, out, size);
    } else {
        open_text(e, op, out, size);
    }
}

static void fenced_text(struct engine *e, const struct kvw_op *fence, char *out,
                        size_t size)
{
    bool back = fence->kind == OP_MEMBER && fence->in;
    const char *who = fence->kind != OP_MEMBER ? "the optimizer"
                      : back                   ? "joining"
                                               : "leaving";
    char text[OP_TEXT_MAX / 2] = "about to be done";

    LIST_EACH(&e->lane.running, link, after)
    {
        const struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);

        if (engine_holds_up(op, fence)) {
            running_text(e, op, text, sizeof text);
            break;
        }
    }
    snprintf(out, size, "%s waits for %s before it: %s", who,
             back ? "calls" : "pushes", text);
}

/* Which call brings the rank back? NULL: the servers hear of it now. */
static const struct kvw_op *find_back(const struct engine *e)
{
    LIST_EACH(&e->fenced, link, after)
    {
        const struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);

        if (op->kind == OP_MEMBER && op->in) {
            return op;
        }
    }
    return NULL;
}

static void held_text(struct engine *e, const struct kvw_op *op, char *out,
                      size_t size)
{
    const struct kvw_op *back = find_back(e);

    if (back != NULL) {
        fenced_text(e, back, out, size);
    } else {
        open_text(e, op, out, size);
    }
}

static void barrier_text(struct engine *e, char *out, size_t size)
{
    char text[ROUTE_TEXT_MAX];

    if (!route_is_up(&e->control)) {
        snprintf(out, size, "barrier %" PRIu64 ": %s", e->barrier + 1,
                 route_trouble(&e->control, text));
    } else if (e->barrier_note[0] != '\0') {
        snprintf(out, size, "%s", e->barrier_note);
    } else {
        snprintf(out, size,
                 "barrier %" PRIu64 ": rank %" PRIu32
                 " waits for the other workers",
                 e->barrier + 1, e->job.rank);
    }
}

void engine_describe(struct engine *e, struct kvw_op *op)
{
    const struct kvw_op *about;

    if ((about = find_in(&e->lane.running, op->about)) != NULL) {
        running_text(e, about, op->text, sizeof op->text);
    } else if ((about = find_in(&e->fenced, op->about)) != NULL) {
        fenced_text(e, about, op->text, sizeof op->text);
    } else if ((about = find_in(&e->held, op->about)) != NULL) {
        held_text(e, about, op->text, sizeof op->text);
    } else if (find_in(&e->barriers, op->about) != NULL) {
        barrier_text(e, op->text, sizeof op->text);
    } else {
        snprintf(op->text, sizeof op->text, "about to be done");
    }
    engine_done(e, op);
}
