#include "server/control_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"

/* --- Keys ---------------------------------------------------------------- */

static void answer_key(struct guest *g, uint64_t id,
                       const struct directory_key *key,
                       const struct key_desc *desc)
{
    char error[KV_TEXT_MAX + 1];
    enum kv_status status =
        directory_compare(key, g->rank, desc, error, sizeof error);

    if (status != KV_OK) {
        guest_answer_error(g, id, status, error);
        return;
    }
    guest_answer_placed(g, id, key);
}

/* Added and remembered, or neither. */
static enum kv_status add_key(struct control *c, const struct key_desc *desc,
                              struct directory_key **out, char *error,
                              size_t error_size)
{
    enum kv_status status =
        directory_add(&c->directory, desc, out, error, error_size);

    if (status != KV_OK) {
        return status;
    }
    status = ledger_key(&c->ledger, *out);
    if (status != KV_OK) {
        snprintf(error, error_size, "%s", CONTROL_NO_ROOM);
        directory_remove(&c->directory, *out);
    }
    return status;
}

/* Rank 0 brings a new key. */
static void register_key(struct guest *g, uint64_t id,
                         const struct key_desc *desc)
{
    struct control *c = g->control;
    struct directory_key *key = NULL;
    char error[KV_TEXT_MAX + 1];
    struct parked *p;
    enum kv_status status = add_key(c, desc, &key, error, sizeof error);

    if (status != KV_OK) {
        guest_answer_error(g, id, status, error);
        return;
    }
    answer_key(g, id, key, desc);
    while ((p = parking_first_for(&c->parking, desc)) != NULL) {
        struct key_desc theirs = p->key;
        uint64_t their_id = p->request_id;
        struct guest *other = p->guest;

        answer_key(other, their_id, key, &theirs);
        parking_remove(&c->parking, &other->parked, p);
    }
}

enum kv_status control_on_key(struct guest *g, uint64_t id,
                              const struct message *m)
{
    struct control *c = g->control;
    struct key_desc desc = {.name = m->key.name,
                            .number = m->key.number,
                            .dtype = m->key.dtype,
                            .dims = m->key.dims,
                            .storage = m->key.storage};
    const struct directory_key *key;

    memcpy(desc.shape, m->key.shape, sizeof desc.shape);
    key = directory_find(&c->directory, &desc);
    if (key != NULL && key->doomed == 0) {
        answer_key(g, id, key, &desc);
    } else if (key != NULL && g->rank == 0) {
        guest_answer_placed(g, id, key); /* It has to be deleted first. */
    } else if (g->rank == 0) {
        register_key(g, id, &desc);
    } else {
        guest_park(g, PARK_KEY, id, &desc);
    }
    return KV_OK;
}

static void fill_listing(const struct directory_key *key,
                         struct message_listing *out)
{
    const struct key_desc *desc = &key->desc;

    *out = (struct message_listing){.id = key->id,
                                    .slices = key->slices,
                                    .name = desc->name,
                                    .number = desc->number,
                                    .dtype = desc->dtype,
                                    .dims = desc->dims,
                                    .storage = desc->storage};
    memcpy(out->shape, desc->shape, sizeof out->shape);
}

/* Any page of names and shapes as long as they may be fits into a frame. */
enum kv_status control_on_list(struct guest *g, uint64_t id,
                               const struct message *m)
{
    const struct directory *d = &g->control->directory;
    struct message_listing listings[KV_LISTED_MAX];
    struct message answer = {.kind = MESSAGE_LISTED};
    const struct directory_key *key;
    uint64_t at = m->list.from;

    while (answer.listed.count < KV_LISTED_MAX &&
           (key = directory_walk(d, &at)) != NULL) {
        if (key->doomed == 0) {
            fill_listing(key, &listings[answer.listed.count++]);
        }
    }
    answer.listed.keys = listings;
    answer.listed.next = answer.listed.count == KV_LISTED_MAX ? at : 0;
    guest_answer(g, &answer, id);
    return KV_OK;
}

/* --- Barriers and leaving ------------------------------------------------ */

enum kv_status control_on_barrier(struct guest *g, uint64_t id,
                                  const struct message *m)
{
    struct control *c = g->control;
    uint64_t before = c->roster.barrier;
    char error[KV_TEXT_MAX + 1];
    enum kv_status status = roster_arrive(
        &c->roster, g->rank, m->barrier.generation, error, sizeof error);
    struct parked *p;

    if (status == KV_EAGAIN) {
        guest_park(g, PARK_BARRIER, id, NULL);
        return KV_OK;
    }
    if (status != KV_OK) {
        guest_answer_error(g, id, status, error);
        return KV_OK;
    }
    if (c->roster.barrier > before) {
        ledger_barrier(&c->ledger, c->roster.barrier);
        while ((p = parking_first(&c->parking, PARK_BARRIER)) != NULL) {
            uint64_t their_id;
            struct guest *other = control_unpark(c, p, &their_id);

            guest_answer_ok(other, their_id);
        }
    }
    guest_answer_ok(g, id);
    return KV_OK;
}

enum kv_status control_on_leave(struct guest *g, uint64_t id)
{
    struct control *c = g->control;

    if (ledger_ready(&c->ledger) != KV_OK) {
        log_warn("rank %" PRIu32 " leaves, but there is no room to note it",
                 g->rank);
    } else if (roster_leave(&c->roster, g->rank)) {
        ledger_rank(&c->ledger, g->rank, &c->roster.rank[g->rank]);
        log_info("rank %" PRIu32 " has left", g->rank);
    }
    guest_answer_ok(g, id);
    if (roster_done(&c->roster)) {
        log_info("every rank has left");
        if (c->done != NULL) {
            c->done(c);
        }
    }
    return KV_OK;
}
