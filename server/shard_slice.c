#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/shard_settings.h"

#define ARRAY_ALIGN ((size_t)64)

/* --- Layout of a value block ---------------------------------------------- */

/* A row's arrays are close to each other, and it ends where the next begins. */
struct state_shape shard_shape(enum kv_dtype dtype, size_t count,
                               size_t row_length, size_t width)
{
    struct state_shape p = {count, width, ARRAY_ALIGN, dtype};

    if (row_length > 0) {
        p.count = row_length;
        p.width = row_length;
        p.align = sizeof(float);
    }
    return p;
}

static size_t weights_offset(uint32_t seqs)
{
    return state_aligned(sizeof(struct value) + seqs * sizeof(uint64_t),
                         ARRAY_ALIGN);
}

void *shard_weights(const struct value *v)
{
    return (char *)(uintptr_t)v + weights_offset(v->seqs);
}

static uint32_t seqs_of(const struct shard *s)
{
    return s->policy->per_rank ? s->workers : 0;
}

size_t shard_value_size(const struct shard *s, const struct state_shape *p)
{
    return weights_offset(seqs_of(s)) + state_size(p, shard_form(s, p->dtype));
}

size_t shard_block_bytes(const struct entry *e)
{
    const struct value *v = e->value;

    return weights_offset(v->seqs) +
           (e->row_length > 0 ? 0 : state_size(&e->shape, v->form));
}

/* --- Entries -------------------------------------------------------------- */

static bool more_chunks(struct shard *s)
{
    size_t capacity = s->chunk_capacity == 0 ? 16 : s->chunk_capacity * 2;
    struct slot_chunk **chunks;

    if (s->chunk_count < s->chunk_capacity) {
        return true;
    }
    chunks = mem_realloc(s->chunks, capacity * sizeof(struct slot_chunk *));
    if (chunks == NULL) {
        return false;
    }
    s->chunks = chunks;
    s->chunk_capacity = capacity;
    return true;
}

static bool add_chunk(struct shard *s)
{
    size_t shares = (size_t)SHARD_CHUNK * s->workers;
    struct slot_chunk *chunk;

    if (!more_chunks(s)) {
        return false;
    }
    chunk = mem_zalloc(1, sizeof *chunk + shares * sizeof(struct share *));
    if (chunk == NULL) {
        return false;
    }
    s->chunks[s->chunk_count++] = chunk;
    return true;
}

/* The entry of a slot. */
static enum kv_status reserve_entry(struct shard *s, uint32_t slot,
                                    struct entry **out)
{
    size_t chunk = slot / SHARD_CHUNK, index = slot % SHARD_CHUNK;

    while (chunk >= s->chunk_count) {
        if (!add_chunk(s)) {
            return KV_ENOMEM;
        }
    }
    *out = &s->chunks[chunk]->entries[index];
    return KV_OK;
}

static void fill_entry(const struct shard *s, struct entry *e,
                       struct slice_record *r, struct value *v)
{
    struct slot_chunk *chunk = s->chunks[r->slot / SHARD_CHUNK];

    memset(e, 0, sizeof *e);
    e->slot = r->slot;
    e->shares = &chunk->shares[(size_t)(r->slot % SHARD_CHUNK) * s->workers];
    e->record = r;
    e->value = v;
    e->count = r->count;
    e->dtype = (enum kv_dtype)r->dtype;
    e->row_length = r->row_length;
    e->shape = shard_shape(e->dtype, r->count, r->row_length, r->width);
    e->slices = r->slices;
    e->plain = r->plain != 0;
    e->key_id = r->key_id;
    e->slice = r->slice;
    e->first_round = r->first_round;
}

static enum kv_status enter(struct shard *s, struct slice_record *r,
                            struct value *v, struct entry **out)
{
    struct entry *e;
    enum kv_status status = reserve_entry(s, r->slot, &e);

    if (status == KV_OK) {
        status = map_put(&s->slices, shard_slice_key(r->key_id, r->slice), e);
    }
    if (status != KV_OK) {
        return status;
    }
    if (e == s->free) {
        s->free = e->next_free;
    }
    fill_entry(s, e, r, v);
    if (r->slot >= s->slots) {
        s->slots = r->slot + 1;
    }
    *out = e;
    return KV_OK;
}

static void free_slot(struct shard *s, struct entry *e)
{
    e->record = NULL;
    e->value = NULL;
    e->first_round = UINT64_MAX;
    e->next_free = s->free;
    s->free = e;
}

static uint32_t next_slot(const struct shard *s)
{
    return s->free != NULL ? s->free->slot : s->slots;
}

void shard_free_slices(struct shard *s)
{
    for (size_t i = 0; i < s->chunk_count; i++) {
        mem_free(s->chunks[i]);
    }
    mem_free(s->chunks);
    map_fini(&s->slices);
}

/* --- Creation ------------------------------------------------------------- */

static uint64_t first_round(const struct shard *s)
{
    return shard_deletions(s) << KV_ROUND_BITS;
}

static void fill_first(const struct shard *s, const struct slice_desc *d,
                       struct value *v)
{
    memset(v, 0, weights_offset(seqs_of(s)));
    v->round = first_round(s);
    v->generation = s->generation;
    v->form = shard_form(s, (enum kv_dtype)d->dtype);
    v->seqs = seqs_of(s);
    for (uint32_t rank = 0; rank < v->seqs; rank++) {
        v->seq[rank] = v->round;
    }
}

static struct value *first_rows(struct shard *s, const struct slice_desc *d,
                                const void *weights)
{
    size_t size = weights_offset(seqs_of(s));
    struct value *v = arena_alloc(s->arena, size);
    void *rows = v == NULL ? NULL : shard_rows_make(s, d, weights);

    if (rows == NULL) {
        if (v != NULL) {
            arena_release(s->arena, v);
        }
        return NULL;
    }
    fill_first(s, d, v);
    v->rows = arena_offset(s->arena, rows);
    return v;
}

static struct value *first_value(struct shard *s, const struct slice_desc *d,
                                 const void *weights)
{
    struct state_shape shape =
        shard_shape((enum kv_dtype)d->dtype, d->count, 0, d->width);
    struct shard_change c = {
        .shape = &shape, .form = shard_form(s, shape.dtype), .old = weights};
    struct value *v = arena_alloc(s->arena, shard_value_size(s, &shape));

    if (v == NULL) {
        return NULL;
    }
    fill_first(s, d, v);
    c.new = shard_weights(v);
    shard_fill(&c);
    return v;
}

struct value *shard_first(struct shard *s, const struct slice_desc *desc,
                          const void *weights)
{
    return desc->row_length > 0 ? first_rows(s, desc, weights)
                                : first_value(s, desc, weights);
}

enum kv_status shard_create(struct shard *s, const struct slice_desc *desc,
                            const void *value, struct entry **out)
{
    enum kv_status status = KV_ENOSPC;
    struct value *v = shard_first(s, desc, value);
    struct slice_record *r = arena_alloc(s->arena, sizeof *r);

    if (v == NULL || r == NULL) {
        goto err_blocks;
    }
    memset(r, 0, sizeof *r);
    r->live = arena_offset(s->arena, v);
    r->count = desc->count;
    r->first_round = v->round;
    r->slot = next_slot(s);
    r->key_id = desc->key_id;
    r->slice = desc->slice;
    r->dtype = desc->dtype;
    r->row_length = (uint32_t)desc->row_length;
    r->slices = desc->slices;
    r->plain = desc->plain;
    r->width = (uint32_t)desc->width;
    status = enter(s, r, v, out);
    if (status != KV_OK) {
        goto err_blocks;
    }
    arena_keep(s->arena, r, SHARD_KIND_SLICE);
    return KV_OK;

err_blocks:
    if (r != NULL) {
        arena_release(s->arena, r);
    }
    if (v != NULL && v->rows != 0) {
        arena_release(s->arena, arena_at(s->arena, v->rows));
    }
    if (v != NULL) {
        arena_release(s->arena, v);
    }
    return status;
}

void shard_destroy(struct shard *s, struct entry *e)
{
    if (e->row_length > 0) {
        arena_release(s->arena, arena_at(s->arena, e->value->rows));
    }
    if (e->own != NULL) {
        arena_release(s->arena, e->own);
    }
    arena_release(s->arena, e->value);
    arena_release(s->arena, e->record);
    KV_CHECK(map_remove(&s->slices, shard_slice_key(e->key_id, e->slice)) == e);
    free_slot(s, e);
}

/* --- Recovery ------------------------------------------------------------- */

static bool slot_taken(const struct shard *s, uint32_t slot)
{
    const struct entry *e = shard_entry(s, slot);

    return slot >= KV_SLOTS_MAX || (e != NULL && e->record != NULL);
}

/* Those between slices that are there; the lowest is the next. */
static void recover_free_slots(struct shard *s)
{
    for (uint32_t slot = s->slots; slot-- > 0;) {
        struct entry *e = shard_entry(s, slot);

        if (e->record == NULL) {
            e->slot = slot;
            free_slot(s, e);
        }
    }
}

static enum kv_status recover_slice(struct shard *s, struct slice_record *r,
                                    char *error, size_t error_size)
{
    enum kv_status status;
    struct entry *e;
    struct value *v;

    if (arena_claim(s->arena, r->live) != KV_OK) {
        snprintf(error, error_size,
                 "the arena is damaged: key id %u slice %u points to no block",
                 r->key_id, r->slice);
        return KV_EDATALOSS;
    }
    v = arena_at(s->arena, r->live);
    if (!kv_dtype_known((int)r->dtype) || v->form.slots > KV_OPTIM_SLOTS_MAX ||
        s->policy == NULL || v->seqs != seqs_of(s) || slot_taken(s, r->slot)) {
        snprintf(error, error_size,
                 "the arena is damaged: key id %u slice %u makes no sense",
                 r->key_id, r->slice);
        return KV_EDATALOSS;
    }
    if (r->row_length > 0 && arena_claim(s->arena, v->rows) != KV_OK) {
        snprintf(error, error_size,
                 "the arena is damaged: key id %u slice %u has no rows",
                 r->key_id, r->slice);
        return KV_EDATALOSS;
    }
    status = enter(s, r, v, &e);
    if (status != KV_OK) {
        return status;
    }
    if (r->row_length > 0) {
        shard_rows_redo(s, e);
    }
    status = shard_recover_own(s, e);
    if (status != KV_OK) {
        snprintf(
            error, error_size,
            "the arena is damaged: the settings of key id %u slice %u make "
            "no sense",
            r->key_id, r->slice);
    }
    return status;
}

enum kv_status shard_recover(struct shard *s, char *error, size_t error_size)
{
    enum kv_status status = KV_OK;
    void *block = NULL;
    uint32_t kind;

    while (status == KV_OK &&
           (block = arena_next(s->arena, block, &kind)) != NULL) {
        switch (kind) {
        case SHARD_KIND_SLICE:
            status = recover_slice(s, block, error, error_size);
            break;
        case SHARD_KIND_FENCE:
            s->fence = block;
            break;
        default:
            snprintf(error, error_size,
                     "the arena has a block of unknown kind %u", kind);
            status = KV_EMISMATCH;
        }
    }
    if (status == KV_OK) {
        recover_free_slots(s);
    }
    return status;
}
