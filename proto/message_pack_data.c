#include "common/base/check.h"
#include "proto/message_pack.h"

void pack_open(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_opened(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__opened__init(&p->opened);
    p->opened.slot = m->opened.slot;
    p->opened.round = m->opened.round;
    p->opened.reset = m->opened.reset;
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

void pack_push(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_pull(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_answer(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_again(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_optimizer(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__optimizer__init(&p->optimizer);
    p->optimizer.name = (char *)m->optimizer.name;
    p->optimizer.params = (char *)m->optimizer.params;
    p->optimizer.check = m->optimizer.check;
    env->optimizer = &p->optimizer;
}

void pack_hyper(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_stalled(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_norms(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__norms__init(&p->norms);
    p->norms.slot = m->norms.slot;
    p->norms.round = m->norms.round;
    p->norms.pass = m->norms.pass;
    p->norms.n_sum = KV_NORMS_MAX;
    p->norms.sum = (double *)m->norms.sum;
    env->norms = &p->norms; /* Or totals: the same place. */
}

void pack_skipped(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__skipped__init(&p->skipped);
    p->skipped.slot = m->skipped.slot;
    p->skipped.round = m->skipped.round;
    p->skipped.blames = m->skipped.blames;
    p->skipped.rank = m->skipped.rank;
    p->skipped.fails = m->skipped.fails;
    env->skipped = &p->skipped;
}

void pack_member(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__member__init(&p->member);
    p->member.in = m->member.in;
    env->member = &p->member;
}

void pack_rounds(const struct message *m, struct parts *p, Kv__Envelope *env)
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

void pack_drop(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__drop__init(&p->drop);
    p->drop.key_id = m->drop.key_id;
    p->drop.slice = m->drop.slice;
    p->drop.deletion = m->drop.deletion;
    env->drop = &p->drop;
}

void pack_version(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__version__init(&p->version);
    p->version.key_id = m->version.key_id;
    p->version.slice = m->version.slice;
    env->version = &p->version;
}

void pack_versioned(const struct message *m, struct parts *p, Kv__Envelope *env)
{
    kv__versioned__init(&p->versioned);
    p->versioned.rounds = m->versioned.rounds;
    env->versioned = &p->versioned;
}
