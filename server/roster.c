#include "server/roster.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/policy.h"

#define NAMED_MAX 8 /* In a sentence; then "and 5 more". */

/* Of Joined in a frame: tags, lengths and numbers, at their largest. */
#define JOINED_OTHER_BYTES 64
#define JOINED_EACH_BYTES 4 /* And the address. */

/* --- Making and freeing -------------------------------------------------- */

enum kv_status roster_init(struct roster *r, uint32_t workers, uint32_t servers)
{
    memset(r, 0, sizeof *r);
    KV_CHECK(workers > 0 && servers > 0);
    r->workers = workers;
    r->servers = servers;
    r->server = mem_zalloc(servers, sizeof *r->server);
    r->rank = mem_zalloc(workers, sizeof *r->rank);
    if (r->server == NULL || r->rank == NULL) {
        roster_fini(r);
        return KV_ENOMEM;
    }
    return KV_OK;
}

void roster_fini(struct roster *r)
{
    mem_free(r->server);
    mem_free(r->rank);
    r->server = NULL;
    r->rank = NULL;
}

/* --- Lists in sentences -------------------------------------------------- */

struct enumeration {
    char *out;
    size_t size, used;
    uint32_t total, named;
};

static void append(struct enumeration *e, const char *text)
{
    int n = snprintf(e->out + e->used, e->size - e->used, "%s", text);

    e->used += (size_t)n;
    if (e->used >= e->size) {
        e->used = e->size - 1;
    }
}

static void start(struct enumeration *e, const char *word, uint32_t total,
                  char *out, size_t size)
{
    *e = (struct enumeration){.out = out, .size = size, .total = total};
    out[0] = '\0';
    append(e, word);
    append(e, total == 1 ? " " : "s ");
}

static void name(struct enumeration *e, uint32_t number, const char *note)
{
    bool last = e->named + 1 == e->total;
    char text[64];

    if (e->named < NAMED_MAX) {
        snprintf(text, sizeof text, "%s%" PRIu32 "%s",
                 e->named == 0 ? ""
                 : last        ? " and "
                               : ", ",
                 number, note);
        append(e, text);
    } else if (e->named == NAMED_MAX) {
        snprintf(text, sizeof text, " and %" PRIu32 " more",
                 e->total - NAMED_MAX);
        append(e, text);
    }
    e->named++;
}

/* --- Servers ------------------------------------------------------------- */

void roster_restore_server(struct roster *r, const struct roster_offer *o)
{
    struct roster_server *s = &r->server[o->index];

    KV_CHECK(o->index < r->servers && o->shards > 0);
    r->enlisted += s->shards == 0;
    s->shards = o->shards;
    s->state = o->state;
    snprintf(s->address, sizeof s->address, "%s", o->address);
}

/* Is it what the root remembers? */
static enum kv_status check_state(const struct roster *r,
                                  const struct roster_offer *o, bool keys,
                                  char *error, size_t error_size)
{
    const struct roster_server *s = &r->server[o->index];
    bool known = s->shards != 0;

    if (known && s->shards != o->shards) {
        snprintf(error, error_size,
                 "server %" PRIu32 " has %" PRIu32
                 " shards, but keys have been placed on its %" PRIu32,
                 o->index, o->shards, s->shards);
        return KV_EMISMATCH;
    }
    if (known && s->state == o->state) {
        return KV_OK;
    }
    if (!known && o->used) {
        snprintf(error, error_size,
                 "server %" PRIu32 " has state that this root does not know: "
                 "restore the root's, or remove that of all servers",
                 o->index);
        return KV_EDATALOSS;
    }
    if (known && (keys || o->used)) {
        snprintf(error, error_size,
                 "server %" PRIu32 " has come back without its state: restore "
                 "it, or remove that of all servers",
                 o->index);
        return KV_EDATALOSS;
    }
    return KV_OK;
}

/* Joined names all of them. */
static enum kv_status check_room(const struct roster *r,
                                 const struct roster_offer *o, char *error,
                                 size_t error_size)
{
    size_t size = JOINED_OTHER_BYTES;

    for (uint32_t i = 0; i < r->servers; i++) {
        size += JOINED_EACH_BYTES +
                strlen(i == o->index ? o->address : r->server[i].address);
    }
    if (size > KV_META_MAX) {
        snprintf(error, error_size,
                 "server %" PRIu32 " at %s: the addresses of %" PRIu32
                 " servers come to %zu bytes, at most %d go into a message "
                 "(--advertise)",
                 o->index, o->address, r->servers, size, KV_META_MAX);
        return KV_ETOOBIG;
    }
    return KV_OK;
}

enum kv_status roster_enlist(struct roster *r, const struct roster_offer *o,
                             bool keys, bool *changed, char *error,
                             size_t error_size)
{
    struct roster_server *s;
    enum kv_status status;

    if (o->index >= r->servers || o->shards == 0 || o->shards > KV_SHARDS_MAX ||
        o->address[0] == '\0') {
        snprintf(error, error_size,
                 "server %" PRIu32 " with %" PRIu32
                 " shards at '%s': the job has servers 0 to %" PRIu32
                 ", of 1 to %d shards",
                 o->index, o->shards, o->address, r->servers - 1,
                 KV_SHARDS_MAX);
        return KV_EINVAL;
    }
    status = check_state(r, o, keys, error, error_size);
    if (status == KV_OK) {
        status = check_room(r, o, error, error_size);
    }
    s = &r->server[o->index];
    s->refused = status != KV_OK;
    if (status != KV_OK) {
        return status;
    }
    *changed = s->shards == 0 || s->state != o->state ||
               strcmp(s->address, o->address) != 0;
    if (*changed) {
        roster_restore_server(r, o);
    }
    return KV_OK;
}

bool roster_assembled(const struct roster *r)
{
    return r->enlisted == r->servers;
}

uint32_t roster_shards(const struct roster *r)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < r->servers; i++) {
        sum += r->server[i].shards;
    }
    return sum;
}

void roster_missing_servers(const struct roster *r, char *out, size_t size)
{
    struct enumeration e;

    start(&e, "server", r->servers - r->enlisted, out, size);
    for (uint32_t i = 0; i < r->servers; i++) {
        if (r->server[i].shards == 0) {
            name(&e, i, r->server[i].refused ? " (turned away)" : "");
        }
    }
}

/* --- Ranks --------------------------------------------------------------- */

void roster_restore_rank(struct roster *r, uint32_t rank, uint64_t incarnation,
                         uint64_t token, bool left)
{
    struct roster_rank *k = &r->rank[rank];

    KV_CHECK(rank < r->workers);
    r->left += (uint32_t)left - (uint32_t)k->left;
    k->assigned = true;
    k->left = left;
    k->incarnation = incarnation;
    k->token = token;
}

static uint32_t first_with_token(const struct roster *r, uint64_t token)
{
    for (uint32_t i = 0; i < r->workers; i++) {
        if (r->rank[i].assigned && r->rank[i].token == token) {
            return i;
        }
    }
    return ROSTER_RANK_NONE;
}

/* For one that brings none. */
static uint32_t choose_rank(const struct roster *r, uint64_t token)
{
    uint32_t rank = first_with_token(r, token);

    for (uint32_t i = 0; i < r->workers && rank == ROSTER_RANK_NONE; i++) {
        if (!r->rank[i].assigned) {
            rank = i;
        }
    }
    for (uint32_t i = 0; i < r->workers && rank == ROSTER_RANK_NONE; i++) {
        if (r->rank[i].left && !r->rank[i].connected) {
            rank = i;
        }
    }
    return rank;
}

static const char *policy_name(uint32_t id)
{
    const struct policy *p = policy_by_id(id);

    return p != NULL ? p->name : "unknown";
}

/* May this process speak for this rank? */
static enum kv_status check_claim(const struct roster *r,
                                  const struct roster_claim *claim,
                                  uint32_t rank, char *error, size_t error_size)
{
    const struct roster_rank *k = &r->rank[rank];

    if (k->assigned &&
        (claim->incarnation < k->incarnation ||
         (claim->incarnation == k->incarnation && claim->token != k->token))) {
        snprintf(error, error_size,
                 "rank %" PRIu32 " belongs to another process (incarnation "
                 "%" PRIu64 "; this one is %" PRIu64 ")",
                 rank, k->incarnation, claim->incarnation);
        return KV_ESTALE;
    }
    if (policy_by_id(claim->policy) == NULL) {
        snprintf(error, error_size,
                 "rank %" PRIu32 " asks for policy %" PRIu32 ", which this "
                 "server does not have",
                 rank, claim->policy);
        return KV_EINVAL;
    }
    if (r->policy != 0 && r->policy != claim->policy) {
        snprintf(error, error_size,
                 "rank %" PRIu32 " wants a store of kind dist_%s, but the "
                 "job's is dist_%s",
                 rank, policy_name(claim->policy), policy_name(r->policy));
        return KV_EMISMATCH;
    }
    return KV_OK;
}

enum kv_status roster_join(struct roster *r, const struct roster_claim *claim,
                           uint32_t *rank, bool *changed, char *error,
                           size_t error_size)
{
    uint32_t chosen = claim->rank == ROSTER_RANK_NONE
                          ? choose_rank(r, claim->token)
                          : claim->rank;
    const struct roster_rank *k;
    enum kv_status status;

    if (chosen == ROSTER_RANK_NONE) {
        snprintf(error, error_size,
                 "all %" PRIu32 " rank%s taken; give KV_RANK to replace one "
                 "that died",
                 r->workers, r->workers == 1 ? " is" : "s are");
        return KV_EBUSY;
    }
    if (chosen >= r->workers) {
        snprintf(error, error_size,
                 "rank %" PRIu32 ": the job has ranks 0 to %" PRIu32, chosen,
                 r->workers - 1);
        return KV_EINVAL;
    }
    status = check_claim(r, claim, chosen, error, error_size);
    if (status != KV_OK) {
        return status;
    }
    k = &r->rank[chosen];
    *changed = !k->assigned || k->left || k->token != claim->token ||
               k->incarnation != claim->incarnation ||
               r->policy != claim->policy;
    r->policy = claim->policy;
    roster_restore_rank(r, chosen, claim->incarnation, claim->token, false);
    *rank = chosen;
    return KV_OK;
}

void roster_connect(struct roster *r, uint32_t rank, bool connected)
{
    struct roster_rank *k = &r->rank[rank];

    k->connected = connected;
    if (k->arrived && !connected) {
        k->arrived = false;
        r->arrived--;
    }
}

bool roster_leave(struct roster *r, uint32_t rank)
{
    struct roster_rank *k = &r->rank[rank];

    if (k->left) {
        return false;
    }
    k->left = true;
    r->left++;
    return true;
}

bool roster_done(const struct roster *r)
{
    return r->left == r->workers;
}

/* --- Barriers ------------------------------------------------------------ */

enum kv_status roster_arrive(struct roster *r, uint32_t rank,
                             uint64_t generation, char *error,
                             size_t error_size)
{
    if (generation <= r->barrier) {
        return KV_OK;
    }
    if (generation > r->barrier + 1) {
        snprintf(error, error_size,
                 "rank %" PRIu32 " is at barrier %" PRIu64 ", but only %" PRIu64
                 " have passed",
                 rank, generation, r->barrier);
        return KV_EPROTO;
    }
    if (!r->rank[rank].arrived) {
        r->rank[rank].arrived = true;
        r->arrived++;
    }
    if (r->arrived < r->workers) {
        return KV_EAGAIN;
    }
    for (uint32_t i = 0; i < r->workers; i++) {
        r->rank[i].arrived = false;
    }
    r->arrived = 0;
    r->barrier++;
    return KV_OK;
}

void roster_missing_ranks(const struct roster *r, char *out, size_t size)
{
    struct enumeration e;

    start(&e, "rank", r->workers - r->arrived, out, size);
    for (uint32_t i = 0; i < r->workers; i++) {
        const struct roster_rank *k = &r->rank[i];

        if (!k->arrived) {
            name(&e, i,
                 k->left         ? " (has left)"
                 : !k->connected ? " (not connected)"
                                 : "");
        }
    }
}
