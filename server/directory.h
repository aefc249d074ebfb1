/**
 * directory - which keys there are, how each is cut, and where its slices live.
 *
 * A dense key is cut into slices of at most slice_bytes, a row_sparse one into
 * slices of whole rows, as many as fit into a frame with their numbers: a push
 * must reach every slice, however few rows it has. Each slice goes to the
 * shard that has the fewest bytes, the lowest index among equals, but small
 * ones keep together for a while, as they travel: up to 64 KiB, and an eighth
 * of what the shard has. Slices of one big key spread over all shards. What is
 * remembered of a key has its places too: those that decided them may be gone.
 *
 * Ids are given in order and never again. A key to be deleted is doomed first,
 * while its slices still lie on shards; then it is removed.
 *
 * Thread:  pure.
 * Memory:  names are copied. A key stays at its address until it is removed,
 *          with its placement.
 * Result:  an error comes with a sentence and has changed nothing.
 */
#ifndef KV_SERVER_DIRECTORY_H
#define KV_SERVER_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/map.h"
#include "common/base/roll.h"
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
    uint32_t id;
    uint64_t count;       /* Elements. */
    uint64_t slice_count; /* Elements of each slice but the last. */
    uint32_t slices;
    unsigned char *placement; /* For each slice: the shard, all counted. */
    uint64_t doomed; /* Number of its deletion; 0: it is not deleted. */
    void *record;    /* For who remembers it. */
};

struct directory {
    uint32_t count; /* Keys. */
    /* Private. */
    uint32_t shards, slice_bytes;
    struct roll by_id; /* Owns the keys. */
    struct strmap by_identity;
    uint64_t *load;  /* Bytes, by shard. */
    uint32_t *heap;  /* Of shards: the least loaded is on top... */
    uint64_t streak; /* ...or the one that got this many in a row. */
};

/* `shards` are those of all servers. */
KV_MUST_CHECK enum kv_status
directory_init(struct directory *d, uint32_t shards, uint32_t slice_bytes);
void directory_fini(struct directory *d);

/* NULL when there is no such key; only name and number count. */
struct directory_key *directory_find(const struct directory *d,
                                     const struct key_desc *desc);

/* The first key whose id is *at or above, and *at behind it; NULL at the end.
 */
const struct directory_key *directory_walk(const struct directory *d,
                                           uint64_t *at);

/* KV_EINVAL unknown dtype or no elements, KV_ENOTSUP, KV_ETOOBIG, KV_EEXIST,
 * KV_ENOMEM. */
KV_MUST_CHECK enum kv_status directory_add(struct directory *d,
                                           const struct key_desc *desc,
                                           struct directory_key **out,
                                           char *error, size_t error_size);

/* What was added before, with the places it got; in the order of ids.
 * KV_EDATALOSS when that cannot be. */
KV_MUST_CHECK enum kv_status directory_restore(struct directory *d,
                                               const struct directory_key *was,
                                               struct directory_key **out,
                                               char *error, size_t error_size);

/* Frees the key; its places count as free. */
void directory_remove(struct directory *d, struct directory_key *key);

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
