/**
 * directory - which keys there are, how each is cut, and where its slices live.
 *
 * A dense key is cut into slices of at most slice_bytes, a row_sparse one into
 * slices of whole rows, as many as fit into a frame with their numbers: a push
 * must reach every slice, however few rows it has. Each slice goes to the
 * shard that has the fewest bytes so far, the lowest index among equals, but
 * small ones keep together for a while, as they travel: up to 64 KiB, and an
 * eighth of what the shard has. The same keys in the same order always give the
 * same placement, so only the keys need to be remembered, and slices of one big
 * key spread over all shards.
 *
 * Thread:  pure.
 * Memory:  names are copied. A key stays at its address until
 *          directory_fini(), with its placement.
 * Result:  an error comes with a sentence and has changed nothing.
 */
#ifndef KV_SERVER_DIRECTORY_H
#define KV_SERVER_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/map.h"
#include "common/base/status.h"
#include "proto/message.h" /* enum kv_storage */

/* A slice's entry in a placement: u32, little-endian. */
#define DIRECTORY_ENTRY_SIZE 4
/* A worker gets the placement through its staging buffer. */
#define DIRECTORY_SLICES_MAX (KV_BATCH_PAYLOAD_MAX / DIRECTORY_ENTRY_SIZE)

struct key_desc {
    const char *name; /* NULL: the key is `number`. */
    int64_t number;
    uint32_t dtype; /* Checked by directory_add(). */
    uint32_t dims;
    uint64_t shape[KV_DIMS_MAX];
    enum kv_storage storage;
};

struct directory_key {
    struct key_desc desc; /* Its name is the directory's. */
    uint32_t id;          /* The n-th key has n - 1. */
    uint64_t count;       /* Elements. */
    uint64_t slice_count; /* Elements of each slice but the last. */
    uint32_t slices;
    unsigned char *placement; /* For each slice: the shard, all counted. */
};

struct directory_load; /* A shard and its bytes. */

struct directory {
    uint32_t count; /* Keys. */
    /* Private. */
    uint32_t shards, slice_bytes, capacity;
    struct directory_key **keys; /* By id; owned. */
    struct strmap by_identity;
    struct directory_load *heap; /* The least loaded shard is on top. */
    uint64_t streak; /* Bytes that the one on top got since it is there. */
};

/* `shards` are those of all servers. */
KV_MUST_CHECK enum kv_status
directory_init(struct directory *d, uint32_t shards, uint32_t slice_bytes);
void directory_fini(struct directory *d);

/* NULL when there is no such key; only name and number count. */
const struct directory_key *directory_find(const struct directory *d,
                                           const struct key_desc *desc);

/* KV_EINVAL unknown dtype or no elements, KV_ENOTSUP, KV_ETOOBIG, KV_EEXIST,
 * KV_ENOMEM. */
KV_MUST_CHECK enum kv_status directory_add(struct directory *d,
                                           const struct key_desc *desc,
                                           const struct directory_key **out,
                                           char *error, size_t error_size);

/* Does rank's description agree with the one that rank 0 has registered?
 * KV_EMISMATCH names key, ranks and both descriptions. */
KV_MUST_CHECK enum kv_status directory_compare(const struct directory_key *key,
                                               uint32_t rank,
                                               const struct key_desc *desc,
                                               char *error, size_t error_size);

/* Bytes that tell keys apart, for a strmap; returns their number. */
#define KEY_IDENTITY_MAX (1 + KV_KEY_NAME_MAX)
size_t key_identity(const struct key_desc *desc,
                    unsigned char out[KEY_IDENTITY_MAX]);

/* "key 'w'" or "key 7", for messages. */
#define KEY_TEXT_MAX (KV_KEY_NAME_MAX + 8)
void key_text(const struct key_desc *desc, char *out, size_t size);

#endif
