/**
 * arena_private - what arena.c and arena_file.c share.
 *
 * The file: one page of header, then blocks back to back up to `used`, each a
 * struct block and its payload. Fields marked "this run" mean nothing after a
 * restart.
 */
#ifndef KV_SERVER_ARENA_PRIVATE_H
#define KV_SERVER_ARENA_PRIVATE_H

#include "server/arena.h"

#define ARENA_HEAD_SIZE ((size_t)4096)
#define ARENA_ALIGN ((size_t)64)

/* Payloads are multiples of 64 bytes up to 4 KiB, of 4 KiB above. Each such
 * size up to 64 MiB has a list of free blocks; the last list has all larger. */
/* Sizes are multiples of 64 bytes up to 4 KiB, and above that have 16 steps to
 * each power of two: at most a sixteenth is lost to rounding. */
#define ARENA_FINE_POWER 12
#define ARENA_FINE_MAX ((size_t)1 << ARENA_FINE_POWER)
#define ARENA_STEPS_POWER 4
#define ARENA_CLASSES 512

struct arena_head {
    uint64_t magic; /* Written last. */
    uint32_t format;
    uint32_t reserved;
    struct arena_identity identity;
    uint64_t id, life, used, suspect;
    uint64_t first_kept; /* Offset of the first permanent block. */
    uint64_t words[ARENA_WORDS];
    char build[128]; /* Compiler and instruction set of its maker. */
};

struct block {
    uint64_t size;      /* Of the payload. */
    uint64_t next_kept; /* Offset; permanent blocks only. */
    uint32_t kind;
    uint32_t mark;           /* BLOCK_MARK */
    uint32_t holders;        /* This run; 0 is free. */
    uint32_t kept;           /* This run; permanent. */
    struct block *next_free; /* This run. */
    struct block *prev_kept; /* This run. */
    uint64_t reserved[2];
};

struct arena {
    unsigned char *base;
    struct arena_head *head; /* == base */
    size_t size_max;
    size_t file_bytes; /* Backed by memory. */
    int fd;            /* -1: volatile. */
    struct block *last_kept;
    size_t free_bytes; /* Payloads of free blocks. */
    size_t blocks;
    bool released;                     /* Something, since the last sweep. */
    uint64_t some[ARENA_CLASSES / 64]; /* Bit per class: is there a block? */
    struct block *free[ARENA_CLASSES];
};

#define ARENA_BLOCK_MARK UINT32_C(0x6b6c6221)

static inline void *arena_payload(struct block *b)
{
    return b + 1;
}

static inline struct block *arena_block_at(const struct arena *a,
                                           uint64_t offset)
{
    return (struct block *)(void *)(a->base + offset);
}

static inline struct block *arena_next_block(struct block *b)
{
    return (struct block *)(void *)((unsigned char *)arena_payload(b) +
                                    b->size);
}

/* --- arena_free.c --------------------------------------------------------- */

void arena_free_add(struct arena *a, struct block *b);

/* A free block of this size, or at most a quarter more; NULL if there is none.
 * The last one that was freed goes first: it is still in the cache. */
struct block *arena_free_take(struct arena *a, size_t size);

/* From a block of any greater size. */
struct block *arena_free_cut(struct arena *a, size_t size);

/* Find out anew what is free: what nobody holds. Neighbours are joined. */
void arena_free_sweep(struct arena *a);

/* --- arena_file.c, arena_head.c ------------------------------------------- */

/* Where an error sentence goes, and what it is about. */
struct arena_report {
    char *text;
    size_t size;
    const char *dir, *name;
};

void arena_head_fill(struct arena_head *h,
                     const struct arena_identity *identity);
KV_MUST_CHECK enum kv_status arena_head_none(const struct arena_report *r);
KV_MUST_CHECK enum kv_status arena_head_check(const struct arena_report *r,
                                              const struct arena_config *config,
                                              struct arena_head *h);

/* Open, check and map the file, or make it; sets fd, base, file_bytes. */
KV_MUST_CHECK enum kv_status arena_file_open(struct arena *a,
                                             const struct arena_config *config,
                                             char *error, size_t error_size);
void arena_file_close(struct arena *a);

/* Back at least `size` bytes with memory: KV_ENOSPC changes nothing. */
KV_MUST_CHECK enum kv_status arena_file_grow(struct arena *a, size_t size);

/* What the file system can still give. */
size_t arena_file_room(const struct arena *a);

#endif
