#include "proto/message.h"

#include <string.h>

#include "proto/message_take.h"

/* --- Values -------------------------------------------------------------- */

const char take_out_of_scratch[] = "metadata needs too much memory";

bool take_printable(const void *data, size_t size)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < size; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

bool take_text_ok(const char *text, size_t min, size_t max)
{
    size_t size = strlen(text);

    return size >= min && size <= max && take_printable(text, size);
}

/* --- Both links ---------------------------------------------------------- */

static const char *take_welcome(struct scratch *scratch,
                                const Kv__Envelope *env, size_t payload_size,
                                struct message *out)
{
    (void)scratch;
    (void)payload_size;
    if (env->welcome->rank >= KV_RANKS_MAX) {
        return "welcome with a rank out of range";
    }
    out->welcome.arena_id = env->welcome->arena_id;
    out->welcome.rank = env->welcome->rank;
    return NULL;
}

static const char *take_error(struct scratch *scratch, const Kv__Envelope *env,
                              size_t payload_size, struct message *out)
{
    const Kv__Error *pb = env->error;

    (void)scratch;
    (void)payload_size;
    if (pb->status == KV_OK || !kv_status_known(pb->status)) {
        return "error with an unknown status";
    }
    if (!take_text_ok(pb->text, 0, KV_TEXT_MAX)) {
        return "error with a malformed text";
    }
    if (pb->slot >= KV_SLOTS_MAX) {
        return "error about a slot out of range";
    }
    out->error.status = (enum kv_status)pb->status;
    out->error.text = pb->text;
    out->error.about_slot = pb->about_slot != 0;
    out->error.slot = pb->slot;
    out->error.round = pb->round;
    out->error.pull = pb->pull != 0;
    return NULL;
}

/* Ok, Leave and Ping. */
static const char *take_nothing(struct scratch *scratch,
                                const Kv__Envelope *env, size_t payload_size,
                                struct message *out)
{
    (void)scratch;
    (void)env;
    (void)payload_size;
    (void)out;
    return NULL;
}

/* --- Control link -------------------------------------------------------- */

static const char *take_join(struct scratch *scratch, const Kv__Envelope *env,
                             size_t payload_size, struct message *out)
{
    uint32_t policy = env->join->policy;

    (void)scratch;
    (void)payload_size;
    if (policy == 0) {
        return "join without a policy";
    }
    out->join.policy = policy;
    return NULL;
}

static const char *take_servers(const Kv__Joined *pb, struct message *out)
{
    if (pb->n_address < 1 || pb->n_address > KV_SERVERS_MAX ||
        pb->n_shards != pb->n_address) {
        return "joined with a malformed list of servers";
    }
    for (size_t i = 0; i < pb->n_address; i++) {
        if (!take_text_ok(pb->address[i], 1, KV_ADDRESS_MAX) ||
            pb->shards[i] < 1 || pb->shards[i] > KV_SHARDS_MAX) {
            return "joined with a malformed server";
        }
    }
    out->joined.server_count = (uint32_t)pb->n_address;
    out->joined.address = (const char **)pb->address;
    out->joined.shards = pb->shards;
    return NULL;
}

static const char *take_joined(struct scratch *scratch, const Kv__Envelope *env,
                               size_t payload_size, struct message *out)
{
    const Kv__Joined *pb = env->joined;

    (void)scratch;
    (void)payload_size;
    if (pb->workers > KV_RANKS_MAX || pb->rank >= pb->workers) {
        return "joined with a rank out of range";
    }
    if (pb->slice_bytes < 1 || pb->slice_bytes > KV_SLICE_BYTES_MAX) {
        return "joined with a slice size out of range";
    }
    out->joined.rank = pb->rank;
    out->joined.workers = pb->workers;
    out->joined.barrier = pb->barrier;
    out->joined.slice_bytes = pb->slice_bytes;
    return take_servers(pb, out);
}

static const char *take_enlist(struct scratch *scratch, const Kv__Envelope *env,
                               size_t payload_size, struct message *out)
{
    const Kv__Enlist *pb = env->enlist;

    (void)scratch;
    (void)payload_size;
    if (pb->index >= KV_SERVERS_MAX || pb->shards < 1 ||
        pb->shards > KV_SHARDS_MAX) {
        return "enlist with an index or shards out of range";
    }
    if (!take_text_ok(pb->address, 1, KV_ADDRESS_MAX)) {
        return "enlist with a malformed address";
    }
    if (pb->state == 0) {
        return "enlist without a state";
    }
    out->enlist.index = pb->index;
    out->enlist.shards = pb->shards;
    out->enlist.address = pb->address;
    out->enlist.state = pb->state;
    out->enlist.used = pb->used;
    return NULL;
}

static const char *take_placed(struct scratch *scratch, const Kv__Envelope *env,
                               size_t payload_size, struct message *out)
{
    const Kv__Placed *pb = env->placed;

    (void)scratch;
    if (payload_size == 0 || payload_size % 4 != 0) {
        return "placed without a shard for each slice";
    }
    if (pb->slice_count < 1 || pb->slice_count > KV_SLICE_BYTES_MAX) {
        return "placed with a slice size out of range";
    }
    out->placed.key_id = pb->key_id;
    out->placed.slice_count = pb->slice_count;
    out->placed.deletions = pb->deletions;
    out->placed.doomed = pb->doomed != 0;
    return NULL;
}

static const char *take_barrier(struct scratch *scratch,
                                const Kv__Envelope *env, size_t payload_size,
                                struct message *out)
{
    (void)scratch;
    (void)payload_size;
    out->barrier.generation = env->barrier->generation;
    return NULL;
}

static const char *take_dead(struct scratch *scratch, const Kv__Envelope *env,
                             size_t payload_size, struct message *out)
{
    (void)scratch;
    (void)payload_size;
    if (env->dead->node < 1 || env->dead->node >= KV_NODE_MAX) {
        return "dead with a node out of range";
    }
    out->dead.node = env->dead->node;
    out->dead.seconds = env->dead->seconds;
    return NULL;
}

static const char *take_waiting(struct scratch *scratch,
                                const Kv__Envelope *env, size_t payload_size,
                                struct message *out)
{
    (void)scratch;
    (void)payload_size;
    if (!take_text_ok(env->waiting->what, 1, KV_TEXT_MAX)) {
        return "a notice of what is waited for with a malformed text";
    }
    out->waiting.what = env->waiting->what;
    out->waiting.seconds = env->waiting->seconds;
    return NULL;
}

static const char *take_dead_count(struct scratch *scratch,
                                   const Kv__Envelope *env, size_t payload_size,
                                   struct message *out)
{
    (void)scratch;
    (void)payload_size;
    if (env->dead_count->count > KV_RANKS_MAX + KV_SERVERS_MAX) {
        return "dead count out of range";
    }
    out->dead_count.count = env->dead_count->count;
    return NULL;
}

/* --- Public -------------------------------------------------------------- */

enum { WITHOUT_PAYLOAD, WITH_PAYLOAD };

static const struct {
    take_fn take;
    int payload;
} kinds[] = {
    [MESSAGE_WELCOME] = {take_welcome, WITHOUT_PAYLOAD},
    [MESSAGE_ERROR] = {take_error, WITHOUT_PAYLOAD},
    [MESSAGE_OK] = {take_nothing, WITHOUT_PAYLOAD},
    [MESSAGE_JOIN] = {take_join, WITHOUT_PAYLOAD},
    [MESSAGE_JOINED] = {take_joined, WITHOUT_PAYLOAD},
    [MESSAGE_ENLIST] = {take_enlist, WITHOUT_PAYLOAD},
    [MESSAGE_KEY] = {take_key, WITHOUT_PAYLOAD},
    [MESSAGE_PLACED] = {take_placed, WITH_PAYLOAD},
    [MESSAGE_BARRIER] = {take_barrier, WITHOUT_PAYLOAD},
    [MESSAGE_LEAVE] = {take_nothing, WITHOUT_PAYLOAD},
    [MESSAGE_OPEN] = {take_open, WITH_PAYLOAD},
    [MESSAGE_OPENED] = {take_opened, WITHOUT_PAYLOAD},
    [MESSAGE_PUSH] = {take_push, WITH_PAYLOAD},
    [MESSAGE_PULL] = {take_pull, WITH_PAYLOAD},
    [MESSAGE_ANSWER] = {take_answer, WITH_PAYLOAD},
    [MESSAGE_AGAIN] = {take_again, WITHOUT_PAYLOAD},
    [MESSAGE_OPTIMIZER] = {take_optimizer, WITHOUT_PAYLOAD},
    [MESSAGE_HYPER] = {take_hyper, WITHOUT_PAYLOAD},
    [MESSAGE_STALLED] = {take_stalled, WITHOUT_PAYLOAD},
    [MESSAGE_NORMS] = {take_norms, WITHOUT_PAYLOAD},
    [MESSAGE_TOTALS] = {take_norms, WITHOUT_PAYLOAD},
    [MESSAGE_MEMBER] = {take_member, WITHOUT_PAYLOAD},
    [MESSAGE_ROUNDS] = {take_rounds, WITHOUT_PAYLOAD},
    [MESSAGE_DEAD] = {take_dead, WITHOUT_PAYLOAD},
    [MESSAGE_DEAD_COUNT] = {take_dead_count, WITHOUT_PAYLOAD},
    [MESSAGE_WAITING] = {take_waiting, WITHOUT_PAYLOAD},
    [MESSAGE_PING] = {take_nothing, WITHOUT_PAYLOAD},
    [MESSAGE_SKIPPED] = {take_skipped, WITHOUT_PAYLOAD},
    [MESSAGE_LIST] = {take_list, WITHOUT_PAYLOAD},
    [MESSAGE_LISTED] = {take_listed, WITHOUT_PAYLOAD},
    [MESSAGE_DELETE] = {take_delete, WITHOUT_PAYLOAD},
    [MESSAGE_DROP] = {take_drop, WITHOUT_PAYLOAD},
    [MESSAGE_VERSION] = {take_version, WITHOUT_PAYLOAD},
    [MESSAGE_VERSIONED] = {take_versioned, WITHOUT_PAYLOAD},
};

static void *pb_alloc(void *scratch, size_t size)
{
    return scratch_alloc(scratch, size);
}

static void pb_free(void *scratch, void *p)
{
    (void)scratch;
    (void)p; /* scratch_reset() frees everything. */
}

static const char *unpack(struct scratch *scratch, const void *meta,
                          size_t meta_size, size_t payload_size,
                          struct message *out)
{
    ProtobufCAllocator allocator = {pb_alloc, pb_free, scratch};
    const Kv__Envelope *env;

    if (meta_size > KV_META_MAX) {
        return "metadata exceeds its limit";
    }
    env = kv__envelope__unpack(&allocator, meta_size, meta);
    if (env == NULL) {
        return "metadata cannot be parsed";
    }
    if ((unsigned)env->body_case >= MESSAGE_KINDS ||
        kinds[env->body_case].take == NULL) {
        return "message of an unknown kind";
    }
    out->kind = (enum message_kind)env->body_case;
    if (payload_size != 0 && kinds[out->kind].payload == WITHOUT_PAYLOAD) {
        return "payload behind a message that has none";
    }
    return kinds[out->kind].take(scratch, env, payload_size, out);
}

enum kv_status message_unpack(struct scratch *scratch, const void *meta,
                              size_t meta_size, size_t payload_size,
                              struct message *out, const char **reason)
{
    const char *wrong = unpack(scratch, meta, meta_size, payload_size, out);

    if (wrong == NULL) {
        return KV_OK;
    }
    if (reason != NULL) {
        *reason = wrong;
    }
    return KV_EPROTO;
}
