#include "server/control_private.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/log.h"

/* The worker that deletes a key drives it: it has links to all shards, and the
 * root has none. First the key is doomed here, then the worker has each shard
 * drop its slice, then the key is forgotten here, and its name is free. If that
 * worker dies on the way, the key stays doomed: who deletes it next, or wants
 * to register its name again, goes on from there. Steps are named by id, so a
 * step that comes twice, or late, finds nothing to do. */

static enum kv_status begin(struct guest *g, uint64_t id,
                            struct directory_key *key)
{
    struct control *c = g->control;
    char name[KEY_TEXT_MAX];

    if (key->doomed != 0) {
        guest_answer_placed(g, id, key);
        return KV_OK;
    }
    if (ledger_deletions(&c->ledger) >= KV_DELETIONS_MAX) {
        guest_answer_error(g, id, KV_ENOSPC,
                           "the job has used up all numbers of deletions");
        return KV_OK;
    }
    ledger_doom(&c->ledger, key);
    key_text(&key->desc, name, sizeof name);
    log_debug("rank %" PRIu32 " deletes %s", g->rank, name);
    guest_answer_placed(g, id, key);
    return KV_OK;
}

static enum kv_status end(struct guest *g, uint64_t id,
                          struct directory_key *key)
{
    struct control *c = g->control;

    if (key->doomed == 0) {
        return guest_broke(g, "a key without a deletion is said to be gone");
    }
    ledger_forget(&c->ledger, key, c->directory.by_id.next);
    directory_remove(&c->directory, key);
    guest_answer_ok(g, id);
    return KV_OK;
}

static enum kv_status unknown(struct guest *g, uint64_t id,
                              const struct key_desc *desc)
{
    char name[KEY_TEXT_MAX], error[KV_TEXT_MAX + 1];

    key_text(desc, name, sizeof name);
    snprintf(error, sizeof error, "the job has no %s", name);
    guest_answer_error(g, id, KV_ENOTFOUND, error);
    return KV_OK;
}

enum kv_status control_on_delete(struct guest *g, uint64_t id,
                                 const struct message *m)
{
    struct key_desc desc = {.name = m->delete.name, .number = m->delete.number};
    struct directory_key *key = directory_find(&g->control->directory, &desc);

    if (m->delete.step == KV_DELETE_ASK) {
        if (key == NULL) {
            return unknown(g, id, &desc);
        }
        guest_answer_placed(g, id, key);
        return KV_OK;
    }
    if (key == NULL || key->id != m->delete.key_id) {
        guest_answer_ok(g, id); /* Gone, maybe with another of its name. */
        return KV_OK;
    }
    return m->delete.step == KV_DELETE_BEGIN ? begin(g, id, key)
                                             : end(g, id, key);
}
