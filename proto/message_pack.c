#include "proto/message_pack.h"

#include <string.h>

#include "common/base/check.h"

/* What an envelope points to while it is being packed; on the stack. */
struct parts {
    union {
        Kv__Welcome welcome;
        Kv__Error error;
        Kv__Ok ok;
        Kv__Join join;
        Kv__Joined joined;
        Kv__Enlist enlist;
        Kv__Key key;
        Kv__Placed placed;
        Kv__Barrier barrier;
        Kv__Leave leave;
        Kv__Open open;
        Kv__Opened opened;
        Kv__Push push;
        Kv__Pull pull;
        Kv__Answer answer;
        Kv__Again again;
        Kv__Optimizer optimizer;
        Kv__Hyper hyper;
        Kv__Stalled stalled;
        Kv__Norms norms;
        Kv__Member member;
        Kv__Rounds rounds;
        Kv__Dead dead;
        Kv__DeadCount dead_count;
        Kv__Ping ping;
        Kv__Skipped skipped;
        Kv__List list;
        Kv__Delete delete;
        Kv__Drop drop;
        Kv__Version version;
        Kv__Versioned versioned;
    };
    uint32_t slot[KV_BATCH_RUNS_MAX], count[KV_BATCH_RUNS_MAX];
    uint32_t size[KV_BATCH_RUNS_MAX];
    uint64_t round[KV_BATCH_RUNS_MAX];
    protobuf_c_boolean connected[KV_MISSING_MAX];
};

typedef void (*fill_fn)(const struct message *m, struct parts *p,
                        Kv__Envelope *env);

/* --- Control link -------------------------------------------------------- */

static void fill_welcome(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__welcome__init(&p->welcome);
    p->welcome.arena_id = m->welcome.arena_id;
    p->welcome.rank = m->welcome.rank;
    env->welcome = &p->welcome;
}

static void fill_error(const struct message *m, struct parts *p,
                       Kv__Envelope *env)
{
    kv__error__init(&p->error);
    p->error.status = m->error.status;
    p->error.text = (char *)m->error.text;
    p->error.about_slot = m->error.about_slot;
    p->error.slot = m->error.slot;
    p->error.round = m->error.round;
    p->error.pull = m->error.pull;
    env->error = &p->error;
}

static void fill_ok(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    (void)m;
    kv__ok__init(&p->ok);
    env->ok = &p->ok;
}

static void fill_join(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__join__init(&p->join);
    p->join.policy = m->join.policy;
    env->join = &p->join;
}

static void fill_joined(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__joined__init(&p->joined);
    p->joined.rank = m->joined.rank;
    p->joined.workers = m->joined.workers;
    p->joined.n_address = m->joined.server_count;
    p->joined.address = (char **)m->joined.address;
    p->joined.n_shards = m->joined.server_count;
    p->joined.shards = m->joined.shards;
    p->joined.barrier = m->joined.barrier;
    p->joined.slice_bytes = m->joined.slice_bytes;
    env->joined = &p->joined;
}

static void fill_enlist(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__enlist__init(&p->enlist);
    p->enlist.index = m->enlist.index;
    p->enlist.address = (char *)m->enlist.address;
    p->enlist.shards = m->enlist.shards;
    p->enlist.state = m->enlist.state;
    p->enlist.used = m->enlist.used;
    env->enlist = &p->enlist;
}

void pack_name(const char *name, ProtobufCBinaryData *out)
{
    if (name != NULL) {
        out->data = (uint8_t *)name;
        out->len = strlen(name);
    }
}

static void fill_key(const struct message *m, struct parts *p,
                     Kv__Envelope *env)
{
    KV_CHECK(m->key.dims <= KV_DIMS_MAX);
    kv__key__init(&p->key);
    pack_name(m->key.name, &p->key.name);
    p->key.number = m->key.number;
    p->key.dtype = m->key.dtype;
    p->key.storage = m->key.storage;
    p->key.n_shape = m->key.dims;
    p->key.shape = (uint64_t *)m->key.shape;
    env->key = &p->key;
}

static void fill_placed(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__placed__init(&p->placed);
    p->placed.key_id = m->placed.key_id;
    p->placed.slice_count = m->placed.slice_count;
    p->placed.deletions = m->placed.deletions;
    p->placed.doomed = m->placed.doomed;
    env->placed = &p->placed;
}

static void fill_barrier(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__barrier__init(&p->barrier);
    p->barrier.generation = m->barrier.generation;
    env->barrier = &p->barrier;
}

static void fill_leave(const struct message *m, struct parts *p,
                       Kv__Envelope *env)
{
    (void)m;
    kv__leave__init(&p->leave);
    env->leave = &p->leave;
}

static void fill_dead(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__dead__init(&p->dead);
    p->dead.node = m->dead.node;
    p->dead.seconds = m->dead.seconds;
    env->dead = &p->dead;
}

static void fill_dead_count(const struct message *m, struct parts *p,
                            Kv__Envelope *env)
{
    kv__dead_count__init(&p->dead_count);
    p->dead_count.count = m->dead_count.count;
    env->dead_count = &p->dead_count;
}

static void fill_ping(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    (void)m;
    kv__ping__init(&p->ping);
    env->ping = &p->ping;
}

static void fill_list(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__list__init(&p->list);
    p->list.from = m->list.from;
    env->list = &p->list;
}

static void fill_delete(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__delete__init(&p->delete);
    p->delete.step = m->delete.step;
    p->delete.key_id = m->delete.key_id;
    pack_name(m->delete.name, &p->delete.name);
    p->delete.number = m->delete.number;
    env->delete_ = &p->delete;
}

/* --- Data link ----------------------------------------------------------- */

static void fill_open(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__open__init(&p->open);
    p->open.key_id = m->open.key_id;
    p->open.slice = m->open.slice;
    p->open.dtype = m->open.dtype;
    p->open.count = m->open.count;
    p->open.row_length = m->open.row_length;
    p->open.slices = m->open.slices;
    p->open.plain = m->open.plain;
    p->open.width = m->open.width;
    p->open.deletions = m->open.deletions;
    env->open = &p->open;
}

static void fill_opened(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__opened__init(&p->opened);
    p->opened.slot = m->opened.slot;
    p->opened.round = m->opened.round;
    env->opened = &p->opened;
}

static void columns_of(const struct message_batch *batch, struct parts *p)
{
    KV_CHECK(batch->run_count <= KV_BATCH_RUNS_MAX);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        p->slot[i] = batch->runs[i].slot;
        p->count[i] = batch->runs[i].count;
        p->round[i] = batch->runs[i].round;
        p->size[i] = batch->runs[i].size;
    }
}

static void fill_push(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    size_t n = m->batch.run_count;

    columns_of(&m->batch, p);
    kv__push__init(&p->push);
    p->push.n_slot = p->push.n_count = p->push.n_round = p->push.n_size = n;
    p->push.slot = p->slot;
    p->push.count = p->count;
    p->push.round = p->round;
    p->push.size = p->size;
    p->push.codec = m->batch.codec;
    p->push.rows = m->batch.rows;
    p->push.reset = m->batch.reset;
    env->push = &p->push;
}

static void fill_pull(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    size_t n = m->batch.run_count;

    columns_of(&m->batch, p);
    kv__pull__init(&p->pull);
    p->pull.n_slot = p->pull.n_count = p->pull.n_round = n;
    p->pull.slot = p->slot;
    p->pull.count = p->count;
    p->pull.round = p->round;
    p->pull.n_size = m->batch.rows ? n : 0;
    p->pull.size = p->size;
    env->pull = &p->pull;
}

static void fill_answer(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    size_t n = m->batch.run_count;

    columns_of(&m->batch, p);
    kv__answer__init(&p->answer);
    p->answer.n_slot = p->answer.n_count = n;
    p->answer.n_round = p->answer.n_size = n;
    p->answer.slot = p->slot;
    p->answer.count = p->count;
    p->answer.round = p->round;
    p->answer.size = p->size;
    env->answer = &p->answer;
}

static void fill_again(const struct message *m, struct parts *p,
                       Kv__Envelope *env)
{
    size_t n = m->batch.run_count;

    columns_of(&m->batch, p);
    kv__again__init(&p->again);
    p->again.n_slot = p->again.n_count = p->again.n_round = n;
    p->again.slot = p->slot;
    p->again.count = p->count;
    p->again.round = p->round;
    env->again = &p->again;
}

static void fill_optimizer(const struct message *m, struct parts *p,
                           Kv__Envelope *env)
{
    kv__optimizer__init(&p->optimizer);
    p->optimizer.name = (char *)m->optimizer.name;
    p->optimizer.params = (char *)m->optimizer.params;
    p->optimizer.check = m->optimizer.check;
    env->optimizer = &p->optimizer;
}

static void fill_hyper(const struct message *m, struct parts *p,
                       Kv__Envelope *env)
{
    kv__hyper__init(&p->hyper);
    p->hyper.param = (char *)m->hyper.param;
    p->hyper.value = m->hyper.value;
    p->hyper.round = m->hyper.round;
    p->hyper.one = m->hyper.one;
    p->hyper.key_id = m->hyper.key_id;
    p->hyper.slice = m->hyper.slice;
    env->hyper = &p->hyper;
}

static void fill_stalled(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    KV_CHECK(m->stalled.listed <= KV_MISSING_MAX);
    kv__stalled__init(&p->stalled);
    for (uint32_t i = 0; i < m->stalled.listed; i++) {
        p->connected[i] = m->stalled.connected[i];
    }
    p->stalled.slot = m->stalled.slot;
    p->stalled.round = m->stalled.round;
    p->stalled.seconds = m->stalled.seconds;
    p->stalled.n_missing = m->stalled.listed;
    p->stalled.missing = (uint32_t *)m->stalled.missing;
    p->stalled.n_connected = m->stalled.listed;
    p->stalled.connected = p->connected;
    p->stalled.missing_count = m->stalled.missing_count;
    p->stalled.left = m->stalled.left;
    env->stalled = &p->stalled;
}

static void fill_norms(const struct message *m, struct parts *p,
                       Kv__Envelope *env)
{
    kv__norms__init(&p->norms);
    p->norms.slot = m->norms.slot;
    p->norms.round = m->norms.round;
    p->norms.pass = m->norms.pass;
    p->norms.n_sum = KV_NORMS_MAX;
    p->norms.sum = (double *)m->norms.sum;
    env->norms = &p->norms; /* Or totals: the same place. */
}

static void fill_skipped(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__skipped__init(&p->skipped);
    p->skipped.slot = m->skipped.slot;
    p->skipped.round = m->skipped.round;
    p->skipped.blames = m->skipped.blames;
    p->skipped.rank = m->skipped.rank;
    p->skipped.fails = m->skipped.fails;
    env->skipped = &p->skipped;
}

static void fill_member(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__member__init(&p->member);
    p->member.in = m->member.in;
    env->member = &p->member;
}

static void fill_rounds(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    size_t n = m->batch.run_count;

    columns_of(&m->batch, p);
    kv__rounds__init(&p->rounds);
    p->rounds.n_slot = p->rounds.n_count = p->rounds.n_round = n;
    p->rounds.slot = p->slot;
    p->rounds.count = p->count;
    p->rounds.round = p->round;
    env->rounds = &p->rounds;
}

static void fill_drop(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__drop__init(&p->drop);
    p->drop.key_id = m->drop.key_id;
    p->drop.slice = m->drop.slice;
    p->drop.deletion = m->drop.deletion;
    env->drop = &p->drop;
}

static void fill_version(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__version__init(&p->version);
    p->version.key_id = m->version.key_id;
    p->version.slice = m->version.slice;
    env->version = &p->version;
}

static void fill_versioned(const struct message *m, struct parts *p,
                           Kv__Envelope *env)
{
    kv__versioned__init(&p->versioned);
    p->versioned.rounds = m->versioned.rounds;
    env->versioned = &p->versioned;
}

/* --- Public -------------------------------------------------------------- */

static const fill_fn fills[] = {
    [MESSAGE_WELCOME] = fill_welcome,
    [MESSAGE_ERROR] = fill_error,
    [MESSAGE_OK] = fill_ok,
    [MESSAGE_JOIN] = fill_join,
    [MESSAGE_JOINED] = fill_joined,
    [MESSAGE_ENLIST] = fill_enlist,
    [MESSAGE_KEY] = fill_key,
    [MESSAGE_PLACED] = fill_placed,
    [MESSAGE_BARRIER] = fill_barrier,
    [MESSAGE_LEAVE] = fill_leave,
    [MESSAGE_OPEN] = fill_open,
    [MESSAGE_OPENED] = fill_opened,
    [MESSAGE_PUSH] = fill_push,
    [MESSAGE_PULL] = fill_pull,
    [MESSAGE_ANSWER] = fill_answer,
    [MESSAGE_AGAIN] = fill_again,
    [MESSAGE_OPTIMIZER] = fill_optimizer,
    [MESSAGE_HYPER] = fill_hyper,
    [MESSAGE_STALLED] = fill_stalled,
    [MESSAGE_NORMS] = fill_norms,
    [MESSAGE_TOTALS] = fill_norms,
    [MESSAGE_MEMBER] = fill_member,
    [MESSAGE_ROUNDS] = fill_rounds,
    [MESSAGE_DEAD] = fill_dead,
    [MESSAGE_DEAD_COUNT] = fill_dead_count,
    [MESSAGE_PING] = fill_ping,
    [MESSAGE_SKIPPED] = fill_skipped,
    [MESSAGE_LIST] = fill_list,
    [MESSAGE_DELETE] = fill_delete,
    [MESSAGE_DROP] = fill_drop,
    [MESSAGE_VERSION] = fill_version,
    [MESSAGE_VERSIONED] = fill_versioned,
};

enum kv_status pack_envelope(const Kv__Envelope *env, void *out,
                             size_t capacity, size_t *size)
{
    size_t needed = kv__envelope__get_packed_size(env);

    if (needed > capacity || needed > KV_META_MAX) {
        return KV_ETOOBIG;
    }
    KV_CHECK(kv__envelope__pack(env, out) == needed);
    *size = needed;
    return KV_OK;
}

enum kv_status message_pack(const struct message *m, void *out, size_t capacity,
                            size_t *size)
{
    Kv__Envelope env;
    struct parts parts;

    KV_CHECK(m->kind > MESSAGE_NONE && m->kind < MESSAGE_KINDS);
    if (m->kind == MESSAGE_LISTED) {
        return pack_listed(m, out, capacity, size);
    }
    kv__envelope__init(&env);
    env.body_case = (Kv__Envelope__BodyCase)m->kind;
    fills[m->kind](m, &parts, &env);
    return pack_envelope(&env, out, capacity, size);
}
