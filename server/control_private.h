/**
 * control_private - what the files of the root's service share.
 *
 *   control.c        links: who comes, what they may say, who goes
 *   control_join.c   Join and Enlist
 *   control_keys.c   Key, List, Barrier, Leave
 *   control_delete.c Delete
 *   control_dead.c   Dead: who has not been heard of
 *   control_wait.c   answers, and requests that wait for one
 */
#ifndef KV_SERVER_CONTROL_PRIVATE_H
#define KV_SERVER_CONTROL_PRIVATE_H

#include "server/address.h"
#include "server/control.h"

#define GUEST_NAME_MAX 128
#define CONTROL_NO_ROOM "the root has no room left for its state"

/* One control link. */
struct guest {
    struct list_link among_guests;
    struct link link;
    struct control *control; /* Borrowed. */
    struct hello hello;
    char peer[ADDRESS_TEXT_MAX];
    char reached[ADDRESS_TEXT_MAX]; /* Our address, as the guest knows it. */
    enum { GUEST_ADMITTED, GUEST_KNOWN, GUEST_GONE } state;
    uint32_t rank; /* Of the worker, or index of the server. */
    struct parking_guest parked;
};

/* "rank 3 at 10.0.0.1:4242" */
void guest_name(const struct guest *g, char *out, size_t size);

/* This link is now the one of this rank, or server; one before it goes. */
void guest_seat(struct guest *g, uint32_t rank);

/* From here on the link speaks for nobody. */
void guest_dismiss(struct guest *g);

/* Say why the link is of no use any more, and close it. */
void guest_turn_away(struct guest *g, uint64_t id, enum kv_status status,
                     const char *text);

/* Close the link of one who does what no peer of ours does: KV_EPROTO. */
enum kv_status guest_broke(struct guest *g, const char *text);

void guest_answer(struct guest *g, const struct message *m, uint64_t id);
void guest_answer_ok(struct guest *g, uint64_t id);
void guest_answer_error(struct guest *g, uint64_t id, enum kv_status status,
                        const char *text);

/* The answer will come later; `key` only for PARK_KEY. */
void guest_park(struct guest *g, enum park_kind kind, uint64_t id,
                const struct key_desc *key);

/* Where the key's slices are. */
void guest_answer_placed(struct guest *g, uint64_t id,
                         const struct directory_key *key);

/* Take one out, to be answered. */
struct guest *control_unpark(struct control *c, struct parked *p, uint64_t *id);

/* Timer of the log lines about what waits. */
void control_tick(uv_timer_t *timer);

/* If all servers are known: make the directory, and let the workers begin. */
KV_MUST_CHECK enum kv_status control_begin(struct control *c, char *error,
                                           size_t error_size);

enum kv_status control_on_join(struct guest *g, uint64_t id,
                               const struct message *m);
enum kv_status control_on_enlist(struct guest *g, uint64_t id,
                                 const struct message *m);
enum kv_status control_on_key(struct guest *g, uint64_t id,
                              const struct message *m);
enum kv_status control_on_list(struct guest *g, uint64_t id,
                               const struct message *m);
enum kv_status control_on_delete(struct guest *g, uint64_t id,
                                 const struct message *m);
enum kv_status control_on_barrier(struct guest *g, uint64_t id,
                                  const struct message *m);
enum kv_status control_on_leave(struct guest *g, uint64_t id);
enum kv_status control_on_dead(struct guest *g, uint64_t id,
                               const struct message *m);

/* The first question that waits for pings has waited long enough: answer it. */
bool control_answer_dead(struct control *c);

/* Tick from now on, as something waits. */
void control_watch(struct control *c);

#endif
