/**
 * map - uint64 -> pointer, and bytes -> pointer (strmap).
 *
 * Open addressing, linear probing, power-of-two sizes, deletion by shifting
 * back (no tombstones, so lookups stay short after any history). Keys may come
 * from a peer: both hashes are seeded from the system's randomness when a
 * table is made, so nobody can choose keys that collide. The order of
 * walking is therefore different in each process: never let a result depend
 * on it.
 *
 * Thread:  the owner.
 * Memory:  a map keeps the pointers and never looks behind them; a strmap
 *          copies the names. A table grows as it fills and never shrinks.
 * Result:  on KV_ENOMEM nothing changed.
 */
#ifndef KV_COMMON_BASE_MAP_H
#define KV_COMMON_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct map_slot {
    uint64_t key;
    void *value; /* NULL: empty. */
};

struct map {
    size_t count;

    /* Private. */
    struct map_slot *slots; /* Owned; NULL until the first put. */
    size_t capacity;        /* Power of two. */
    uint64_t seed;
};

void map_init(struct map *m);

/* Frees the table, not what the values point to. */
void map_fini(struct map *m);

/* Room for `count` in all, so that puts up to there cannot fail. */
KV_MUST_CHECK enum kv_status map_reserve(struct map *m, size_t count);

/* `value` is not NULL. KV_EEXIST if the key is there already. */
KV_MUST_CHECK enum kv_status map_put(struct map *m, uint64_t key, void *value);

/* NULL if not there. */
void *map_get(const struct map *m, uint64_t key);

/* Take out and return; NULL if not there. */
void *map_remove(struct map *m, uint64_t key);

/* Walk: start with *at = 0; NULL at the end. Do not change the map meanwhile.
 * `key` may be NULL. */
void *map_next(const struct map *m, size_t *at, uint64_t *key);

struct strmap_slot {
    char *name; /* Owned copy, with a 0 after it for printing. */
    size_t size;
    uint64_t hash;
    void *value; /* NULL: empty. */
};

struct strmap {
    size_t count;

    /* Private. */
    struct strmap_slot *slots;
    size_t capacity;
    uint64_t seed[2];
};

/* As above; a name is `size` bytes, any bytes, at most STRMAP_NAME_MAX. */
#define STRMAP_NAME_MAX 65535

void strmap_init(struct strmap *m);
void strmap_fini(struct strmap *m);
KV_MUST_CHECK enum kv_status strmap_put(struct strmap *m, const void *name,
                                        size_t size, void *value);
void *strmap_get(const struct strmap *m, const void *name, size_t size);
void *strmap_remove(struct strmap *m, const void *name, size_t size);

/* `name` and `size` may be NULL; the name is valid until the map changes. */
void *strmap_next(const struct strmap *m, size_t *at, const char **name,
                  size_t *size);

#endif
