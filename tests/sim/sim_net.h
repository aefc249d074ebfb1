/**
 * sim_net - connections between workers and shards, with everything that may
 * happen to them.
 *
 *   sender --put--> kept --write--> wire --take--> receiver
 *
 * `kept` is the sender's own queue: payloads are still where they were, and a
 * sender that dies takes them along. `wire` is the kernel and the network:
 * copies, which arrive in order until the connection is cut; a cut loses the
 * last ones, and of the last that arrives maybe a half. Neither end knows of a
 * cut at once, so a new connection may well overtake what an old one brings.
 *
 * Thread:  one.
 * Memory:  a connection is freed when both ends have closed it.
 */
#ifndef KV_TESTS_SIM_SIM_NET_H
#define KV_TESTS_SIM_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h"
#include "server/session.h"

#define SIM_CONNS_MAX 256

struct sim;

struct sim_frame {
    struct sim_frame *next;
    uint64_t request_id;
    const void *payload; /* While kept: the sender's. Then `copy`. */
    size_t size;
    struct buffer *buffer; /* Of the sender's pool, to go back. */
    void *block;           /* Of the sender's arena, to be let go. */
    unsigned char *copy;
    bool hello; /* The first one: who speaks. */
    bool half;  /* Cut off within the payload. */
    size_t meta_size;
    unsigned char meta[];
};

struct sim_queue {
    struct sim_frame *first, *last;
    uint32_t count;
};

struct sim_pipe {
    struct sim_queue kept, wire;
};

enum sim_end { SIM_END_OPENING, SIM_END_UP, SIM_END_CLOSED };

struct sim_conn {
    uint32_t id, rank, shard;
    uint64_t incarnation, token; /* As its hello says. */
    bool intruder;               /* No worker is at its end. */
    bool cut;
    struct sim_pipe up, down; /* To the server, to the worker. */
    enum sim_end worker_end, server_end;
    struct session session; /* While the server's end is up. */
    struct session_io io;
    bool blocked;      /* The server reads no further. */
    bool full;         /* Answers that have waited shall wait on. */
    void *server_sink; /* Where the payload under way goes, or NULL. */
    void *worker_sink;
};

struct sim_conn *sim_connect(struct sim *sim, uint32_t rank, uint32_t shard,
                             uint64_t incarnation, uint64_t token,
                             bool intruder);

/* Put a message into the sender's queue. */
void sim_put(struct sim *sim, struct sim_pipe *pipe, const struct message *m,
             uint64_t request_id, const void *payload, size_t size, void *block,
             struct buffer *buffer);

/* Move the first kept frame onto the wire; false if there is none. The payload
 * is read now. */
bool sim_write(struct sim *sim, struct sim_conn *c, bool up);

/* The first frame that has arrived, unpacked; NULL if there is none. It stays
 * until sim_taken(). */
struct sim_frame *sim_arrived(struct sim *sim, struct sim_pipe *pipe,
                              struct message *out);
void sim_taken(struct sim_pipe *pipe);

/* The connection breaks; neither end knows yet. */
void sim_cut(struct sim *sim, struct sim_conn *c);

/* An end lets go. `gone`: its process is dead, nothing of it can be given
 * back, and of what it wrote last some may be lost. */
void sim_close_worker_end(struct sim *sim, struct sim_conn *c, bool gone);
void sim_close_server_end(struct sim *sim, struct sim_conn *c, bool gone);

/* Free the connections that both ends have closed. */
void sim_sweep_conns(struct sim *sim);

#endif
