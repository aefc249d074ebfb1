#include "tests/sim/sim_heap.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/list.h"
#include "common/base/mem.h"

struct piece {
    struct list_link among_live; /* Of its process. */
    void *base;                  /* As malloc gave it. */
    size_t size;
    unsigned process;
};

#define HEAD 64

_Static_assert(sizeof(struct piece) <= HEAD, "the head of a piece");

static struct list live[SIM_HEAP_PROCESSES];
static size_t counts[SIM_HEAP_PROCESSES];
static unsigned current;
static uint64_t allocations;

static struct list *list_of(unsigned process)
{
    if (live[process].head.next == NULL) {
        list_init(&live[process]);
    }
    return &live[process];
}

static struct piece *piece_of(void *p)
{
    return (struct piece *)(void *)((char *)p - HEAD);
}

static void drop(struct piece *piece)
{
    list_unlink(&piece->among_live);
    counts[piece->process]--;
    free(piece->base);
}

/* --- Processes ------------------------------------------------------------ */

unsigned sim_heap_enter(unsigned process)
{
    unsigned before = current;

    KV_CHECK(process < SIM_HEAP_PROCESSES);
    current = process;
    return before;
}

size_t sim_heap_live(unsigned process)
{
    return counts[process];
}

void sim_heap_kill(unsigned process)
{
    struct list *l = list_of(process);

    while (!list_empty(l)) {
        drop(LIST_ENTRY(list_first(l), struct piece, among_live));
    }
}

/* --- mem.h ---------------------------------------------------------------- */

void *mem_aligned(size_t align, size_t size)
{
    struct piece *piece;
    void *base = NULL;

    if (posix_memalign(&base, align, align + size) != 0) {
        return NULL;
    }
    piece = piece_of((char *)base + align);
    memset(piece, 0, sizeof *piece);
    piece->base = base;
    piece->size = size;
    piece->process = current;
    list_push(list_of(current), &piece->among_live);
    counts[current]++;
    allocations++;
    return (char *)base + align;
}

void *mem_alloc(size_t size)
{
    return mem_aligned(MEM_ALIGN_MIN, size);
}

void *mem_zalloc(size_t count, size_t size)
{
    void *p;

    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    p = mem_alloc(count * size);
    return p == NULL ? NULL : memset(p, 0, count * size);
}

void *mem_realloc(void *p, size_t size)
{
    void *grown = mem_alloc(size);

    if (grown != NULL && p != NULL) {
        size_t old = piece_of(p)->size;

        memcpy(grown, p, old < size ? old : size);
        mem_free(p);
    }
    return grown;
}

char *mem_strdup(const char *s)
{
    char *copy = mem_alloc(strlen(s) + 1);

    return copy == NULL ? NULL : strcpy(copy, s);
}

void mem_free(void *p)
{
    if (p != NULL) {
        drop(piece_of(p));
    }
}

uint64_t mem_allocations(void)
{
    return allocations;
}
