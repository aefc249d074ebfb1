#include <inttypes.h>
#include <stdio.h>

#include "server/control_private.h"

/* An idle link is silent, so who has said nothing for as long as is asked is
 * asked himself, and has a second to answer. */
#define ANSWER_MS 1000

/* As MXNet counts nodes: groups are bits, and may be added. */
enum { GROUP_SERVERS = 2, GROUP_WORKERS = 4, NODE_FIRST = 8 };

struct inquiry {
    uint32_t node;
    uint64_t ms, asked_ms; /* How long; when. */
};

static bool is_asked_for(const struct inquiry *q, bool server, uint32_t index)
{
    uint32_t group = server ? GROUP_SERVERS : GROUP_WORKERS;

    return q->node < NODE_FIRST
               ? (q->node & group) != 0
               : q->node == NODE_FIRST + 2 * index + (server ? 0 : 1);
}

static struct guest *guest_at(const struct control *c, bool server,
                              uint32_t index)
{
    return server ? c->by_server[index] : c->by_rank[index];
}

static bool is_silent(const struct control *c, const struct inquiry *q,
                      bool server, uint32_t index)
{
    const struct guest *g = guest_at(c, server, index);
    uint64_t heard = g != NULL ? g->link.heard_ms
                     : server  ? c->server_heard[index]
                               : c->rank_heard[index];

    if (!is_asked_for(q, server, index) || (server && index == 0)) {
        return false; /* Server 0 is who answers. */
    }
    if (!server && c->roster.rank[index].left) {
        return false; /* Said goodbye. */
    }
    return heard + q->ms <= q->asked_ms;
}

static uint32_t count_silent(const struct control *c, const struct inquiry *q)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < c->roster.servers; i++) {
        count += is_silent(c, q, true, i);
    }
    for (uint32_t i = 0; i < c->roster.workers; i++) {
        count += is_silent(c, q, false, i);
    }
    return count;
}

/* True if there is somebody to wait for. */
static bool ping(struct control *c, const struct inquiry *q, bool server,
                 uint32_t count)
{
    struct message m = {.kind = MESSAGE_PING};
    bool any = false;

    for (uint32_t i = 0; i < count; i++) {
        if (is_silent(c, q, server, i) && guest_at(c, server, i) != NULL) {
            guest_answer(guest_at(c, server, i), &m, 0);
            any = true;
        }
    }
    return any;
}

static void answer(struct guest *g, uint64_t id, const struct inquiry *q)
{
    struct message m = {.kind = MESSAGE_DEAD_COUNT};

    m.dead_count.count = q->ms == 0 ? 0 : count_silent(g->control, q);
    guest_answer(g, &m, id);
}

static bool is_known(const struct control *c, uint32_t node)
{
    uint32_t index = (node - NODE_FIRST) / 2;

    return node < NODE_FIRST ||
           index < (node % 2 == 0 ? c->roster.servers : c->roster.workers);
}

bool control_answer_dead(struct control *c)
{
    struct parked *p = parking_first(&c->parking, PARK_DEAD);
    struct inquiry q;
    struct guest *g;
    uint64_t id;

    if (p == NULL || uv_now(c->hub->loop) - p->since_ms < ANSWER_MS) {
        return false;
    }
    q = (struct inquiry){p->node, (uint64_t)p->seconds * 1000, p->since_ms};
    g = control_unpark(c, p, &id);
    answer(g, id, &q);
    return true;
}

enum kv_status control_on_dead(struct guest *g, uint64_t id,
                               const struct message *m)
{
    struct control *c = g->control;
    uint64_t now = uv_now(c->hub->loop);
    struct inquiry q = {m->dead.node, (uint64_t)m->dead.seconds * 1000, now};
    struct parked *p;
    char text[128];

    if (!is_known(c, q.node)) {
        snprintf(text, sizeof text,
                 "node %" PRIu32 ": the job has %" PRIu32
                 " servers and %" PRIu32 " workers",
                 q.node, c->roster.servers, c->roster.workers);
        guest_answer_error(g, id, KV_EINVAL, text);
        return KV_OK;
    }
    if (q.ms == 0 || g->parked.count >= PARKING_PER_GUEST_MAX ||
        !(ping(c, &q, true, c->roster.servers) |
          ping(c, &q, false, c->roster.workers))) {
        answer(g, id, &q);
        return KV_OK;
    }
    p = parking_add(&c->parking, PARK_DEAD, &g->parked, g, id, NULL, now);
    if (p == NULL) {
        answer(g, id, &q);
        return KV_OK;
    }
    p->node = m->dead.node;
    p->seconds = m->dead.seconds;
    control_watch(c);
    return KV_OK;
}
