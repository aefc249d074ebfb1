#include "server/directory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/compute/dtype.h"

/* Small slices that are registered one after the other are likely to be pushed
 * so, too, and then travel as one if they lie side by side: they go to the same
 * shard until it got that many bytes in a row, or that part of what it has. */
#define STREAK_MAX (64u << 10)
#define STREAK_PART 8

struct directory_load {
    uint64_t bytes;
    uint32_t shard;
};

/* --- Texts --------------------------------------------------------------- */

size_t key_identity(const struct key_desc *desc,
                    unsigned char out[KEY_IDENTITY_MAX])
{
    size_t size;

    if (desc->name == NULL) {
        out[0] = 'i';
        bytes_put_u64(out + 1, (uint64_t)desc->number);
        return 9;
    }
    size = strnlen(desc->name, KV_KEY_NAME_MAX);
    out[0] = 's';
    memcpy(out + 1, desc->name, size);
    return 1 + size;
}

void key_text(const struct key_desc *desc, char *out, size_t size)
{
    if (desc->name == NULL) {
        snprintf(out, size, "key %" PRId64, desc->number);
    } else {
        snprintf(out, size, "key '%s'", desc->name);
    }
}

/* "f32 (3, 4)" */
static void desc_text(const struct key_desc *desc, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s (",
                                   kv_dtype_name((enum kv_dtype)desc->dtype));

    for (uint32_t i = 0; i < desc->dims && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64,
                                 i == 0 ? "" : ", ", desc->shape[i]);
    }
    if (used < size) {
        snprintf(out + used, size - used, ")%s",
                 desc->storage == KV_ROW_SPARSE ? " row_sparse" : "");
    }
}

/* --- Placement ----------------------------------------------------------- */

static bool lighter(const struct directory_load *a,
                    const struct directory_load *b)
{
    return a->bytes != b->bytes ? a->bytes < b->bytes : a->shard < b->shard;
}

/* The top has become heavier: let it sink to its place. */
static void sink(struct directory_load *heap, size_t count)
{
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;
        struct directory_load swap;

        if (child + 1 < count && lighter(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (child >= count || !lighter(&heap[child], &heap[at])) {
            return;
        }
        swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

/* Bytes in a row, for the shard on top. */
static uint64_t streak_max(const struct directory *d)
{
    uint64_t part = d->heap[0].bytes / STREAK_PART;
    uint64_t most = d->slice_bytes < STREAK_MAX ? d->slice_bytes : STREAK_MAX;

    return part < most ? part : most;
}

/* The shard for a slice of that size. It stays on top for a streak of small
 * ones. */
static uint32_t choose(struct directory *d, uint64_t size)
{
    if (d->streak > 0 && d->streak + size > streak_max(d)) {
        d->streak = 0;
        sink(d->heap, d->shards);
    }
    d->heap[0].bytes += size;
    d->streak += size;
    return d->heap[0].shard;
}

static void place(struct directory *d, struct directory_key *key, size_t size)
{
    for (uint32_t i = 0; i < key->slices; i++) {
        uint64_t left = key->count - i * key->slice_count;
        uint64_t count = left < key->slice_count ? left : key->slice_count;

        bytes_put_u32(key->placement + (size_t)i * DIRECTORY_ENTRY_SIZE,
                      choose(d, count * size));
    }
}

/* --- Keys ---------------------------------------------------------------- */

static void free_key(struct directory_key *key)
{
    if (key != NULL) {
        mem_free((char *)key->desc.name);
        mem_free(key->placement);
        mem_free(key);
    }
}

/* A push of rows is their count, and four bytes more a row. */
#define ROW_BYTES_MAX ((size_t)KV_SLICE_BYTES_MAX - 2 * sizeof(uint32_t))

/* Whole rows, where a multiple of both fits: optimizers may have state by rows.
 */
static uint64_t elements_of_dense(uint64_t most, uint64_t count,
                                  uint64_t row_length)
{
    uint64_t step = row_length;

    while (step % KV_SLICE_ALIGN != 0 && step <= most) {
        step *= 2;
    }
    if (count <= most || step > most) {
        step = KV_SLICE_ALIGN;
    }
    return most / step * step;
}

/* 0 when a row is too large. */
static uint64_t elements_of_slice(const struct directory *d,
                                  const struct key_desc *desc, uint64_t count)
{
    size_t unit = kv_dtype_size((enum kv_dtype)desc->dtype);
    uint64_t row_length, rows;

    row_length = desc->dims == 0 ? 1 : count / desc->shape[0];
    if (desc->storage == KV_DENSE) {
        return elements_of_dense(d->slice_bytes / unit, count, row_length);
    }
    rows = (KV_SLICE_BYTES_MAX - sizeof(uint32_t)) /
           (row_length * unit + sizeof(uint32_t));
    return rows * row_length;
}

/* How it will be cut; KV_OK only if that is possible at all. */
static enum kv_status cut(const struct directory *d,
                          const struct key_desc *desc,
                          struct directory_key *out, char *error,
                          size_t error_size)
{
    char text[KEY_TEXT_MAX];
    uint64_t count = 1, slices;

    key_text(desc, text, sizeof text);
    if (desc->dtype > INT_MAX || !kv_dtype_known((int)desc->dtype)) {
        snprintf(error, error_size, "%s: unknown dtype %" PRIu32, text,
                 desc->dtype);
        return KV_EINVAL;
    }
    for (uint32_t i = 0; i < desc->dims; i++) {
        if (desc->shape[i] == 0 || desc->shape[i] > KV_COUNT_MAX / count) {
            snprintf(error, error_size,
                     "%s: a value has 1 to %" PRIu64 " elements", text,
                     KV_COUNT_MAX);
            return KV_EINVAL;
        }
        count *= desc->shape[i];
    }
    out->count = count;
    out->slice_count = elements_of_slice(d, desc, count);
    if (out->slice_count == 0) {
        snprintf(error, error_size,
                 "%s: a row of a row_sparse value has at most %zu bytes, not "
                 "%" PRIu64,
                 text, ROW_BYTES_MAX,
                 count / desc->shape[0] *
                     kv_dtype_size((enum kv_dtype)desc->dtype));
        return KV_ETOOBIG;
    }
    slices = (count + out->slice_count - 1) / out->slice_count;
    if (slices > DIRECTORY_SLICES_MAX || d->count >= KV_KEYS_MAX) {
        snprintf(error, error_size,
                 "%s: %" PRIu64 " slices of %" PRIu32
                 " bytes; a key has at most %u, and a job %u keys",
                 text, slices, d->slice_bytes, DIRECTORY_SLICES_MAX,
                 KV_KEYS_MAX);
        return KV_ETOOBIG;
    }
    out->slices = (uint32_t)slices;
    return KV_OK;
}

static bool reserve(struct directory *d)
{
    uint32_t capacity = d->capacity == 0 ? 64 : d->capacity * 2;
    void *keys;

    if (d->count < d->capacity) {
        return true;
    }
    keys = mem_realloc(d->keys, capacity * sizeof(struct directory_key *));
    if (keys == NULL) {
        return false;
    }
    d->keys = keys;
    d->capacity = capacity;
    return true;
}

/* A copy that owns its parts; NULL when out of memory. */
static struct directory_key *make_key(const struct directory_key *cut_key,
                                      const struct key_desc *desc)
{
    struct directory_key *key = mem_zalloc(1, sizeof *key);

    if (key == NULL) {
        return NULL;
    }
    *key = *cut_key;
    key->desc = *desc;
    key->desc.name = NULL;
    key->placement = mem_alloc((size_t)key->slices * DIRECTORY_ENTRY_SIZE);
    if (desc->name != NULL) {
        key->desc.name = mem_strdup(desc->name);
    }
    if (key->placement == NULL ||
        (desc->name != NULL && key->desc.name == NULL)) {
        free_key(key);
        return NULL;
    }
    return key;
}

/* --- Public -------------------------------------------------------------- */

enum kv_status directory_init(struct directory *d, uint32_t shards,
                              uint32_t slice_bytes)
{
    memset(d, 0, sizeof *d);
    KV_CHECK(shards > 0 && slice_bytes >= KV_SLICE_ALIGN * sizeof(float));
    d->shards = shards;
    d->slice_bytes = slice_bytes;
    strmap_init(&d->by_identity);
    d->heap = mem_zalloc(shards, sizeof *d->heap);
    if (d->heap == NULL) {
        return KV_ENOMEM;
    }
    for (uint32_t i = 0; i < shards; i++) {
        d->heap[i].shard = i; /* All equal, in order: a heap. */
    }
    return KV_OK;
}

void directory_fini(struct directory *d)
{
    for (uint32_t i = 0; i < d->count; i++) {
        free_key(d->keys[i]);
    }
    mem_free(d->keys);
    mem_free(d->heap);
    strmap_fini(&d->by_identity);
}

const struct directory_key *directory_find(const struct directory *d,
                                           const struct key_desc *desc)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(desc, identity);

    return strmap_get(&d->by_identity, identity, size);
}

enum kv_status directory_add(struct directory *d, const struct key_desc *desc,
                             const struct directory_key **out, char *error,
                             size_t error_size)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(desc, identity);
    struct directory_key shape = {.id = d->count};
    struct directory_key *key;
    enum kv_status status = cut(d, desc, &shape, error, error_size);

    if (status != KV_OK) {
        return status;
    }
    snprintf(error, error_size, "the root is out of memory");
    key = reserve(d) ? make_key(&shape, desc) : NULL;
    if (key == NULL) {
        return KV_ENOMEM;
    }
    status = strmap_put(&d->by_identity, identity, size, key);
    if (status != KV_OK) {
        free_key(key);
        return status;
    }
    d->keys[d->count++] = key;
    place(d, key, kv_dtype_size((enum kv_dtype)desc->dtype));
    *out = key;
    return KV_OK;
}

enum kv_status directory_compare(const struct directory_key *key, uint32_t rank,
                                 const struct key_desc *desc, char *error,
                                 size_t error_size)
{
    const struct key_desc *has = &key->desc;
    char text[KEY_TEXT_MAX], theirs[224], ours[224];

    if (has->dtype == desc->dtype && has->storage == desc->storage &&
        has->dims == desc->dims &&
        memcmp(has->shape, desc->shape, desc->dims * sizeof desc->shape[0]) ==
            0) {
        return KV_OK;
    }
    key_text(desc, text, sizeof text);
    desc_text(desc, theirs, sizeof theirs);
    desc_text(has, ours, sizeof ours);
    snprintf(error, error_size,
             "%s: rank %" PRIu32 " says %s, but rank 0 has registered %s", text,
             rank, theirs, ours);
    return KV_EMISMATCH;
}
