#include "server/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

enum { RECORD_KEY = 1, RECORD_SERVER = 2, RECORD_RANK = 3 };

enum {
    WORD_SERVERS,
    WORD_SLICE_BYTES,
    WORD_POLICY,
    WORD_BARRIER,
    WORD_DELETIONS,
    WORD_NEXT_ID
};

struct key_record {
    uint64_t doomed; /* Number of its deletion; 0: it is not deleted. */
    uint64_t shape[KV_DIMS_MAX];
    int64_t number;
    uint32_t id;
    uint32_t dtype, dims;
    uint32_t storage;
    uint32_t named; /* Else the key is `number`. */
    uint32_t slices;
    unsigned char placement[]; /* Then its name, if it has one, and a 0. */
};

struct server_record {
    uint64_t state;
    uint32_t index, shards;
    char address[KV_ADDRESS_MAX + 1];
};

struct rank_record {
    uint64_t incarnation, token;
    uint32_t rank, left;
};

union small_record {
    struct server_record server;
    struct rank_record rank;
};

/* --- Reading ------------------------------------------------------------- */

static enum kv_status check_job(struct arena *arena, const struct roster *r,
                                uint32_t slice_bytes, char *error,
                                size_t error_size)
{
    uint64_t *word = arena_words(arena);

    if (word[WORD_SERVERS] == 0) {
        arena_store(&word[WORD_SLICE_BYTES], slice_bytes);
        arena_store(&word[WORD_SERVERS], r->servers);
        return KV_OK;
    }
    if (word[WORD_SERVERS] != r->servers) {
        snprintf(error, error_size,
                 "--servers %" PRIu32 ": the job's state was made for %" PRIu64,
                 r->servers, word[WORD_SERVERS]);
        return KV_EMISMATCH;
    }
    if (word[WORD_SLICE_BYTES] != slice_bytes) {
        snprintf(error, error_size,
                 "--slice-bytes %" PRIu32
                 ": the job's keys have been cut with %" PRIu64,
                 slice_bytes, word[WORD_SLICE_BYTES]);
        return KV_EMISMATCH;
    }
    return KV_OK;
}

static enum kv_status restore(struct roster *r, uint32_t kind,
                              const void *block)
{
    const struct server_record *s = block;
    const struct rank_record *k = block;

    if (kind == RECORD_SERVER && s->index < r->servers && s->shards > 0) {
        roster_restore_server(r, &(struct roster_offer){.index = s->index,
                                                        .shards = s->shards,
                                                        .address = s->address,
                                                        .state = s->state});
    } else if (kind == RECORD_RANK && k->rank < r->workers) {
        roster_restore_rank(r, k->rank, k->incarnation, k->token, k->left != 0);
    } else if (kind != RECORD_KEY) {
        return KV_EDATALOSS;
    }
    return KV_OK;
}

enum kv_status ledger_open(struct ledger *l, struct arena *arena,
                           uint32_t slice_bytes, struct roster *roster,
                           char *error, size_t error_size)
{
    enum kv_status status =
        check_job(arena, roster, slice_bytes, error, error_size);
    uint32_t kind = 0;

    if (status != KV_OK) {
        return status;
    }
    for (void *b = arena_next(arena, NULL, &kind); b != NULL;
         b = arena_next(arena, b, &kind)) {
        status = restore(roster, kind, b);
        if (status != KV_OK) {
            snprintf(error, error_size,
                     "the root's arena holds a record that makes no sense "
                     "(kind %" PRIu32 ")",
                     kind);
            return status;
        }
    }
    arena_recovered(arena);
    roster->policy = (uint32_t)arena_words(arena)[WORD_POLICY];
    roster->barrier = arena_words(arena)[WORD_BARRIER];
    l->arena = arena;
    l->spare = NULL;
    return KV_OK;
}

bool ledger_has_keys(const struct ledger *l)
{
    uint32_t kind = 0;

    for (void *b = arena_next(l->arena, NULL, &kind); b != NULL;
         b = arena_next(l->arena, b, &kind)) {
        if (kind == RECORD_KEY) {
            return true;
        }
    }
    return false;
}

void ledger_close(struct ledger *l)
{
    if (l->spare != NULL) {
        arena_release(l->arena, l->spare);
        l->spare = NULL;
    }
}

static size_t placement_size(uint32_t slices)
{
    return (size_t)slices * DIRECTORY_ENTRY_SIZE;
}

static enum kv_status replay_key(struct key_record *k, struct directory *d,
                                 char *error, size_t error_size)
{
    struct directory_key *key, was = {.id = k->id,
                                      .slices = k->slices,
                                      .placement = k->placement,
                                      .doomed = k->doomed,
                                      .record = k};

    was.desc = (struct key_desc){.number = k->number,
                                 .dtype = k->dtype,
                                 .dims = k->dims,
                                 .storage = (enum kv_storage)k->storage};
    if (k->named != 0) {
        was.desc.name = (char *)k->placement + placement_size(k->slices);
    }
    memcpy(was.desc.shape, k->shape, sizeof was.desc.shape);
    return directory_restore(d, &was, &key, error, error_size);
}

enum kv_status ledger_replay(const struct ledger *l, struct directory *d,
                             char *error, size_t error_size)
{
    uint64_t next_id = arena_words(l->arena)[WORD_NEXT_ID];
    uint32_t kind = 0;

    for (void *b = arena_next(l->arena, NULL, &kind); b != NULL;
         b = arena_next(l->arena, b, &kind)) {
        enum kv_status status =
            kind == RECORD_KEY ? replay_key(b, d, error, error_size) : KV_OK;

        if (status != KV_OK) {
            return status;
        }
    }
    if (d->by_id.next < next_id) {
        d->by_id.next = next_id;
    }
    return KV_OK;
}

/* --- Writing ------------------------------------------------------------- */

enum kv_status ledger_ready(struct ledger *l)
{
    if (l->spare == NULL) {
        l->spare = arena_alloc(l->arena, sizeof(union small_record));
    }
    return l->spare == NULL ? KV_ENOSPC : KV_OK;
}

static union small_record *take_spare(struct ledger *l)
{
    union small_record *record = l->spare;

    KV_CHECK(record != NULL);
    l->spare = NULL;
    memset(record, 0, sizeof *record);
    return record;
}

void ledger_server(struct ledger *l, uint32_t index,
                   const struct roster_server *s)
{
    union small_record *record = take_spare(l);

    record->server.index = index;
    record->server.shards = s->shards;
    record->server.state = s->state;
    memcpy(record->server.address, s->address, sizeof s->address);
    arena_keep(l->arena, record, RECORD_SERVER);
}

void ledger_rank(struct ledger *l, uint32_t rank, const struct roster_rank *k)
{
    union small_record *record = take_spare(l);

    record->rank = (struct rank_record){.incarnation = k->incarnation,
                                        .token = k->token,
                                        .rank = rank,
                                        .left = k->left};
    arena_keep(l->arena, record, RECORD_RANK);
}

enum kv_status ledger_key(struct ledger *l, struct directory_key *key)
{
    const struct key_desc *desc = &key->desc;
    size_t placement = placement_size(key->slices);
    size_t name = desc->name != NULL ? strlen(desc->name) + 1 : 0;
    struct key_record *k = arena_alloc(l->arena, sizeof *k + placement + name);

    if (k == NULL) {
        return KV_ENOSPC;
    }
    memset(k, 0, sizeof *k);
    memcpy(k->shape, desc->shape, desc->dims * sizeof k->shape[0]);
    k->number = desc->number;
    k->id = key->id;
    k->dtype = desc->dtype;
    k->dims = desc->dims;
    k->storage = desc->storage;
    k->named = desc->name != NULL;
    k->slices = key->slices;
    memcpy(k->placement, key->placement, placement);
    if (desc->name != NULL) {
        memcpy(k->placement + placement, desc->name, name);
    }
    arena_keep(l->arena, k, RECORD_KEY);
    key->record = k;
    return KV_OK;
}

void ledger_doom(struct ledger *l, struct directory_key *key)
{
    struct key_record *k = key->record;
    uint64_t number = ledger_deletions(l) + 1;

    arena_store(&arena_words(l->arena)[WORD_DELETIONS], number);
    arena_store(&k->doomed, number);
    key->doomed = number;
}

void ledger_forget(struct ledger *l, struct directory_key *key,
                   uint64_t next_id)
{
    arena_store(&arena_words(l->arena)[WORD_NEXT_ID], next_id);
    arena_unkeep(l->arena, key->record);
    arena_release(l->arena, key->record);
    key->record = NULL;
}

uint64_t ledger_deletions(const struct ledger *l)
{
    return arena_words(l->arena)[WORD_DELETIONS];
}

void ledger_policy(struct ledger *l, uint32_t policy)
{
    arena_store(&arena_words(l->arena)[WORD_POLICY], policy);
}

void ledger_barrier(struct ledger *l, uint64_t passed)
{
    arena_store(&arena_words(l->arena)[WORD_BARRIER], passed);
}
