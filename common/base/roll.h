/**
 * roll - things in the order in which they came, each with a number.
 *
 * Numbers grow and none is given twice, so they also say where a walk in pieces
 * has come to, whatever comes and goes meanwhile. A sorted array: a thing that
 * is taken out leaves a hole, and when most are holes they are closed.
 *
 * Thread:  the owner.
 * Memory:  keeps the pointers and never looks behind them.
 * Result:  on KV_ENOMEM nothing changed.
 */
#ifndef KV_COMMON_BASE_ROLL_H
#define KV_COMMON_BASE_ROLL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct roll_place {
    uint32_t number;
    void *thing; /* NULL: a hole. */
};

struct roll {
    uint32_t count; /* Things. */
    uint64_t next;  /* Above all numbers so far; the owner may raise it. */
    /* Private. */
    struct roll_place *places; /* Owned. */
    size_t used, capacity;
};

void roll_init(struct roll *r);
void roll_fini(struct roll *r);

/* `thing` is not NULL, `number` at least r->next. */
KV_MUST_CHECK enum kv_status roll_add(struct roll *r, uint32_t number,
                                      void *thing);

/* NULL if not there. */
void *roll_get(const struct roll *r, uint32_t number);
void *roll_remove(struct roll *r, uint32_t number);

/* The first thing from number *at on, and *at behind it; NULL at the end. */
void *roll_walk(const struct roll *r, uint64_t *at);

#endif
