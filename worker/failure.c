#include "worker/failure.h"

#include <stdarg.h>
#include <stdio.h>

#define STORES_MAX 4 /* Of one thread. */

struct slot {
    uint64_t store;
    char text[OP_TEXT_MAX];
};

/* The last slot of each thread is for kvw_open(); it needs no number. */
static _Thread_local struct slot slots[STORES_MAX + 1];
static _Thread_local unsigned next_slot;

static struct slot *find(uint64_t store)
{
    if (store == FAILURE_OPEN) {
        return &slots[STORES_MAX];
    }
    for (unsigned i = 0; i < STORES_MAX; i++) {
        if (slots[i].store == store) {
            return &slots[i];
        }
    }
    return NULL;
}

static struct slot *make(uint64_t store)
{
    struct slot *s = &slots[next_slot];

    next_slot = (next_slot + 1) % STORES_MAX;
    s->store = store;
    return s;
}

int failure(uint64_t store, enum kv_status status, const char *fmt, ...)
{
    struct slot *s = find(store);
    va_list args;

    if (s == NULL) {
        s = make(store);
    }
    va_start(args, fmt);
    vsnprintf(s->text, sizeof s->text, fmt, args);
    va_end(args);
    return (int)status;
}

const char *failure_text(uint64_t store)
{
    const struct slot *s = find(store);

    return s == NULL ? "" : s->text;
}
