#include "server/parking.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

struct parked_key {
    struct list waiting;
};

void parking_init(struct parking *p)
{
    memset(p, 0, sizeof *p);
    for (int kind = 0; kind < PARK_KINDS; kind++) {
        list_init(&p->waiting[kind]);
    }
    strmap_init(&p->keys);
}

void parking_fini(struct parking *p)
{
    KV_CHECK(parking_empty(p) && p->keys.count == 0);
    strmap_fini(&p->keys);
}

void parking_guest_init(struct parking_guest *g)
{
    list_init(&g->parked);
    g->count = 0;
}

/* --- Keys that somebody waits for ---------------------------------------- */

static struct parked_key *find_key(const struct parking *p,
                                   const struct key_desc *key)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(key, identity);

    return strmap_get(&p->keys, identity, size);
}

static bool wait_for_key(struct parking *p, struct parked *r)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(&r->key, identity);
    struct parked_key *k = find_key(p, &r->key);

    if (k == NULL) {
        k = mem_alloc(sizeof *k);
        if (k == NULL) {
            return false;
        }
        list_init(&k->waiting);
        if (strmap_put(&p->keys, identity, size, k) != KV_OK) {
            mem_free(k);
            return false;
        }
    }
    r->waits_for = k;
    list_push(&k->waiting, &r->among_key);
    return true;
}

static void stop_waiting(struct parking *p, struct parked *r)
{
    unsigned char identity[KEY_IDENTITY_MAX];
    size_t size = key_identity(&r->key, identity);

    list_unlink(&r->among_key);
    if (list_empty(&r->waits_for->waiting)) {
        mem_free(strmap_remove(&p->keys, identity, size));
    }
}

/* --- In and out ---------------------------------------------------------- */

struct parked *parking_add(struct parking *p, enum park_kind kind,
                           struct parking_guest *g, void *guest,
                           uint64_t request_id, const struct key_desc *key,
                           uint64_t now_ms)
{
    const char *name = key != NULL && key->name != NULL ? key->name : "";
    size_t size = strlen(name) + 1;
    struct parked *r = mem_zalloc(1, sizeof *r + size);

    KV_CHECK((key != NULL) == (kind == PARK_KEY));
    if (r == NULL) {
        return NULL;
    }
    r->guest = guest;
    r->request_id = request_id;
    r->since_ms = now_ms;
    r->kind = kind;
    if (key != NULL) {
        memcpy(r->name, name, size);
        r->key = *key;
        r->key.name = key->name == NULL ? NULL : r->name;
        if (!wait_for_key(p, r)) {
            mem_free(r);
            return NULL;
        }
    }
    if (list_empty(&p->waiting[kind])) {
        p->line_ms[kind] = now_ms + PARKING_FIRST_LINE_MS;
    }
    list_push(&p->waiting[kind], &r->among_kind);
    list_push(&g->parked, &r->among_guest);
    p->count[kind]++;
    g->count++;
    return r;
}

void parking_remove(struct parking *p, struct parking_guest *g,
                    struct parked *r)
{
    if (r->waits_for != NULL) {
        stop_waiting(p, r);
    }
    list_unlink(&r->among_kind);
    list_unlink(&r->among_guest);
    p->count[r->kind]--;
    g->count--;
    mem_free(r);
}

void parking_forget(struct parking *p, struct parking_guest *g)
{
    while (!list_empty(&g->parked)) {
        parking_remove(
            p, g,
            LIST_ENTRY(list_first(&g->parked), struct parked, among_guest));
    }
}

/* --- Looking ------------------------------------------------------------- */

struct parked *parking_first(const struct parking *p, enum park_kind kind)
{
    struct list_link *first = list_first(&p->waiting[kind]);

    return first == NULL ? NULL : LIST_ENTRY(first, struct parked, among_kind);
}

struct parked *parking_first_for(const struct parking *p,
                                 const struct key_desc *key)
{
    struct parked_key *k = find_key(p, key);

    return k == NULL
               ? NULL
               : LIST_ENTRY(list_first(&k->waiting), struct parked, among_key);
}

bool parking_empty(const struct parking *p)
{
    for (int kind = 0; kind < PARK_KINDS; kind++) {
        if (!list_empty(&p->waiting[kind])) {
            return false;
        }
    }
    return true;
}

const struct parked *parking_notice(struct parking_guest *g, uint64_t now_ms)
{
    struct list_link *first = list_first(&g->parked);
    const struct parked *r =
        first == NULL ? NULL : LIST_ENTRY(first, struct parked, among_guest);

    if (r == NULL || now_ms < r->since_ms + PARKING_FIRST_NOTICE_MS ||
        now_ms < g->notice_ms) {
        return NULL;
    }
    g->notice_ms = now_ms + PARKING_NEXT_NOTICE_MS;
    return r;
}

bool parking_line_due(struct parking *p, enum park_kind kind, uint64_t now_ms)
{
    if (list_empty(&p->waiting[kind]) || now_ms < p->line_ms[kind]) {
        return false;
    }
    p->line_ms[kind] = now_ms + PARKING_NEXT_LINE_MS;
    return true;
}
