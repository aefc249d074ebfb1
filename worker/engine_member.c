/* In the rounds of dist_sync, or out of them. */
#include <inttypes.h>

#include "worker/engine_core.h"

bool engine_stops(struct engine *e, struct kvw_op *op)
{
    if (op_pushes(op)) {
        op->left = 1;
        op_fail(op, KV_EINVAL,
                "rank %" PRIu32 " pushes after kvw_leave(): call kvw_join() "
                "first",
                e->job.rank);
        engine_one_less(e, op);
        return true;
    }
    if (e->joining == 0) {
        return false;
    }
    list_unlink(&op->on_lane);
    list_push(&e->held, &op->on_lane);
    return true;
}

static void let_go(struct engine *e)
{
    struct list_link *link;

    while ((link = list_pop(&e->held)) != NULL) {
        struct kvw_op *op = LIST_ENTRY(link, struct kvw_op, on_lane);

        list_push(&e->lane.running, link);
        if (op->kind == OP_INIT) {
            engine_init(e, op);
        } else if (op->kind == OP_MOVES) {
            engine_moves(e, op);
        } else {
            engine_transfer(e, op);
        }
    }
}

void engine_member_over(struct engine *e, struct kvw_op *op)
{
    e->joining -= op->in;
    if (op->status == KV_OK && op->in && op->turn > e->left_turn) {
        e->left = false; /* And nobody has begun to leave meanwhile. */
    }
    if (e->joining == 0) {
        let_go(e);
    }
}

void engine_member(struct engine *e, struct kvw_op *op)
{
    if (e->policy != KV_POLICY_SYNC || (op->in && !e->left)) {
        engine_done(e, op); /* There are no rounds, or it is in them. */
        return;
    }
    e->joining += op->in;
    if (!op->in) {
        e->left = true;
        e->left_turn = op->turn;
    }
    engine_command(e, op);
}
