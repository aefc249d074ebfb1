#include "server/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

enum { RECORD_KEY = 1, RECORD_SERVER = 2, RECORD_RANK = 3 };

enum { WORD_SERVERS, WORD_SLICE_BYTES, WORD_POLICY, WORD_BARRIER };

struct key_record {
    uint64_t shape[KV_DIMS_MAX];
    int64_t number;
    uint32_t dtype, dims;
    uint32_t storage;
    uint32_t named; /* Else the key is `number`. */
    char name[KV_KEY_NAME_MAX + 1];
};

struct server_record {
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
        roster_restore_server(r, s->index, s->address, s->shards);
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

void ledger_close(struct ledger *l)
{
    if (l->spare != NULL) {
        arena_release(l->arena, l->spare);
        l->spare = NULL;
    }
}

enum kv_status ledger_replay(const struct ledger *l, struct directory *d,
                             char *error, size_t error_size)
{
    const struct directory_key *key;
    uint32_t kind = 0;

    for (void *b = arena_next(l->arena, NULL, &kind); b != NULL;
         b = arena_next(l->arena, b, &kind)) {
        const struct key_record *k = b;
        struct key_desc desc = {.number = k->number,
                                .dtype = k->dtype,
                                .dims = k->dims,
                                .storage = (enum kv_storage)k->storage};
        enum kv_status status;

        if (kind != RECORD_KEY) {
            continue;
        }
        desc.name = k->named != 0 ? k->name : NULL;
        memcpy(desc.shape, k->shape, sizeof desc.shape);
        status = directory_add(d, &desc, &key, error, error_size);
        if (status != KV_OK) {
            return status;
        }
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

void *ledger_key(struct ledger *l, const struct key_desc *desc)
{
    struct key_record *k = arena_alloc(l->arena, sizeof *k);

    if (k == NULL) {
        return NULL;
    }
    memset(k, 0, sizeof *k);
    memcpy(k->shape, desc->shape, desc->dims * sizeof k->shape[0]);
    k->number = desc->number;
    k->dtype = desc->dtype;
    k->dims = desc->dims;
    k->storage = desc->storage;
    k->named = desc->name != NULL;
    snprintf(k->name, sizeof k->name, "%s",
             desc->name == NULL ? "" : desc->name);
    return k;
}

void ledger_keep_key(struct ledger *l, void *record)
{
    arena_keep(l->arena, record, RECORD_KEY);
}

void ledger_drop_key(struct ledger *l, void *record)
{
    arena_release(l->arena, record);
}

void ledger_policy(struct ledger *l, uint32_t policy)
{
    arena_store(&arena_words(l->arena)[WORD_POLICY], policy);
}

void ledger_barrier(struct ledger *l, uint64_t passed)
{
    arena_store(&arena_words(l->arena)[WORD_BARRIER], passed);
}
