/**
 * enlist - tell the root where this server is, for as long as it lives.
 *
 *   RESTING -> DIALING -> LINKED -> RESTING ...
 *      \___________\_________\____> CLOSING -> CLOSED
 *
 * A root that is gone is tried again for ever, at growing intervals, with a
 * line in the log every few seconds. Workers of this server do not notice.
 *
 * Thread:  the main loop's.
 * Memory:  the owner keeps struct enlist, and what its config borrows, until
 *          `closed` has run.
 */
#ifndef KV_SERVER_ENLIST_H
#define KV_SERVER_ENLIST_H

#include <uv.h>

#include "common/base/fsm.h"
#include "proto/dial.h"
#include "proto/link.h"

struct enlist;
typedef void (*enlist_closed_fn)(struct enlist *e);

/* What the root says: KV_OK, or why it does not take this server in. */
typedef void (*enlist_heard_fn)(struct enlist *e, enum kv_status status);

struct enlist_config {
    struct link_hub *hub;
    const char *root;         /* Its address; borrowed. */
    const char *address;      /* Of this server; borrowed. */
    const unsigned char *key; /* Kept. */
    uint8_t job[HANDSHAKE_JOB_SIZE];
    uint32_t index, shards;
    uint64_t state;        /* As in struct roster_offer... */
    bool used;             /* ...and from the first Ok on in any case. */
    enlist_heard_fn heard; /* Each time. */
};

struct enlist {
    void *data;    /* For the owner. */
    bool enlisted; /* The root knows us, as far as we know. */
    /* Private. */
    struct enlist_config config;
    struct fsm fsm;
    struct dial dial;
    struct link link;
    uv_timer_t rest;
    struct hello hello;
    uint64_t pause_ms, line_ms; /* Until the next try, and the next line. */
    unsigned handles;
    enlist_closed_fn closed;
};

void enlist_open(struct enlist *e, const struct enlist_config *config);
void enlist_close(struct enlist *e, enlist_closed_fn closed);

#endif
