#include "common/base/map.h"

#include <sys/random.h>

#include "common/base/check.h"
#include "common/base/mem.h"

enum { CAPACITY_MIN = 16 };

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static size_t home(const struct map *m, uint64_t key)
{
    return (size_t)mix(key ^ m->seed) & (m->capacity - 1);
}

void map_init(struct map *m)
{
    *m = (struct map){0};
    KV_CHECK(getrandom(&m->seed, sizeof m->seed, 0) == sizeof m->seed);
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    m->slots = NULL;
    m->capacity = 0;
    m->count = 0;
}

static void place(struct map *m, uint64_t key, void *value)
{
    size_t i = home(m, key);

    while (m->slots[i].value != NULL) {
        i = (i + 1) & (m->capacity - 1);
    }
    m->slots[i] = (struct map_slot){key, value};
}

static enum kv_status resize(struct map *m, size_t capacity)
{
    struct map old = *m;

    m->slots = mem_zalloc(capacity, sizeof *m->slots);
    if (m->slots == NULL) {
        m->slots = old.slots;
        return KV_ENOMEM;
    }
    m->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL) {
            place(m, old.slots[i].key, old.slots[i].value);
        }
    }
    mem_free(old.slots);
    return KV_OK;
}

/* At most three quarters full. */
enum kv_status map_reserve(struct map *m, size_t count)
{
    size_t capacity = m->capacity == 0 ? CAPACITY_MIN : m->capacity;

    while (count > capacity / 4 * 3) {
        if (capacity > SIZE_MAX / 2 / sizeof *m->slots) {
            return KV_ENOMEM;
        }
        capacity *= 2;
    }
    return capacity == m->capacity ? KV_OK : resize(m, capacity);
}

static size_t find(const struct map *m, uint64_t key)
{
    size_t i = home(m, key);

    while (m->slots[i].value != NULL && m->slots[i].key != key) {
        i = (i + 1) & (m->capacity - 1);
    }
    return i;
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->capacity == 0 ? NULL : m->slots[find(m, key)].value;
}

enum kv_status map_put(struct map *m, uint64_t key, void *value)
{
    KV_CHECK(value != NULL);
    if (map_get(m, key) != NULL) {
        return KV_EEXIST;
    }
    if (map_reserve(m, m->count + 1) != KV_OK) {
        return KV_ENOMEM;
    }
    place(m, key, value);
    m->count++;
    return KV_OK;
}

void *map_remove(struct map *m, uint64_t key)
{
    size_t mask = m->capacity - 1, hole;
    void *value;

    if (m->capacity == 0) {
        return NULL;
    }
    hole = find(m, key);
    value = m->slots[hole].value;
    if (value == NULL) {
        return NULL;
    }
    /* Shift back whoever would no longer be found past the hole. */
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL;
         i = (i + 1) & mask) {
        size_t want = home(m, m->slots[i].key);

        if (((i - want) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole].value = NULL;
    m->count--;
    return value;
}

void *map_next(const struct map *m, size_t *at, uint64_t *key)
{
    for (; *at < m->capacity; ++*at) {
        const struct map_slot *s = &m->slots[*at];

        if (s->value != NULL) {
            ++*at;
            if (key != NULL) {
                *key = s->key;
            }
            return s->value;
        }
    }
    return NULL;
}
