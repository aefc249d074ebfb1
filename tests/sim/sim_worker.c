#include "tests/sim/sim_worker.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_app.h"
#include "tests/sim/sim_heap.h"
#include "tests/sim/sim_norms.h"
#include "tests/sim/sim_odd.h"

/* --- The courier's owner -------------------------------------------------- */

static bool on_send(void *ctx, const struct message *m, uint64_t request_id,
                    const void *payload, size_t size, struct buffer *buffer)
{
    struct sim_lane *lane = ctx;

    sim_put(lane->worker->sim, &lane->conn->up, m, request_id, payload, size,
            NULL, buffer);
    return true;
}

static void on_part_done(void *ctx, struct part *p, enum kv_status status,
                         const char *text, uint64_t round)
{
    struct sim_lane *lane = ctx;

    sim_app_part_done(lane->worker, p, status, text, round);
}

static void on_stalled(void *ctx, const struct slice *slice,
                       const struct message *m)
{
    struct sim_lane *lane = ctx;

    (void)slice;
    lane->worker->stalls += m->stalled.missing_count;
}

static void on_slice_refused(void *ctx, struct part *p,
                             const struct slice *slice, enum kv_status status,
                             const char *text)
{
    struct sim_lane *lane = ctx;

    (void)p;
    sim_delete_refused(lane->worker, sim_index_of(lane->worker, slice), status,
                       text);
}

static void on_skipped(void *ctx, struct part *p, const struct slice *slice,
                       const struct message *m)
{
    struct sim_lane *lane = ctx;
    struct sim_worker *w = lane->worker;
    uint32_t i = sim_index_of(w, slice), culprit;
    uint32_t round = sim_version(w, i, m->skipped.round);

    (void)p;
    if (!sim_spoiled(&w->sim->plan, i, round, &culprit)) {
        sim_fail(w->sim, "rank %u slice %u round %u: was left out", w->rank, i,
                 round);
    }
    if (m->skipped.blames != (culprit != SIM_NOBODY) ||
        (m->skipped.blames && m->skipped.rank != culprit)) {
        sim_fail(w->sim, "rank %u slice %u round %u: %u is blamed, not %u",
                 w->rank, i, round, m->skipped.rank, culprit);
    }
    w->skipped[i] = round;
}

static void on_norms(void *ctx, const struct slice *slice,
                     const struct message *m)
{
    struct sim_lane *lane = ctx;

    sim_norms_tell(lane->worker, slice, m);
}

/* --- Connections ---------------------------------------------------------- */

bool sim_worker_connect(struct sim_worker *w, uint32_t shard)
{
    if (w->lanes[shard].conn != NULL) {
        return false;
    }
    w->lanes[shard].conn =
        sim_connect(w->sim, w->rank, shard, w->incarnation, w->token, false);
    return true;
}

static void disconnect(struct sim_worker *w, struct sim_conn *c)
{
    unsigned before = sim_heap_enter(w->process);

    courier_down(w->lanes[c->shard].courier);
    sim_close_worker_end(w->sim, c, false);
    w->lanes[c->shard].conn = NULL;
    sim_heap_enter(before);
}

bool sim_worker_notice(struct sim_worker *w, struct sim_conn *c)
{
    if (c->worker_end == SIM_END_CLOSED || !c->cut ||
        (c->down.wire.first != NULL && !sim_chance(w->sim, 10))) {
        return false;
    }
    sim_note(w->sim, "worker notices", c->id, w->rank, 0);
    disconnect(w, c);
    return true;
}

bool sim_worker_pump(struct sim_worker *w, uint32_t shard)
{
    struct sim_conn *c = w->lanes[shard].conn;
    uint32_t kept, room = 1 + sim_below(w->sim, w->sim->plan.weather.room);
    unsigned before;

    if (c == NULL || c->worker_end != SIM_END_UP ||
        c->up.kept.count >= w->sim->plan.weather.window) {
        return false;
    }
    kept = c->up.kept.count;
    before = sim_heap_enter(w->process);
    (void)courier_pump(w->lanes[shard].courier, room, w->sim->now_ms);
    sim_heap_enter(before);
    return c->up.kept.count > kept;
}

/* --- Frames --------------------------------------------------------------- */

static void check(struct sim_worker *w, struct sim_conn *c,
                  enum kv_status status)
{
    if (status != KV_OK) {
        sim_fail(w->sim, "rank %u calls shard %u a liar: %s", w->rank, c->shard,
                 kv_strstatus(status));
    }
}

static void whole_frame(struct sim_worker *w, struct sim_conn *c,
                        struct sim_frame *f, const struct message *m,
                        void *sink)
{
    struct courier *courier = w->lanes[c->shard].courier;

    if (sink != NULL) {
        memcpy(sink, f->copy, f->size);
    }
    c->worker_sink = NULL;
    if (m->kind == MESSAGE_WELCOME) {
        c->worker_end = SIM_END_UP;
        courier_up(courier);
    } else {
        check(w, c,
              courier_frame(courier, f->request_id, m,
                            sink != NULL ? sink : f->copy, f->size));
    }
    sim_taken(&c->down);
}

static void handle(struct sim_worker *w, struct sim_conn *c,
                   struct sim_frame *f, const struct message *m)
{
    void *sink = c->worker_sink;

    if (sink == NULL && m->kind != MESSAGE_WELCOME) {
        check(w, c,
              courier_head(w->lanes[c->shard].courier, m, f->size, &sink));
        if (sink != NULL && (f->half || sim_chance(w->sim, 30))) {
            memcpy(sink, f->copy, f->size / 2);
            c->worker_sink = sink;
            return;
        }
    }
    if (f->half) {
        disconnect(w, c);
        return;
    }
    whole_frame(w, c, f, m, sink);
}

bool sim_worker_receive(struct sim_worker *w, struct sim_conn *c)
{
    struct message m;
    struct sim_frame *f;
    unsigned before;

    if (c->worker_end == SIM_END_CLOSED) {
        return false;
    }
    f = sim_arrived(w->sim, &c->down, &m);
    if (f == NULL) {
        return false;
    }
    sim_note(w->sim, "worker gets", c->id, w->rank, (uint64_t)m.kind);
    before = sim_heap_enter(w->process);
    handle(w, c, f, &m);
    sim_heap_enter(before);
    return true;
}

/* --- Life ----------------------------------------------------------------- */

void sim_worker_make(struct sim *sim, uint32_t rank)
{
    struct sim_worker *w = &sim->workers[rank];

    memset(w, 0, sizeof *w);
    w->sim = sim;
    w->rank = rank;
    w->process = 1 + PLAN_SHARDS_MAX + rank;
    for (uint32_t i = 0; i < sim->plan.slices; i++) {
        w->saved.value[i] = malloc(sim->plan.slice[i].size);
        KV_CHECK(w->saved.value[i] != NULL);
        plan_first_value(&sim->plan, i, false, w->saved.value[i]);
    }
}

void sim_worker_start(struct sim_worker *w)
{
    unsigned before = sim_heap_enter(w->process);
    struct sim_worker old = *w;

    memset(w, 0, sizeof *w);
    w->sim = old.sim;
    w->rank = old.rank;
    w->process = old.process;
    w->saved = old.saved;
    w->incarnation = old.incarnation + 1;
    w->token = plan_draw(&w->sim->random) | 1;
    bufpool_init(&w->buffers, (size_t)4 << 20);
    for (uint32_t i = 0; i < w->sim->plan.shards; i++) {
        struct sim_lane *lane = &w->lanes[i];
        struct courier_io io = {on_send,    on_part_done, on_slice_refused,
                                on_skipped, on_stalled,   on_norms,
                                lane};

        lane->worker = w;
        KV_CHECK(courier_init(&lane->courier, &io, &w->buffers) == KV_OK);
        courier_codec(lane->courier, w->sim->plan.codec[w->rank]);
    }
    sim_note(w->sim, "life", w->rank, w->incarnation, w->saved.step);
    sim_heap_enter(before);
}

void sim_worker_crash(struct sim_worker *w)
{
    w->sim->faults.crashes++;
    for (uint32_t i = 0; i < w->sim->plan.shards; i++) {
        if (w->lanes[i].conn != NULL) {
            sim_close_worker_end(w->sim, w->lanes[i].conn, true);
        }
    }
    sim_heap_kill(w->process);
    sim_worker_start(w);
}

void sim_worker_audit(struct sim_worker *w)
{
    unsigned before = sim_heap_enter(w->process);

    for (uint32_t i = 0; i < w->sim->plan.shards; i++) {
        if (courier_pending(w->lanes[i].courier) != 0) {
            sim_fail(w->sim, "rank %u has something pending at the end",
                     w->rank);
        }
        if (w->lanes[i].conn != NULL) {
            disconnect(w, w->lanes[i].conn);
        }
        courier_free(w->lanes[i].courier);
    }
    bufpool_fini(&w->buffers);
    if (sim_heap_live(w->process) != 0) {
        sim_fail(w->sim, "rank %u leaks %zu pieces of memory", w->rank,
                 sim_heap_live(w->process));
    }
    sim_heap_enter(before);
}

void sim_worker_free_saved(struct sim_worker *w)
{
    for (uint32_t i = 0; i < PLAN_SLICES_MAX; i++) {
        free(w->saved.value[i]);
        w->saved.value[i] = NULL;
    }
}
