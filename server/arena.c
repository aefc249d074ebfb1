#include "server/arena_private.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* The file grows by a quarter, within these: few system calls, little idle
 * memory, and no step that takes long. */
#define EXTENT_MIN ((size_t)4 << 20)
#define EXTENT_MAX ((size_t)64 << 20)

_Static_assert(sizeof(struct arena_head) <= ARENA_HEAD_SIZE, "header");
_Static_assert(sizeof(struct block) == ARENA_ALIGN, "payload alignment");

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static size_t payload_size(size_t size)
{
    unsigned power;

    if (size <= ARENA_FINE_MAX) {
        return round_up(size == 0 ? 1 : size, ARENA_ALIGN);
    }
    power = 63 - (unsigned)__builtin_clzll(size);
    return round_up(size, (size_t)1 << (power - ARENA_STEPS_POWER));
}

static struct block *block_of(void *p)
{
    struct block *b = (struct block *)p - 1;

    KV_CHECK(b->mark == ARENA_BLOCK_MARK);
    return b;
}

static uint64_t offset_of(const struct arena *a, const struct block *b)
{
    return (uint64_t)((const unsigned char *)b - a->base);
}

/* --- Fresh blocks --------------------------------------------------------- */

static size_t within(size_t size, size_t least, size_t most)
{
    size = size > least ? size : least;
    return size < most ? size : most;
}

static bool grow(struct arena *a, size_t need)
{
    size_t least = round_up(need, ARENA_HEAD_SIZE);
    size_t room = a->size_max - a->file_bytes;
    size_t much = within(a->file_bytes / 4, EXTENT_MIN, EXTENT_MAX);

    if (room < least) {
        return false;
    }
    much = within(round_up(much, ARENA_HEAD_SIZE), least, room);
    return arena_file_grow(a, a->file_bytes + much) == KV_OK ||
           arena_file_grow(a, a->file_bytes + least) == KV_OK;
}

static struct block *take_fresh(struct arena *a, size_t size)
{
    uint64_t used = a->head->used;
    size_t need = sizeof(struct block) + size;
    size_t have = a->file_bytes - used;
    struct block *b = arena_block_at(a, used);

    if (need > have && !grow(a, need - have)) {
        return NULL;
    }
    memset(b, 0, sizeof *b);
    b->size = size;
    b->mark = ARENA_BLOCK_MARK;
    arena_store(&a->head->used, used + need);
    a->blocks++;
    return b;
}

/* All blocks are walked only when the file would have to grow, which it does in
 * large steps, and when enough is free, in pieces, to make up for it. */
static bool worth_sweeping(const struct arena *a, size_t size)
{
    return a->released && a->free_bytes >= size &&
           a->free_bytes >= a->head->used / 16;
}

static struct block *take_from_pieces(struct arena *a, size_t size)
{
    struct block *b = arena_free_cut(a, size);

    if (b == NULL && worth_sweeping(a, size)) {
        a->released = false;
        arena_free_sweep(a);
        b = arena_free_cut(a, size);
    }
    return b;
}

static struct block *take(struct arena *a, size_t size)
{
    size_t need = sizeof(struct block) + size;
    struct block *b = arena_free_take(a, size);

    if (b == NULL && need > a->file_bytes - a->head->used) {
        b = take_from_pieces(a, size);
    }
    return b != NULL ? b : take_fresh(a, size);
}

/* --- What the file has ---------------------------------------------------- */

static enum kv_status damaged(char *error, size_t error_size, uint64_t offset)
{
    snprintf(error, error_size,
             "the arena is damaged at offset %llu; start with an empty one",
             (unsigned long long)offset);
    return KV_EDATALOSS;
}

/* Can there be a block at this offset? */
static bool plausible(const struct arena *a, uint64_t offset)
{
    uint64_t used = a->head->used;

    if (offset < ARENA_HEAD_SIZE || offset % ARENA_ALIGN != 0 ||
        offset > used - sizeof(struct block)) {
        return false;
    }
    const struct block *b = arena_block_at(a, offset);

    return b->mark == ARENA_BLOCK_MARK && b->size > 0 &&
           b->size % ARENA_ALIGN == 0 && b->size <= used - offset - sizeof *b;
}

static enum kv_status scan(struct arena *a, char *error, size_t error_size)
{
    uint64_t used = a->head->used, offset = ARENA_HEAD_SIZE;

    if (used < ARENA_HEAD_SIZE || used > a->file_bytes) {
        return damaged(error, error_size, used);
    }
    while (offset < used) {
        struct block *b = arena_block_at(a, offset);

        if (!plausible(a, offset)) {
            return damaged(error, error_size, offset);
        }
        b->holders = 0;
        b->kept = 0;
        a->blocks++;
        offset += sizeof *b + b->size;
    }
    for (offset = a->head->first_kept; offset != 0;) {
        struct block *b = arena_block_at(a, offset);

        if (!plausible(a, offset) || b->kept) {
            return damaged(error, error_size, offset);
        }
        b->holders = 1;
        b->kept = 1;
        b->prev_kept = a->last_kept;
        a->last_kept = b;
        offset = b->next_kept;
    }
    return KV_OK;
}

enum kv_status arena_open(const struct arena_config *config, struct arena **out,
                          char *error, size_t error_size)
{
    struct arena *a = mem_zalloc(1, sizeof *a);
    enum kv_status status;

    if (a == NULL) {
        snprintf(error, error_size, "out of memory");
        return KV_ENOMEM;
    }
    status = arena_file_open(a, config, error, error_size);
    if (status != KV_OK) {
        mem_free(a);
        return status;
    }
    status = scan(a, error, error_size);
    if (status != KV_OK) {
        arena_close(a);
        return status;
    }
    *out = a;
    return KV_OK;
}

void arena_close(struct arena *a)
{
    arena_file_close(a);
    mem_free(a);
}

enum kv_status arena_claim(struct arena *a, uint64_t offset)
{
    uint64_t at = offset - sizeof(struct block);

    if (offset < sizeof(struct block) || !plausible(a, at) ||
        arena_block_at(a, at)->kept) {
        return KV_EDATALOSS;
    }
    arena_block_at(a, at)->holders++;
    return KV_OK;
}

void arena_recovered(struct arena *a)
{
    arena_free_sweep(a);
}

/* --- Public --------------------------------------------------------------- */

void *arena_alloc(struct arena *a, size_t size)
{
    struct block *b;

    if (size > a->size_max) {
        return NULL;
    }
    b = take(a, payload_size(size));
    if (b == NULL) {
        return NULL;
    }
    b->next_kept = 0;
    b->holders = 1;
    b->kept = 0;
    return arena_payload(b);
}

void arena_keep(struct arena *a, void *block, uint32_t kind)
{
    struct block *b = block_of(block);
    uint64_t *link =
        a->last_kept == NULL ? &a->head->first_kept : &a->last_kept->next_kept;

    KV_CHECK(b->holders == 1 && !b->kept);
    b->kind = kind;
    b->kept = 1;
    b->prev_kept = a->last_kept;
    arena_store(link, offset_of(a, b));
    a->last_kept = b;
}

void arena_unkeep(struct arena *a, void *block)
{
    struct block *b = block_of(block), *before = b->prev_kept;
    uint64_t *link = before == NULL ? &a->head->first_kept : &before->next_kept;

    KV_CHECK(b->holders == 1 && b->kept && *link == offset_of(a, b));
    arena_store(link, b->next_kept);
    if (b->next_kept == 0) {
        a->last_kept = before;
    } else {
        arena_block_at(a, b->next_kept)->prev_kept = before;
    }
    b->kept = 0;
}

void arena_hold(struct arena *a, void *block)
{
    struct block *b = block_of(block);

    (void)a;
    KV_CHECK(b->holders > 0 && b->holders < UINT32_MAX);
    b->holders++;
}

void arena_release(struct arena *a, void *block)
{
    struct block *b = block_of(block);

    KV_CHECK(b->holders > 0 && !(b->kept && b->holders == 1));
    b->holders--;
    if (b->holders == 0) {
        a->released = true;
        arena_free_add(a, b);
    }
}

void arena_redo(void *to, const void *from, size_t size)
{
    memcpy(to, from, size);
}

void arena_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

uint64_t arena_offset(const struct arena *a, const void *block)
{
    return (uint64_t)((const unsigned char *)block - a->base);
}

void *arena_at(struct arena *a, uint64_t offset)
{
    return a->base + offset;
}

void *arena_next(struct arena *a, void *block, uint32_t *kind)
{
    uint64_t offset =
        block == NULL ? a->head->first_kept : block_of(block)->next_kept;

    if (offset == 0) {
        return NULL;
    }
    *kind = arena_block_at(a, offset)->kind;
    return arena_payload(arena_block_at(a, offset));
}

uint64_t arena_id(const struct arena *a)
{
    return a->head->id;
}

uint64_t arena_life(const struct arena *a)
{
    return a->head->life;
}

uint64_t *arena_words(struct arena *a)
{
    return a->head->words;
}

volatile uint64_t *arena_suspect(struct arena *a)
{
    return &a->head->suspect;
}

void arena_usage(const struct arena *a, struct arena_usage *out)
{
    size_t ahead = a->size_max - a->file_bytes, room = arena_file_room(a);

    out->file_bytes = a->file_bytes;
    out->used_bytes = a->head->used;
    out->free_bytes = a->free_bytes;
    out->blocks = a->blocks;
    out->room_bytes = a->file_bytes - a->head->used + a->free_bytes +
                      (ahead < room ? ahead : room);
}
