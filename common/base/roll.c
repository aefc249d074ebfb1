#include "common/base/roll.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

#define CAPACITY_FIRST 64

void roll_init(struct roll *r)
{
    memset(r, 0, sizeof *r);
}

void roll_fini(struct roll *r)
{
    mem_free(r->places);
    memset(r, 0, sizeof *r);
}

/* The first place from `number` on; r->used if there is none. */
static size_t search(const struct roll *r, uint64_t number)
{
    size_t low = 0, high = r->used;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (r->places[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum kv_status roll_add(struct roll *r, uint32_t number, void *thing)
{
    KV_CHECK(thing != NULL && number >= r->next);
    if (r->used == r->capacity) {
        size_t capacity = r->capacity == 0 ? CAPACITY_FIRST : r->capacity * 2;
        struct roll_place *places =
            mem_realloc(r->places, capacity * sizeof *places);

        if (places == NULL) {
            return KV_ENOMEM;
        }
        r->places = places;
        r->capacity = capacity;
    }
    r->places[r->used++] = (struct roll_place){number, thing};
    r->next = (uint64_t)number + 1;
    r->count++;
    return KV_OK;
}

static struct roll_place *find(const struct roll *r, uint32_t number)
{
    size_t at = search(r, number);

    return at < r->used && r->places[at].number == number ? &r->places[at]
                                                          : NULL;
}

void *roll_get(const struct roll *r, uint32_t number)
{
    const struct roll_place *place = find(r, number);

    return place == NULL ? NULL : place->thing;
}

static void close_holes(struct roll *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->used; i++) {
        if (r->places[i].thing != NULL) {
            r->places[kept++] = r->places[i];
        }
    }
    r->used = kept;
}

void *roll_remove(struct roll *r, uint32_t number)
{
    struct roll_place *place = find(r, number);
    void *thing = place == NULL ? NULL : place->thing;

    if (thing == NULL) {
        return NULL;
    }
    place->thing = NULL;
    r->count--;
    if (r->used >= CAPACITY_FIRST && r->count < r->used / 2) {
        close_holes(r);
    }
    return thing;
}

void *roll_walk(const struct roll *r, uint64_t *at)
{
    for (size_t i = search(r, *at); i < r->used; i++) {
        if (r->places[i].thing != NULL) {
            *at = (uint64_t)r->places[i].number + 1;
            return r->places[i].thing;
        }
    }
    return NULL;
}
