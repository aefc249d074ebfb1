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
 * shard until it got a frame full in a row, or that part of what it has. */
#define STREAK_PART 8

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

static bool lighter(const struct directory *d, uint32_t a, uint32_t b)
{
    return d->load[a] != d->load[b] ? d->load[a] < d->load[b] : a < b;
}

/* What stands at `at` has become heavier: let it sink to its place. */
static void sink(const struct directory *d, size_t at)
{
    uint32_t *heap = d->heap;

    for (;;) {
        size_t child = 2 * at + 1;
        uint32_t swap;

        if (child + 1 < d->shards && lighter(d, heap[child + 1], heap[child])) {
            child++;
        }
        if (child >= d->shards || !lighter(d, heap[child], heap[at])) {
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
    uint64_t part = d->load[d->heap[0]] / STREAK_PART;
    uint64_t most = d->slice_bytes < KV_BATCH_PAYLOAD_MAX
                        ? d->slice_bytes
                        : KV_BATCH_PAYLOAD_MAX;

    return part < most ? part : most;
}

/* The shard for a slice of that size. It stays on top for a streak of small
 * ones. */
static uint32_t choose(struct directory *d, uint64_t size)
{
    if (d->streak > 0 && d->streak + size > streak_max(d)) {
        d->streak = 0;
        sink(d, 0);
    }
    d->load[d->heap[0]] += size;
    d->streak += size;
    return d->heap[0];
}

static uint64_t slice_size(const struct directory_key *key, uint32_t index)
{
    uint64_t left = key->count - index * key->slice_count;
    uint64_t count = left < key->slice_count ? left : key->slice_count;

    return count * kv_dtype_size((enum kv_dtype)key->desc.dtype);
}

static uint32_t place_of(const struct directory_key *key, uint32_t index)
{
    return bytes_get_u32(key->placement + (size_t)index * DIRECTORY_ENTRY_SIZE);
}

static void place(struct directory *d, struct directory_key *key)
{
    for (uint32_t i = 0; i < key->slices; i++) {
        bytes_put_u32(key->placement + (size_t)i * DIRECTORY_ENTRY_SIZE,
                      choose(d, slice_size(key, i)));
    }
}

/* Any of them may be lighter or heavier now. */
static void order_all(struct directory *d)
{
    d->streak = 0;
    for (size_t at = d->shards / 2; at-- > 0;) {
        sink(d, at);
    }
}

static void unplace(struct directory *d, const struct directory_key *key)
{
    for (uint32_t i = 0; i < key->slices; i++) {
        d->load[place_of(key, i)] -= slice_size(key, i);
    }
    order_all(d);
}

static enum kv_status replace(struct directory *d,
                              const struct directory_key *key)
{
    for (uint32_t i = 0; i < key->slices; i++) {
        if (place_of(key, i) >= d->shards) {
            return KV_EDATALOSS;
        }
    }
    for (uint32_t i = 0; i < key->slices; i++) {
        d->load[place_of(key, i)] += slice_size(key, i);
    }
    order_all(d);
    return KV_OK;
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

static enum kv_status enter(struct directory *d, struct directory_key *key)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(&key->desc, identity);
    enum kv_status status = strmap_put(&d->by_identity, identity, size, key);

    if (status != KV_OK) {
        return status;
    }
    status = roll_add(&d->by_id, key->id, key);
    if (status != KV_OK) {
        (void)strmap_remove(&d->by_identity, identity, size);
        return status;
    }
    d->count++;
    return KV_OK;
}

static void leave(struct directory *d, struct directory_key *key)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(&key->desc, identity);

    KV_CHECK(strmap_remove(&d->by_identity, identity, size) == key);
    KV_CHECK(roll_remove(&d->by_id, key->id) == key);
    d->count--;
    free_key(key);
}

/* Entered, but not placed. */
static enum kv_status make(struct directory *d, const struct key_desc *desc,
                           uint64_t id, struct directory_key **out, char *error,
                           size_t error_size)
{
    struct directory_key shape = {.id = (uint32_t)id};
    struct directory_key *key;
    enum kv_status status = cut(d, desc, &shape, error, error_size);

    if (status == KV_OK && id > UINT32_MAX) {
        snprintf(error, error_size, "the job has used up all ids of keys");
        return KV_ETOOBIG;
    }
    if (status != KV_OK) {
        return status;
    }
    snprintf(error, error_size, "the root is out of memory");
    key = make_key(&shape, desc);
    if (key == NULL) {
        return KV_ENOMEM;
    }
    status = enter(d, key);
    if (status != KV_OK) {
        free_key(key);
        return status;
    }
    *out = key;
    return KV_OK;
}

/* --- Public -------------------------------------------------------------- */

enum kv_status directory_init(struct directory *d, uint32_t shards,
                              uint32_t slice_bytes)
{
    memset(d, 0, sizeof *d);
    KV_CHECK(shards > 0 && slice_bytes >= KV_SLICE_ALIGN * sizeof(float));
    d->shards = shards;
    d->slice_bytes = slice_bytes;
    roll_init(&d->by_id);
    strmap_init(&d->by_identity);
    d->load = mem_zalloc(shards, sizeof *d->load);
    d->heap = mem_zalloc(shards, sizeof *d->heap);
    if (d->load == NULL || d->heap == NULL) {
        directory_fini(d);
        return KV_ENOMEM;
    }
    for (uint32_t i = 0; i < shards; i++) {
        d->heap[i] = i; /* All equal, in order: a heap. */
    }
    return KV_OK;
}

void directory_fini(struct directory *d)
{
    struct directory_key *key;
    uint64_t at = 0;

    while ((key = roll_walk(&d->by_id, &at)) != NULL) {
        free_key(key);
    }
    roll_fini(&d->by_id);
    mem_free(d->load);
    mem_free(d->heap);
    strmap_fini(&d->by_identity);
}

struct directory_key *directory_find(const struct directory *d,
                                     const struct key_desc *desc)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(desc, identity);

    return strmap_get(&d->by_identity, identity, size);
}

const struct directory_key *directory_walk(const struct directory *d,
                                           uint64_t *at)
{
    return roll_walk(&d->by_id, at);
}

enum kv_status directory_add(struct directory *d, const struct key_desc *desc,
                             struct directory_key **out, char *error,
                             size_t error_size)
{
    struct directory_key *key = NULL;
    enum kv_status status =
        make(d, desc, d->by_id.next, &key, error, error_size);

    if (status != KV_OK) {
        return status;
    }
    place(d, key);
    *out = key;
    return KV_OK;
}

static enum kv_status restore(struct directory *d,
                              const struct directory_key *was,
                              struct directory_key *key)
{
    if (key->slices != was->slices) {
        return KV_EDATALOSS;
    }
    memcpy(key->placement, was->placement,
           (size_t)key->slices * DIRECTORY_ENTRY_SIZE);
    key->doomed = was->doomed;
    key->record = was->record;
    return replace(d, key);
}

enum kv_status directory_restore(struct directory *d,
                                 const struct directory_key *was,
                                 struct directory_key **out, char *error,
                                 size_t error_size)
{
    struct directory_key *key = NULL;
    char name[KEY_TEXT_MAX];
    enum kv_status status = KV_EDATALOSS;

    if (was->id >= d->by_id.next) {
        status = make(d, &was->desc, was->id, &key, error, error_size);
    }
    if (status == KV_OK) {
        status = restore(d, was, key);
    }
    if (status == KV_EDATALOSS) {
        key_text(&was->desc, name, sizeof name);
        snprintf(error, error_size,
                 "what the root's arena has of %s makes no sense", name);
    }
    if (status == KV_OK) {
        *out = key;
    } else if (key != NULL) {
        leave(d, key);
    }
    return status;
}

void directory_remove(struct directory *d, struct directory_key *key)
{
    unplace(d, key);
    leave(d, key);
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
