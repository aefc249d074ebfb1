#include "proto/message_pack.h"

#include <string.h>

#include "common/base/check.h"

/* --- Control link -------------------------------------------------------- */

static void pack_welcome(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__welcome__init(&p->welcome);
    p->welcome.arena_id = m->welcome.arena_id;
    p->welcome.rank = m->welcome.rank;
    env->welcome = &p->welcome;
}

static void pack_error(const struct message *m, struct parts *p,
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

static void pack_ok(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    (void)m;
    kv__ok__init(&p->ok);
    env->ok = &p->ok;
}

static void pack_join(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__join__init(&p->join);
    p->join.policy = m->join.policy;
    env->join = &p->join;
}

static void pack_joined(const struct message *m, struct parts *p,
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

static void pack_enlist(const struct message *m, struct parts *p,
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

static void pack_key(const struct message *m, struct parts *p,
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

static void pack_placed(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__placed__init(&p->placed);
    p->placed.key_id = m->placed.key_id;
    p->placed.slice_count = m->placed.slice_count;
    p->placed.deletions = m->placed.deletions;
    p->placed.doomed = m->placed.doomed;
    env->placed = &p->placed;
}

static void pack_barrier(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__barrier__init(&p->barrier);
    p->barrier.generation = m->barrier.generation;
    env->barrier = &p->barrier;
}

static void pack_leave(const struct message *m, struct parts *p,
                       Kv__Envelope *env)
{
    (void)m;
    kv__leave__init(&p->leave);
    env->leave = &p->leave;
}

static void pack_dead(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__dead__init(&p->dead);
    p->dead.node = m->dead.node;
    p->dead.seconds = m->dead.seconds;
    env->dead = &p->dead;
}

static void pack_dead_count(const struct message *m, struct parts *p,
                            Kv__Envelope *env)
{
    kv__dead_count__init(&p->dead_count);
    p->dead_count.count = m->dead_count.count;
    env->dead_count = &p->dead_count;
}

static void pack_ping(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    (void)m;
    kv__ping__init(&p->ping);
    env->ping = &p->ping;
}

static void pack_list(const struct message *m, struct parts *p,
                      Kv__Envelope *env)
{
    kv__list__init(&p->list);
    p->list.from = m->list.from;
    env->list = &p->list;
}

static void pack_delete(const struct message *m, struct parts *p,
                        Kv__Envelope *env)
{
    kv__delete__init(&p->delete);
    p->delete.step = m->delete.step;
    p->delete.key_id = m->delete.key_id;
    pack_name(m->delete.name, &p->delete.name);
    p->delete.number = m->delete.number;
    env->delete_ = &p->delete;
}

static void pack_waiting(const struct message *m, struct parts *p,
                         Kv__Envelope *env)
{
    kv__waiting__init(&p->waiting);
    p->waiting.what = (char *)m->waiting.what;
    p->waiting.seconds = m->waiting.seconds;
    env->waiting = &p->waiting;
}

/* --- Public -------------------------------------------------------------- */

static const pack_fn packs[] = {
    [MESSAGE_WELCOME] = pack_welcome,
    [MESSAGE_ERROR] = pack_error,
    [MESSAGE_OK] = pack_ok,
    [MESSAGE_JOIN] = pack_join,
    [MESSAGE_JOINED] = pack_joined,
    [MESSAGE_ENLIST] = pack_enlist,
    [MESSAGE_KEY] = pack_key,
    [MESSAGE_PLACED] = pack_placed,
    [MESSAGE_BARRIER] = pack_barrier,
    [MESSAGE_LEAVE] = pack_leave,
    [MESSAGE_OPEN] = pack_open,
    [MESSAGE_OPENED] = pack_opened,
    [MESSAGE_PUSH] = pack_push,
    [MESSAGE_PULL] = pack_pull,
    [MESSAGE_ANSWER] = pack_answer,
    [MESSAGE_AGAIN] = pack_again,
    [MESSAGE_OPTIMIZER] = pack_optimizer,
    [MESSAGE_HYPER] = pack_hyper,
    [MESSAGE_STALLED] = pack_stalled,
    [MESSAGE_NORMS] = pack_norms,
    [MESSAGE_TOTALS] = pack_norms,
    [MESSAGE_MEMBER] = pack_member,
    [MESSAGE_ROUNDS] = pack_rounds,
    [MESSAGE_DEAD] = pack_dead,
    [MESSAGE_DEAD_COUNT] = pack_dead_count,
    [MESSAGE_PING] = pack_ping,
    [MESSAGE_SKIPPED] = pack_skipped,
    [MESSAGE_WAITING] = pack_waiting,
    [MESSAGE_LIST] = pack_list,
    [MESSAGE_DELETE] = pack_delete,
    [MESSAGE_DROP] = pack_drop,
    [MESSAGE_VERSION] = pack_version,
    [MESSAGE_VERSIONED] = pack_versioned,
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
    packs[m->kind](m, &parts, &env);
    return pack_envelope(&env, out, capacity, size);
}
