#include <string.h>
#include <sys/random.h>

#include "common/base/check.h"
#include "common/base/map.h"
#include "common/base/mem.h"

enum { CAPACITY_MIN = 16 };

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

/* Keyed by the table's seeds: names come from peers. */
static uint64_t hash(const struct strmap *m, const void *name, size_t size)
{
    const unsigned char *p = name;
    uint64_t h = m->seed[0] ^ size, word;

    for (; size >= sizeof word; size -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        h = mix(h ^ word) + m->seed[1];
    }
    word = 0;
    memcpy(&word, p, size);
    return mix(h ^ word);
}

void strmap_init(struct strmap *m)
{
    *m = (struct strmap){0};
    KV_CHECK(getrandom(m->seed, sizeof m->seed, 0) == sizeof m->seed);
}

void strmap_fini(struct strmap *m)
{
    for (size_t i = 0; i < m->capacity; i++) {
        mem_free(m->slots[i].name);
    }
    mem_free(m->slots);
    m->slots = NULL;
    m->capacity = 0;
    m->count = 0;
}

/* Where the name is, or the empty slot where it would go. */
static size_t find(const struct strmap *m, const void *name, size_t size,
                   uint64_t h)
{
    size_t i = (size_t)h & (m->capacity - 1);

    for (; m->slots[i].value != NULL; i = (i + 1) & (m->capacity - 1)) {
        const struct strmap_slot *s = &m->slots[i];

        if (s->hash == h && s->size == size &&
            (size == 0 || memcmp(s->name, name, size) == 0)) {
            break;
        }
    }
    return i;
}

static enum kv_status grow(struct strmap *m)
{
    struct strmap old = *m;
    size_t capacity = m->capacity == 0 ? CAPACITY_MIN : m->capacity * 2;

    if (m->capacity != 0 && m->count + 1 <= m->capacity / 4 * 3) {
        return KV_OK;
    }
    m->slots = mem_zalloc(capacity, sizeof *m->slots);
    if (m->slots == NULL) {
        m->slots = old.slots;
        return KV_ENOMEM;
    }
    m->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        const struct strmap_slot *s = &old.slots[i];

        if (s->value != NULL) {
            m->slots[find(m, s->name, s->size, s->hash)] = *s;
        }
    }
    mem_free(old.slots);
    return KV_OK;
}

enum kv_status strmap_put(struct strmap *m, const void *name, size_t size,
                          void *value)
{
    uint64_t h = hash(m, name, size);
    char *copy;

    KV_CHECK(value != NULL && size <= STRMAP_NAME_MAX);
    if (strmap_get(m, name, size) != NULL) {
        return KV_EEXIST;
    }
    copy = mem_alloc(size + 1);
    if (copy == NULL) {
        return KV_ENOMEM;
    }
    if (grow(m) != KV_OK) {
        mem_free(copy);
        return KV_ENOMEM;
    }
    if (size > 0) {
        memcpy(copy, name, size);
    }
    copy[size] = '\0';
    m->slots[find(m, name, size, h)] =
        (struct strmap_slot){copy, size, h, value};
    m->count++;
    return KV_OK;
}

void *strmap_get(const struct strmap *m, const void *name, size_t size)
{
    return m->capacity == 0
               ? NULL
               : m->slots[find(m, name, size, hash(m, name, size))].value;
}

void *strmap_remove(struct strmap *m, const void *name, size_t size)
{
    size_t mask = m->capacity - 1, hole;
    void *value;

    if (m->capacity == 0) {
        return NULL;
    }
    hole = find(m, name, size, hash(m, name, size));
    value = m->slots[hole].value;
    if (value == NULL) {
        return NULL;
    }
    mem_free(m->slots[hole].name);
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL;
         i = (i + 1) & mask) {
        size_t want = (size_t)m->slots[i].hash & mask;

        if (((i - want) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct strmap_slot){0};
    m->count--;
    return value;
}

void *strmap_next(const struct strmap *m, size_t *at, const char **name,
                  size_t *size)
{
    for (; *at < m->capacity; ++*at) {
        const struct strmap_slot *s = &m->slots[*at];

        if (s->value == NULL) {
            continue;
        }
        ++*at;
        if (name != NULL) {
            *name = s->name;
        }
        if (size != NULL) {
            *size = s->size;
        }
        return s->value;
    }
    return NULL;
}
