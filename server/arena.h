/**
 * arena - a server's durable state: blocks in a mapped file, changed by one
 * store.
 *
 * The file lies on tmpfs, so what a killed process has stored is still there.
 * State is changed by a single aligned 8-byte store: new state is written to a
 * fresh block, then one word is set to the block's offset. A kill at any
 * instruction leaves the old state or the new. Where a change is small and its
 * value large, the fresh block holds the change alone; once it is committed it
 * is copied into place (arena_redo), and copied again at recovery.
 *
 *   header | block | block | block | ...            used ->        | room
 *
 * Permanent blocks (arena_keep) are found again, in the order in which they
 * were kept, by arena_next(). The others are data: after a restart the owner
 * claims those that its permanent blocks point to; arena_recovered() frees the
 * rest. Which blocks are free is never stored, so it cannot be wrong.
 *
 * Why not two fixed halves a value, as one might first think: the block that
 * the last commit freed is still in the cache when the next one writes, it
 * takes 1x the memory instead of 2x, and a value that is still being sent is
 * simply not freed yet, rather than a special case.
 *
 * Without a directory (--volatile) the same code runs on anonymous memory.
 *
 * Thread:  one; shared by nobody.
 * Memory:  blocks are 64-byte aligned. A block has a count of holders; the
 *          owner is one, each reply in flight another; the last one frees it.
 */
#ifndef KV_SERVER_ARENA_H
#define KV_SERVER_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define ARENA_FORMAT 5
#define ARENA_WORDS 16

struct arena;

/* Compared with what the file says; a difference is refused. */
struct arena_identity {
    uint8_t job[16];
    uint32_t server, shard; /* shard UINT32_MAX: the root's directory. */
    uint32_t shards, workers;
};

struct arena_config {
    const char *dir;  /* NULL: volatile. Made with mode 0700 when missing. */
    const char *name; /* File in dir, e.g. "shard-0.arena". */
    struct arena_identity identity;
    size_t size_max;     /* Address space to reserve. */
    size_t size_initial; /* Really allocated at start. */
    bool new_job;        /* Replace a file of another job. */
    bool trust_suspect;  /* Accept one whose process crashed by itself. */
};

/* Errors, each with a sentence: KV_EBUSY another process has it, KV_ESTALE it
 * belongs to another job, KV_EMISMATCH no arena, or another format, server,
 * number of shards or workers, KV_EDATALOSS its process crashed by SIGSEGV or
 * the like, or it is damaged, KV_ENOSPC, KV_EINVAL the path cannot be used,
 * KV_ENOMEM. Another build is only warned of. */
KV_MUST_CHECK enum kv_status arena_open(const struct arena_config *config,
                                        struct arena **out, char *error,
                                        size_t error_size);

/* Unmap and unlock; the file stays. */
void arena_close(struct arena *a);

/* Random, made with the file: another id means that the state was lost. */
uint64_t arena_id(const struct arena *a);

/* How often the file was opened; 1 the first time. */
uint64_t arena_life(const struct arena *a);

/* ARENA_WORDS scalars for the owner, zero at first; set by arena_store(). */
uint64_t *arena_words(struct arena *a);

/* Set this from a crash handler, and the next start is refused. */
volatile uint64_t *arena_suspect(struct arena *a);

/* A data block, contents undefined, held once. NULL: no room (KV_ENOSPC). */
void *arena_alloc(struct arena *a, size_t size);

/* What is filled becomes permanent, by one store. */
void arena_keep(struct arena *a, void *block, uint32_t kind);

/* It is a data block again, by one store, and held once. */
void arena_unkeep(struct arena *a, void *block);

void arena_hold(struct arena *a, void *block);
void arena_release(struct arena *a, void *block);

/* The block is about to be held or released: have its header near by then. */
static inline __attribute__((always_inline)) void
arena_prefetch(const void *block)
{
    __builtin_prefetch((const char *)block - 1, 1);
}

/* Commit: everything written before is visible to whoever sees the value. */
void arena_store(uint64_t *word, uint64_t value);

/* Copy what a committed block says, in place: a kill may cut it short, and
 * whoever recovers does it again. */
void arena_redo(void *to, const void *from, size_t size);

uint64_t arena_offset(const struct arena *a, const void *block); /* Never 0. */
void *arena_at(struct arena *a, uint64_t offset);

/* Walk the permanent blocks: NULL starts, NULL ends. */
void *arena_next(struct arena *a, void *block, uint32_t *kind);

/* At recovery: this data block is in use, held once by each claim;
 * KV_EDATALOSS if it cannot be. */
KV_MUST_CHECK enum kv_status arena_claim(struct arena *a, uint64_t offset);
void arena_recovered(struct arena *a);

struct arena_usage {
    size_t file_bytes, used_bytes, free_bytes; /* free: in reusable blocks. */
    size_t room_bytes; /* What can still be had, in all. */
    size_t blocks;
};
void arena_usage(const struct arena *a, struct arena_usage *out);

#endif
