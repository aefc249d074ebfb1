/**
 * keys - what this worker has registered: each key's form and its slices.
 *
 * A key is a string or an int64; 7 and "7" are two keys.
 *
 * Thread:  pure; the lane's.
 * Memory:  a key belongs to its table once it was added, else to who made it.
 *          Names are copied.
 * Result:  errors come with a sentence that names the key.
 */
#ifndef KV_WORKER_KEYS_H
#define KV_WORKER_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/map.h"
#include "common/base/status.h"
#include "worker/courier.h"

#define KEYS_TEXT_MAX (KV_KEY_NAME_MAX + 8)
#define KEYS_FORM_TEXT_MAX 192

/* A key and the form of its value, as a caller states them. */
struct key_spec {
    const char *name; /* NULL: the key is `number`. */
    int64_t number;
    enum kv_dtype dtype : 8;
    enum kv_storage storage : 8; /* Of a registered key; a call may differ. */
    uint32_t dims : 16;
    uint64_t shape[KV_DIMS_MAX];
};

static inline bool keys_same_shape(uint32_t dims, const uint64_t *a,
                                   const uint64_t *b)
{
    for (uint32_t i = 0; i < dims; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

/* The last notice of the servers that a push waits for others. */
struct key_stall {
    uint64_t round; /* 0: none. */
    const struct slice *slice;
    uint32_t rank;          /* One who is missing... */
    uint32_t missing_count; /* ...of these. */
    uint32_t left;          /* Ranks that nobody waits for. */
    bool connected;
};

/* A call with many small keys reads two cache lines of each: this struct's
 * first, up to shape[0], and that of its only slice. */
struct key {
    _Alignas(64) struct key *follower; /* Came after it in a call; a guess for
                                          the next. */
    uint64_t named_by;                 /* The last operation that named it. */
    struct slice *slices;              /* `only`, or owned. */
    uint32_t guessed_at; /* keys.removals, when `follower` was looked up. */
    uint32_t slice_count;
    struct key_spec spec; /* Its name is the key's own copy. */
    uint64_t slice_step;  /* Elements of each slice but the last. */
    struct slice only;
    uint64_t count; /* Elements. */
    /* dist_sync: the last round that some slice had when it was registered, of
     * any kind and of those that were no reset. */
    uint64_t reached, reached_otherwise;
    uint32_t id; /* Of the job; of a local store. */
    struct key_stall stall;
    struct key *next_lost;     /* For who has it in no table. */
    struct local_value *value; /* Of a local store, which has no slices. */
    struct key_block *block;   /* That it lies in. */
};

/* Keys that are made one after the other lie side by side: a model of many
 * small ones is read in line, and may be fetched ahead. */
#define KEYS_BLOCK 64

_Static_assert(offsetof(struct key, spec.shape[1]) == 64, "one line");
_Static_assert(offsetof(struct key, only) % 64 == 0, "a line of its own");

struct key_block {
    uint32_t used, live; /* Keys; `live` counts the table, too. */
    struct key keys[KEYS_BLOCK];
};

struct keys {
    struct map by_number;
    struct strmap by_name;
    struct key_block *block; /* Where the next one goes, or NULL. */
    uint32_t removals;
};

void keys_init(struct keys *k);
void keys_fini(struct keys *k); /* Frees the keys, too. */

struct key *keys_find(const struct keys *k, const struct key_spec *spec);

/* Whoever goes through keys in the order of a call will want the one that lies
 * some places on, soon: the line at `offset` of it. */
static inline void keys_fetch_ahead(const struct key *key, size_t offset)
{
    uintptr_t ahead = (uintptr_t)key + 16 * sizeof *key + offset;

    __builtin_prefetch((const void *)ahead);
}

/* The same, for the key that comes after `before` in a call (NULL: the first):
 * calls name the same keys in the same order, and a guess saves the search. */
struct key *keys_find_next(const struct keys *k, struct key *before,
                           const struct key_spec *spec);

/* Walk, in no order: start with zeros; NULL at the end. Do not change the table
 * meanwhile. */
struct keys_walk {
    size_t number, name;
};
struct key *keys_each(const struct keys *k, struct keys_walk *at);

/* Takes the key. KV_EEXIST, KV_ENOMEM. */
KV_MUST_CHECK enum kv_status keys_add(struct keys *k, struct key *key);

/* The key, taken back; NULL if there is none. */
struct key *keys_remove(struct keys *k, const struct key_spec *spec);

/* NULL when out of memory. It has no slices yet, and is in no table. */
struct key *keys_new(struct keys *k, const struct key_spec *spec);
void keys_free(struct key *key);

/* Cut into slices of `step` elements, maybe anew. KV_ENOMEM; KV_EPROTO when
 * that is not `slice_count` of them. */
KV_MUST_CHECK enum kv_status keys_cut(struct key *key, uint64_t step,
                                      uint64_t slice_count);

/* Of one key, given and wanted. KV_EMISMATCH, naming key and both forms. */
KV_MUST_CHECK enum kv_status keys_compare_forms(const struct key_spec *in,
                                                const struct key_spec *out,
                                                char *error, size_t error_size);

/* KV_EMISMATCH, naming key, rank and both forms. */
KV_MUST_CHECK enum kv_status keys_compare(const struct key *key, uint32_t rank,
                                          const struct key_spec *spec,
                                          char *error, size_t error_size);

/* As MXNet's LARS does: no trust ratio for names that end in gamma, beta or
 * bias. */
bool keys_plain(const struct key_spec *spec);

/* "key 7" or "key 'w'"; returns out. */
const char *keys_text(const struct key_spec *spec, char out[KEYS_TEXT_MAX]);

/* "f32 (10,4)"; returns out. */
const char *keys_form_text(const struct key_spec *spec,
                           char out[KEYS_FORM_TEXT_MAX]);

#endif
