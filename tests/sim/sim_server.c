#include "tests/sim/sim_server.h"

#include <string.h>

#include "tests/sim/sim.h"
#include "tests/sim/sim_audit.h"
#include "tests/sim/sim_crash.h"
#include "tests/sim/sim_heap.h"

#define CRASH_POINTS 12 /* The last one to aim at in a call. */

/* What a call works on. */
struct job {
    struct sim_server *s;
    struct sim_conn *c;
    struct sim_frame *f;
    const struct message *m;
};

bool sim_server_run(struct sim_server *s, void (*call)(void *arg), void *arg)
{
    struct sim *sim = s->sim;
    unsigned before = sim_heap_enter(s->process);
    bool dies =
        !sim->calm && sim_below(sim, 100000) < sim->plan.weather.kill * 4;
    uint32_t at = dies ? 1 + sim_below(sim, CRASH_POINTS) : 0;
    bool lives = sim_crash_run(call, arg, at);

    sim_heap_enter(before);
    if (!lives) {
        sim_note(sim, "crash point", s->index, at, 0);
        sim_server_kill(s);
    }
    return lives;
}

/* --- Sessions ------------------------------------------------------------- */

static void end_session(struct sim_server *s, struct sim_conn *c)
{
    if (c->server_end == SIM_END_UP) {
        session_fini(&c->session);
        s->session[c->rank] = NULL;
    }
    sim_close_server_end(s->sim, c, false);
}

static void on_send(void *ctx, const struct message *m, uint64_t request_id,
                    const void *payload, size_t size, void *block,
                    struct buffer *buffer)
{
    struct sim_conn *c = ctx;
    struct sim_server *s = &sim_current->servers[c->shard];

    sim_crash_point();
    sim_audit_answer(s, c->rank, m);
    c->full = c->full || sim_chance(sim_current, 10);
    sim_put(sim_current, &c->down, m, request_id, payload, size, block, buffer);
}

static void begin_session(struct sim_server *s, struct sim_conn *c)
{
    struct message m = {.kind = MESSAGE_WELCOME};

    if (s->session[c->rank] != NULL) {
        end_session(s, s->session[c->rank]);
    }
    c->io.send = on_send;
    c->io.ctx = c;
    session_init(&c->session, s->shard, s->arena, &s->buffers, c->rank, &c->io);
    c->server_end = SIM_END_UP;
    s->session[c->rank] = c;
    m.welcome.arena_id = arena_id(s->arena);
    m.welcome.rank = c->rank;
    sim_put(s->sim, &c->down, &m, 0, NULL, 0, NULL, NULL);
    c->down.kept.last->hello = true;
}

/* The fence has no say when nobody is expected at the other end: an intruder
 * that it would let in is one that does not come. */
static void on_hello(void *arg)
{
    struct job *job = arg;
    struct sim_server *s = job->s;
    struct sim_conn *c = job->c;
    uint64_t known = s->incarnation[c->rank], token = s->token[c->rank];
    bool right = c->incarnation > known ||
                 (c->incarnation == known && (token == 0 || token == c->token));
    char error[256];

    if (right && c->intruder) {
        sim_close_server_end(s->sim, c, false);
        return;
    }
    if (shard_fence(s->shard, c->rank, c->incarnation, c->token) !=
        (right ? KV_OK : KV_ESTALE)) {
        sim_fail(s->sim, "the fence of shard %u is wrong about rank %u life %u",
                 s->index, c->rank, (unsigned)c->incarnation);
    }
    if (!right) {
        s->sim->faults.stale++;
        sim_close_server_end(s->sim, c, false);
        return;
    }
    s->incarnation[c->rank] = c->incarnation;
    s->token[c->rank] = c->token;
    if (shard_policy(s->shard,
                     s->sim->plan.async ? KV_POLICY_ASYNC : KV_POLICY_SYNC,
                     c->rank, error, sizeof error) != KV_OK) {
        sim_fail(s->sim, "%s", error);
    }
    begin_session(s, c);
}

/* --- Events of the shard -------------------------------------------------- */

static struct sim_conn *session_of(struct sim_server *s, uint32_t rank)
{
    if (s->session[rank] == NULL) {
        sim_fail(s->sim, "shard %u answers rank %u, which has no session",
                 s->index, rank);
    }
    return s->session[rank];
}

static void on_answer(void *ctx, const struct shard_answer *a)
{
    session_answer(&session_of(ctx, a->rank)->session, a);
}

static void on_opened(void *ctx, uint32_t rank, uint64_t request_id,
                      enum kv_status status, const char *text, uint32_t slot,
                      uint64_t round, bool reset)
{
    session_opened(&session_of(ctx, rank)->session, request_id, status, text,
                   slot, round, reset);
}

static void on_norms(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                     uint32_t pass, const double *sums)
{
    session_norms(&session_of(ctx, rank)->session, slot, round, pass, sums);
}

static void on_released(void *ctx, uint32_t rank)
{
    struct sim_server *s = ctx;

    if (s->session[rank] != NULL) {
        s->session[rank]->blocked = false;
    }
}

static bool is_full(void *ctx, uint32_t rank)
{
    bool full = session_of(ctx, rank)->full;

    sim_current->faults.ripe += full;
    return full;
}

static void on_skipped(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                       const struct shard_skip *skip)
{
    session_skipped(&session_of(ctx, rank)->session, slot, round, skip);
}

void sim_server_events(struct sim_server *s, struct shard_events *out)
{
    out->answer = on_answer;
    out->opened = on_opened;
    out->skipped = on_skipped;
    out->norms = on_norms;
    out->released = on_released;
    out->full = is_full;
    out->ctx = s;
}

/* --- Frames --------------------------------------------------------------- */

static void check(struct sim_server *s, struct sim_conn *c,
                  enum kv_status status)
{
    if (status != KV_OK) {
        sim_fail(s->sim, "shard %u calls rank %u a liar: %s", s->index, c->rank,
                 c->session.text);
    }
}

static void whole_frame(struct sim_server *s, struct sim_conn *c,
                        struct sim_frame *f, const struct message *m,
                        void *sink)
{
    if (sink != NULL) {
        memcpy(sink, f->copy, f->size);
    }
    c->server_sink = NULL;
    check(s, c,
          session_frame(&c->session, f->request_id, m,
                        sink != NULL ? sink : f->copy, f->size,
                        s->sim->now_ms));
    sim_taken(&c->up);
}

static void on_frame(void *arg)
{
    struct job *job = arg;
    struct sim_conn *c = job->c;
    struct sim_frame *f = job->f;
    void *sink = c->server_sink;
    enum kv_status status;

    if (sink == NULL) {
        status = session_head(&c->session, job->m, f->size, &sink);
        if (status == KV_EAGAIN) {
            c->blocked = true;
            job->s->sim->faults.waits++;
            return;
        }
        check(job->s, c, status);
        if (sink != NULL && (f->half || sim_chance(job->s->sim, 30))) {
            memcpy(sink, f->copy, f->size / 2);
            c->server_sink = sink; /* The rest comes later, or never. */
            return;
        }
    }
    if (f->half) {
        end_session(job->s, c);
        return;
    }
    whole_frame(job->s, c, f, job->m, sink);
}

bool sim_server_receive(struct sim_server *s, struct sim_conn *c)
{
    struct message m;
    struct job job = {.s = s, .c = c, .m = &m};

    if (s->down || c->server_end == SIM_END_CLOSED || c->blocked) {
        return false;
    }
    job.f = sim_arrived(s->sim, &c->up, &m);
    if (job.f == NULL) {
        return false;
    }
    sim_note(s->sim, "server gets", c->id, s->index,
             job.f->hello ? 0 : (uint64_t)m.kind);
    if (!job.f->hello) {
        (void)sim_server_run(s, on_frame, &job);
    } else if (sim_server_run(s, on_hello, &job) &&
               c->server_end == SIM_END_UP) {
        sim_taken(&c->up);
    }
    return true;
}

static void do_end(void *arg)
{
    struct job *job = arg;

    end_session(job->s, job->c);
}

bool sim_server_notice(struct sim_server *s, struct sim_conn *c)
{
    struct job job = {.s = s, .c = c};

    if (s->down || c->server_end == SIM_END_CLOSED || !c->cut ||
        (c->up.wire.first != NULL && !c->blocked && !sim_chance(s->sim, 10))) {
        return false;
    }
    sim_note(s->sim, "server notices", c->id, s->index, 0);
    (void)sim_server_run(s, do_end, &job);
    return true;
}

static void do_flush(void *arg)
{
    struct job *job = arg;

    for (uint32_t rank = 0; rank < job->s->sim->plan.workers; rank++) {
        struct sim_conn *c = job->s->session[rank];

        if (c != NULL && c->full) {
            c->full = false;
            shard_drained(job->s->shard, rank);
        }
        if (c != NULL && session_dirty(&c->session)) {
            session_flush(&c->session);
        }
    }
}

static bool anything_to_flush(const struct sim_server *s)
{
    for (uint32_t rank = 0; rank < s->sim->plan.workers; rank++) {
        const struct sim_conn *c = s->session[rank];

        if (c != NULL && (c->full || session_dirty(&c->session))) {
            return true;
        }
    }
    return false;
}

bool sim_server_flush(struct sim_server *s)
{
    struct job job = {.s = s};

    if (s->down || !anything_to_flush(s)) {
        return false;
    }
    (void)sim_server_run(s, do_flush, &job);
    return true;
}

void sim_server_let_go(struct sim_server *s, struct buffer *buffer, void *block)
{
    unsigned before = sim_heap_enter(s->process);

    bufpool_put(&s->buffers, buffer);
    if (block != NULL) {
        arena_release(s->arena, block);
    }
    sim_heap_enter(before);
}
