/**
 * ledger - what the root must not forget: keys, servers, ranks, barriers.
 *
 * A list of records in the root's arena, and a few numbers. Each record and
 * number becomes durable by one store, before anyone is told of it. Read again
 * in order, it gives the same roster and the same directory: a key's record has
 * its places, since keys that decided them may be gone.
 *
 * A deletion gets a number, and the key's record that number (doomed), before
 * any shard is told to drop a slice; the record goes once all have.
 *
 * Thread:  the root's main loop; pure but for the arena.
 * Memory:  borrows the arena. Records of servers and ranks stay for ever: they
 *          are few.
 * Result:  room is made sure of first (ledger_ready), so that a change is
 *          written or refused, never half done.
 */
#ifndef KV_SERVER_LEDGER_H
#define KV_SERVER_LEDGER_H

#include "server/arena.h"
#include "server/directory.h"
#include "server/roster.h"

struct ledger {
    /* Private. */
    struct arena *arena;
    void *spare; /* For the next rank or server; owned. */
};

/* Fill the roster. KV_EMISMATCH when the arena was written with another
 * number of servers or another slice size. */
KV_MUST_CHECK enum kv_status ledger_open(struct ledger *l, struct arena *arena,
                                         uint32_t slice_bytes,
                                         struct roster *roster, char *error,
                                         size_t error_size);
void ledger_close(struct ledger *l);

bool ledger_has_keys(const struct ledger *l);

/* Fill the directory, once all servers are known. */
KV_MUST_CHECK enum kv_status ledger_replay(const struct ledger *l,
                                           struct directory *d, char *error,
                                           size_t error_size);

/* Room for one ledger_server() or ledger_rank(). KV_ENOSPC. */
KV_MUST_CHECK enum kv_status ledger_ready(struct ledger *l);
void ledger_server(struct ledger *l, uint32_t index,
                   const struct roster_server *s);
void ledger_rank(struct ledger *l, uint32_t rank, const struct roster_rank *k);

/* Remember a key, and where in key->record. KV_ENOSPC. */
KV_MUST_CHECK enum kv_status ledger_key(struct ledger *l,
                                        struct directory_key *key);

/* Number its deletion, in key->doomed. */
void ledger_doom(struct ledger *l, struct directory_key *key);

/* A doomed key has no slices any more; no id below `next_id` comes again. */
void ledger_forget(struct ledger *l, struct directory_key *key,
                   uint64_t next_id);

/* The number of the last deletion; 0: there was none. */
uint64_t ledger_deletions(const struct ledger *l);

void ledger_policy(struct ledger *l, uint32_t policy);
void ledger_barrier(struct ledger *l, uint64_t passed);

#endif
