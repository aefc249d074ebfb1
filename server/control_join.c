#include "server/control_private.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"

/* --- Join and Enlist ----------------------------------------------------- */

static void answer_joined(struct guest *g, uint64_t id)
{
    const struct roster *r = &g->control->roster;
    struct message m = {.kind = MESSAGE_JOINED};
    const char *address[KV_SERVERS_MAX];
    uint32_t shards[KV_SERVERS_MAX];

    for (uint32_t i = 0; i < r->servers; i++) {
        address[i] = r->server[i].address;
        shards[i] = r->server[i].shards;
    }
    if (g->control->anywhere) {
        address[0] = g->reached;
    }
    m.joined.rank = g->rank;
    m.joined.workers = r->workers;
    m.joined.server_count = r->servers;
    m.joined.address = address;
    m.joined.shards = shards;
    m.joined.barrier = r->barrier;
    m.joined.slice_bytes = g->control->slice_bytes;
    guest_answer(g, &m, id);
}

enum kv_status control_on_join(struct guest *g, uint64_t id,
                               const struct message *m)
{
    struct control *c = g->control;
    struct roster_claim claim = {.rank = g->rank,
                                 .policy = m->join.policy,
                                 .incarnation = g->hello.incarnation,
                                 .token = g->hello.token};
    char error[KV_TEXT_MAX + 1] = CONTROL_NO_ROOM;
    enum kv_status status = ledger_ready(&c->ledger);
    bool changed = false;
    uint32_t rank = 0;

    if (g->hello.role != HANDSHAKE_WORKER) {
        return guest_broke(g, "a server wants to join as a worker");
    }
    if (status == KV_OK) {
        status = roster_join(&c->roster, &claim, &rank, &changed, error,
                             sizeof error);
    }
    if (status != KV_OK) {
        guest_turn_away(g, id, status, error);
        return KV_OK;
    }
    if (changed) {
        ledger_policy(&c->ledger, c->roster.policy);
        ledger_rank(&c->ledger, rank, &c->roster.rank[rank]);
        log_info("rank %" PRIu32 " of %" PRIu32 " joined from %s", rank,
                 c->roster.workers, g->peer);
    }
    guest_seat(g, rank);
    if (c->placing) {
        answer_joined(g, id);
    } else {
        guest_park(g, PARK_JOIN, id, NULL);
    }
    return KV_OK;
}

/* --- Enlist -------------------------------------------------------------- */

enum kv_status control_begin(struct control *c, char *error, size_t error_size)
{
    struct parked *p;
    uint64_t id;
    enum kv_status status;

    if (c->placing || !roster_assembled(&c->roster)) {
        return KV_OK;
    }
    status = directory_init(&c->directory, roster_shards(&c->roster),
                            c->slice_bytes);
    if (status != KV_OK) {
        snprintf(error, error_size, "out of memory for the directory");
        return status;
    }
    status = ledger_replay(&c->ledger, &c->directory, error, error_size);
    if (status != KV_OK) {
        directory_fini(&c->directory);
        return status;
    }
    c->placing = true;
    while ((p = parking_first(&c->parking, PARK_JOIN)) != NULL) {
        struct guest *g = control_unpark(c, p, &id);

        answer_joined(g, id);
    }
    return KV_OK;
}

/* May this link speak for that server? */
static enum kv_status check_server(const struct guest *g, uint32_t index,
                                   char *error, size_t error_size)
{
    const struct control *c = g->control;
    const struct guest *other;

    if (index == 0) {
        snprintf(error, error_size, "server 0 is the root itself");
        return KV_EINVAL;
    }
    other = index < c->roster.servers ? c->by_server[index] : NULL;
    if (other != NULL && other->hello.incarnation > g->hello.incarnation) {
        snprintf(error, error_size, "a newer server %" PRIu32 " is at %s",
                 index, c->roster.server[index].address);
        return KV_ESTALE;
    }
    return KV_OK;
}

enum kv_status control_on_enlist(struct guest *g, uint64_t id,
                                 const struct message *m)
{
    struct control *c = g->control;
    char error[KV_TEXT_MAX + 1] = CONTROL_NO_ROOM;
    uint32_t index = m->enlist.index;
    struct roster_offer offer = {index, m->enlist.shards, m->enlist.address,
                                 m->enlist.state, m->enlist.used};
    enum kv_status status = ledger_ready(&c->ledger);
    bool changed = false;

    if (g->hello.role != HANDSHAKE_SERVER || index != g->hello.rank) {
        return guest_broke(g, "enlists as what it is not");
    }
    if (status == KV_OK) {
        status = check_server(g, index, error, sizeof error);
    }
    if (status == KV_OK) {
        status = roster_enlist(&c->roster, &offer, ledger_has_keys(&c->ledger),
                               &changed, error, sizeof error);
    }
    if (status != KV_OK) {
        guest_turn_away(g, id, status, error);
        return KV_OK;
    }
    if (changed) {
        ledger_server(&c->ledger, index, &c->roster.server[index]);
        log_info("server %" PRIu32 " of %" PRIu32 " is at %s", index,
                 c->roster.servers, m->enlist.address);
    }
    guest_seat(g, index);
    guest_answer_ok(g, id);
    if (!c->placing && roster_assembled(&c->roster)) {
        log_info("all %" PRIu32 " servers are there, with %" PRIu32 " shards",
                 c->roster.servers, roster_shards(&c->roster));
    }
    if (control_begin(c, error, sizeof error) != KV_OK) {
        log_error("no worker can join: %s", error);
    }
    return KV_OK;
}
