#include "server/control_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/log.h"

#define TICK_MS 1000
#define MISSING_MAX 256

/* --- Answers ------------------------------------------------------------- */

static void check_sent(struct guest *g, enum kv_status status)
{
    if (status != KV_OK) {
        link_close(&g->link, KV_ENOMEM, "no memory for an answer");
    }
}

void guest_answer(struct guest *g, const struct message *m, uint64_t id)
{
    check_sent(g, link_send(&g->link, m, id, NULL, 0, NULL, NULL, NULL));
}

void guest_answer_ok(struct guest *g, uint64_t id)
{
    struct message m = {.kind = MESSAGE_OK};

    guest_answer(g, &m, id);
}

static void on_copy_sent(struct out_frame *f)
{
    bufpool_put(f->owner[0], f->owner[1]);
}

/* The payload may be gone before the answer is. */
static void answer_with_copy(struct guest *g, const struct message *m,
                             uint64_t id, const void *payload, size_t size)
{
    struct bufpool *pool = &g->control->hub->buffers;
    struct buffer *copy = bufpool_get(pool, size);
    enum kv_status status = KV_ENOMEM;

    if (copy != NULL) {
        memcpy(copy->data, payload, size);
        status = link_send(&g->link, m, id, copy->data, size, on_copy_sent,
                           pool, copy);
    }
    if (status != KV_OK) {
        bufpool_put(pool, copy);
    }
    check_sent(g, status);
}

void guest_answer_placed(struct guest *g, uint64_t id,
                         const struct directory_key *key)
{
    struct message m = {.kind = MESSAGE_PLACED};

    m.placed.key_id = key->id;
    m.placed.slice_count = key->slice_count;
    m.placed.doomed = key->doomed != 0;
    m.placed.deletions =
        key->doomed != 0 ? key->doomed : ledger_deletions(&g->control->ledger);
    answer_with_copy(g, &m, id, key->placement,
                     (size_t)key->slices * DIRECTORY_ENTRY_SIZE);
}

void guest_answer_error(struct guest *g, uint64_t id, enum kv_status status,
                        const char *text)
{
    struct message m = {.kind = MESSAGE_ERROR};

    m.error.status = status;
    m.error.text = text;
    guest_answer(g, &m, id);
}

void guest_turn_away(struct guest *g, uint64_t id, enum kv_status status,
                     const char *text)
{
    struct control *c = g->control;
    char name[GUEST_NAME_MAX];

    if (log_allow(&c->refusals, uv_now(c->hub->loop))) {
        guest_name(g, name, sizeof name);
        log_warn("%s is turned away: %s", name, text);
    }
    guest_answer_error(g, id, status, text);
    guest_dismiss(g);
    link_finish(&g->link);
}

enum kv_status guest_broke(struct guest *g, const char *text)
{
    link_close(&g->link, KV_EPROTO, text);
    return KV_EPROTO;
}

/* --- Waiting ------------------------------------------------------------- */

void guest_park(struct guest *g, enum park_kind kind, uint64_t id,
                const struct key_desc *key)
{
    struct control *c = g->control;

    if (g->parked.count >= PARKING_PER_GUEST_MAX) {
        guest_answer_error(g, id, KV_EBUSY, "too many requests wait already");
    } else if (parking_add(&c->parking, kind, &g->parked, g, id, key,
                           uv_now(c->hub->loop)) == NULL) {
        guest_answer_error(g, id, KV_ENOMEM, "the root is out of memory");
    } else {
        control_watch(c);
    }
}

void control_watch(struct control *c)
{
    if (!uv_is_active((uv_handle_t *)&c->tick)) {
        KV_CHECK(uv_timer_start(&c->tick, control_tick, TICK_MS, TICK_MS) == 0);
    }
}

struct guest *control_unpark(struct control *c, struct parked *p, uint64_t *id)
{
    struct guest *g = p->guest;

    *id = p->request_id;
    parking_remove(&c->parking, &g->parked, p);
    return g;
}

/* "ranks 1 (not connected) and 2" */
static void missing_for(const struct control *c, enum park_kind kind, char *out,
                        size_t size)
{
    if (kind == PARK_JOIN) {
        roster_missing_servers(&c->roster, out, size);
    } else if (kind == PARK_BARRIER) {
        roster_missing_ranks(&c->roster, out, size);
    } else {
        snprintf(out, size, "rank 0%s",
                 c->by_rank[0] == NULL ? " (not connected)" : "");
    }
}

static void log_parked(struct control *c, enum park_kind kind)
{
    const struct parked *p = parking_first(&c->parking, kind);
    char missing[MISSING_MAX], name[KEY_TEXT_MAX];

    missing_for(c, kind, missing, sizeof missing);
    if (kind == PARK_JOIN) {
        log_warn("%" PRIu64 " of %" PRIu32 " workers wait for %s to start",
                 c->parking.count[kind], c->roster.workers, missing);
    } else if (kind == PARK_BARRIER) {
        log_warn("barrier %" PRIu64 " waits for %s", c->roster.barrier + 1,
                 missing);
    } else {
        key_text(&p->key, name, sizeof name);
        log_warn("%s waits for %s to register it (%" PRIu64
                 " requests wait in all)",
                 name, missing, c->parking.count[kind]);
    }
}

static void notify(struct guest *g)
{
    uint64_t now = uv_now(g->control->hub->loop);
    const struct parked *p = parking_notice(&g->parked, now);
    struct message m = {.kind = MESSAGE_WAITING};
    char missing[MISSING_MAX];

    if (p != NULL && p->kind != PARK_DEAD) {
        missing_for(g->control, p->kind, missing, sizeof missing);
        m.waiting.what = missing;
        m.waiting.seconds = (uint32_t)((now - p->since_ms) / 1000);
        guest_answer(g, &m, p->request_id);
    }
}

void control_tick(uv_timer_t *timer)
{
    struct control *c = timer->data;

    while (control_answer_dead(c)) {
    }
    LIST_EACH(&c->guests, node, after)
    {
        notify(LIST_ENTRY(node, struct guest, among_guests));
    }
    for (int kind = 0; kind < PARK_DEAD; kind++) {
        if (parking_line_due(&c->parking, (enum park_kind)kind,
                             uv_now(timer->loop))) {
            log_parked(c, (enum park_kind)kind);
        }
    }
    if (parking_empty(&c->parking)) {
        uv_timer_stop(timer);
    }
}
