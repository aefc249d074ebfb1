/**
 * parking - requests to the root that must wait, and for what.
 *
 * A join waits for servers, a key for rank 0 to register it, a barrier for
 * other ranks, a question who is dead for those who were asked. What waits is
 * on three lists at once: with its kind, with its guest, and, if it waits for a
 * key, with that key. A line for the log is due when the oldest of a kind has
 * waited 5 s, and then every 10 s; a guest gets a notice about its oldest after
 * 1 s, and then every 5 s.
 *
 * Thread:  pure.
 * Memory:  a parked request is the parking's, from parking_add() to
 *          parking_remove(); a guest is borrowed.
 */
#ifndef KV_SERVER_PARKING_H
#define KV_SERVER_PARKING_H

#include <stdbool.h>

#include "common/base/list.h"
#include "common/base/map.h"
#include "server/directory.h"

#define PARKING_PER_GUEST_MAX 65536
#define PARKING_FIRST_LINE_MS 5000
#define PARKING_NEXT_LINE_MS 10000
#define PARKING_FIRST_NOTICE_MS 1000
#define PARKING_NEXT_NOTICE_MS 5000

enum park_kind { PARK_JOIN, PARK_KEY, PARK_BARRIER, PARK_DEAD, PARK_KINDS };

struct parked {
    void *guest; /* Who asked; borrowed. */
    uint64_t request_id;
    uint64_t since_ms;
    struct key_desc key;    /* PARK_KEY; its name is the request's. */
    uint32_t node, seconds; /* PARK_DEAD; the owner's. */
    enum park_kind kind;
    /* Private. */
    struct list_link among_kind, among_guest, among_key;
    struct parked_key *waits_for;
    char name[];
};

struct parking {
    struct list waiting[PARK_KINDS]; /* Oldest first. */
    uint64_t count[PARK_KINDS];
    /* Private. */
    uint64_t line_ms[PARK_KINDS]; /* When the next is due. */
    struct strmap keys;
};

struct parking_guest {
    struct list parked; /* Oldest first. */
    uint32_t count;
    uint64_t notice_ms; /* No sooner. */
};

void parking_init(struct parking *p);
void parking_fini(struct parking *p); /* Nothing may be parked. */

void parking_guest_init(struct parking_guest *g);

/* NULL when out of memory. `key` only for PARK_KEY. */
struct parked *parking_add(struct parking *p, enum park_kind kind,
                           struct parking_guest *g, void *guest,
                           uint64_t request_id, const struct key_desc *key,
                           uint64_t now_ms);
void parking_remove(struct parking *p, struct parking_guest *g,
                    struct parked *parked);
void parking_forget(struct parking *p, struct parking_guest *g);

/* The oldest; NULL if there is none. */
struct parked *parking_first(const struct parking *p, enum park_kind kind);
struct parked *parking_first_for(const struct parking *p,
                                 const struct key_desc *key);

bool parking_empty(const struct parking *p);

/* The oldest of this guest, if a notice to it is due; NULL: none is. True once
 * for each notice. */
const struct parked *parking_notice(struct parking_guest *g, uint64_t now_ms);

/* True once for each line. */
bool parking_line_due(struct parking *p, enum park_kind kind, uint64_t now_ms);

#endif
