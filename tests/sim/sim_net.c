#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/sim/sim.h"

/* --- Queues --------------------------------------------------------------- */

static void append(struct sim_queue *q, struct sim_frame *f)
{
    f->next = NULL;
    if (q->first == NULL) {
        q->first = f;
    } else {
        q->last->next = f;
    }
    q->last = f;
    q->count++;
}

static struct sim_frame *take(struct sim_queue *q)
{
    struct sim_frame *f = q->first;

    if (f != NULL) {
        q->first = f->next;
        q->count--;
    }
    return f;
}

static void free_frame(struct sim_frame *f)
{
    free(f->copy);
    free(f);
}

static void clear(struct sim_queue *q)
{
    struct sim_frame *f;

    while ((f = take(q)) != NULL) {
        free_frame(f);
    }
}

/* --- Sending -------------------------------------------------------------- */

static struct sim_frame *make_frame(size_t meta_size)
{
    struct sim_frame *f = calloc(1, sizeof *f + meta_size);

    KV_CHECK(f != NULL);
    f->meta_size = meta_size;
    return f;
}

struct sim_conn *sim_connect(struct sim *sim, uint32_t rank, uint32_t shard,
                             uint64_t incarnation, uint64_t token,
                             bool intruder)
{
    struct sim_conn *c = calloc(1, sizeof *c);
    struct sim_frame *hello = make_frame(0);

    KV_CHECK(c != NULL && sim->conn_count < SIM_CONNS_MAX);
    c->id = sim->conns_made++;
    c->rank = rank;
    c->shard = shard;
    c->incarnation = incarnation;
    c->token = token;
    c->intruder = intruder;
    c->worker_end = intruder ? SIM_END_CLOSED : SIM_END_OPENING;
    hello->hello = true;
    append(&c->up.wire, hello);
    sim->conns[sim->conn_count++] = c;
    sim_note(sim, "connect", c->id, rank, shard);
    return c;
}

void sim_put(struct sim *sim, struct sim_pipe *pipe, const struct message *m,
             uint64_t request_id, const void *payload, size_t size, void *block,
             struct buffer *buffer)
{
    unsigned char meta[KV_META_MAX];
    struct sim_frame *f;
    size_t meta_size;

    if (message_pack(m, meta, sizeof meta, &meta_size) != KV_OK) {
        sim_fail(sim, "a %s cannot be packed", message_kind_name(m->kind));
    }
    f = make_frame(meta_size);
    memcpy(f->meta, meta, meta_size);
    f->request_id = request_id;
    f->payload = payload;
    f->size = size;
    f->block = block;
    f->buffer = buffer;
    append(&pipe->kept, f);
}

/* Tell the sender that the payload is its own again. */
static void let_go(struct sim *sim, struct sim_conn *c, bool up,
                   struct sim_frame *f)
{
    if (up) {
        bufpool_put(&sim->workers[c->rank].buffers, f->buffer);
    } else {
        sim_server_let_go(&sim->servers[c->shard], f->buffer, f->block);
    }
    f->buffer = NULL;
    f->block = NULL;
    f->payload = NULL;
}

static uint64_t hash_of(const struct sim_frame *f)
{
    uint64_t hash = f->size + f->request_id;

    for (size_t i = 0; i < f->meta_size; i++) {
        hash = (hash ^ f->meta[i]) * UINT64_C(0x100000001b3);
    }
    for (size_t i = 0; i + 8 <= f->size; i += 8) {
        uint64_t word;

        memcpy(&word, f->copy + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return hash;
}

bool sim_write(struct sim *sim, struct sim_conn *c, bool up)
{
    struct sim_pipe *pipe = up ? &c->up : &c->down;
    struct sim_frame *f;

    if (pipe->wire.count >= sim->plan.weather.window) {
        return false;
    }
    f = take(&pipe->kept);
    if (f == NULL) {
        return false;
    }
    if (f->size > 0) {
        f->copy = malloc(f->size);
        KV_CHECK(f->copy != NULL);
        memcpy(f->copy, f->payload, f->size);
    }
    let_go(sim, c, up, f);
    sim_note(sim, up ? "write up" : "write down", c->id, f->size,
             f->hello ? 0 : hash_of(f)); /* A welcome: the id is random. */
    if (c->cut) {
        free_frame(f);
    } else {
        append(&pipe->wire, f);
    }
    return true;
}

/* --- Receiving ------------------------------------------------------------ */

struct sim_frame *sim_arrived(struct sim *sim, struct sim_pipe *pipe,
                              struct message *out)
{
    static _Alignas(16) unsigned char memory[MESSAGE_SCRATCH_SIZE];
    struct sim_frame *f = pipe->wire.first;
    const char *reason = "";
    struct scratch scratch;

    if (f == NULL || f->meta_size == 0) {
        return f;
    }
    scratch_init(&scratch, memory, sizeof memory);
    if (message_unpack(&scratch, f->meta, f->meta_size, f->size, out,
                       &reason) != KV_OK) {
        sim_fail(sim, "a message cannot be unpacked: %s", reason);
    }
    return f;
}

void sim_taken(struct sim_pipe *pipe)
{
    free_frame(take(&pipe->wire));
}

/* --- Breaking ------------------------------------------------------------- */

/* Of what is on the wire a random part arrives. */
static void lose_some(struct sim *sim, struct sim_queue *q)
{
    uint32_t keep = sim_below(sim, q->count + 1);
    struct sim_queue kept = {NULL, NULL, 0};

    while (kept.count < keep) {
        append(&kept, take(q));
    }
    clear(q);
    *q = kept;
    if (q->count > 0 && sim_chance(sim, 50) && q->last->size > 1) {
        q->last->half = true;
        sim->faults.halves++;
    }
}

void sim_cut(struct sim *sim, struct sim_conn *c)
{
    if (!c->cut) {
        c->cut = true;
        lose_some(sim, &c->up.wire);
        lose_some(sim, &c->down.wire);
        sim_note(sim, "cut", c->id, c->up.wire.count, c->down.wire.count);
    }
}

static void drop_kept(struct sim *sim, struct sim_conn *c, bool up, bool gone)
{
    struct sim_pipe *pipe = up ? &c->up : &c->down;
    struct sim_frame *f;

    while ((f = take(&pipe->kept)) != NULL) {
        if (!gone) {
            let_go(sim, c, up, f);
        }
        free_frame(f);
    }
}

void sim_close_worker_end(struct sim *sim, struct sim_conn *c, bool gone)
{
    if (c->worker_end == SIM_END_CLOSED) {
        return;
    }
    drop_kept(sim, c, true, gone);
    clear(&c->down.wire);
    if (gone) {
        lose_some(sim, &c->up.wire);
    }
    c->cut = true;
    c->worker_sink = NULL;
    c->worker_end = SIM_END_CLOSED;
}

void sim_close_server_end(struct sim *sim, struct sim_conn *c, bool gone)
{
    if (c->server_end == SIM_END_CLOSED) {
        return;
    }
    drop_kept(sim, c, false, gone);
    clear(&c->up.wire);
    if (gone) {
        lose_some(sim, &c->down.wire);
    }
    c->cut = true;
    c->server_sink = NULL;
    c->server_end = SIM_END_CLOSED;
}

void sim_sweep_conns(struct sim *sim)
{
    size_t kept = 0;

    for (size_t i = 0; i < sim->conn_count; i++) {
        struct sim_conn *c = sim->conns[i];

        if (c->worker_end != SIM_END_CLOSED ||
            c->server_end != SIM_END_CLOSED) {
            sim->conns[kept++] = c;
            continue;
        }
        clear(&c->up.wire);
        clear(&c->down.wire);
        free(c);
    }
    sim->conn_count = kept;
}
