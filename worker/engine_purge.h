/**
 * engine_purge - drop the slices of a key that is doomed, and say so.
 *
 * The middle and the end of a deletion, for whoever comes upon a doomed key:
 * each shard drops its slice, then the root forgets the key. All of it may be
 * done twice, or by two workers at a time.
 *
 * Thread:  the lane's.
 * Memory:  the owner keeps the purge, and the name of the key, until `done`.
 */
#ifndef KV_WORKER_ENGINE_PURGE_H
#define KV_WORKER_ENGINE_PURGE_H

#include "worker/engine_core.h"

struct purge;
typedef void (*purge_fn)(struct purge *p, enum kv_status status,
                         const char *text);

struct purge {
    void *owner;   /* For `done`. */
    purge_fn done; /* The purge is over; may run at once. */
    /* Private. */
    struct engine *engine;
    const struct key_spec *spec;
    uint32_t key_id;
    struct request *drops; /* Owned; by slice. */
    size_t left;
    struct request end;
    enum kv_status status; /* The first that was not KV_OK. */
    char text[OP_TEXT_MAX];
};

/* Where the slices are: what Placed says, of a doomed key. */
void engine_purge(struct purge *p, struct engine *e,
                  const struct key_spec *spec, const struct message *placed,
                  const void *payload, size_t payload_size);

/* Ask the root for a step of a deletion. */
void engine_ask_delete(struct engine *e, struct request *q,
                       const struct key_spec *spec, enum kv_delete_step step,
                       uint32_t key_id);

#endif
