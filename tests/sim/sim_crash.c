#include "tests/sim/sim_crash.h"

#include <setjmp.h>
#include <stddef.h>

#include "server/arena.h"
#include "server/shard.h"

static jmp_buf death;
static uint32_t countdown; /* 0: not armed. */
static uint32_t held_factor = 1;

bool sim_crash_run(void (*call)(void *arg), void *arg, uint32_t at)
{
    if (setjmp(death) != 0) {
        return false;
    }
    countdown = at;
    call(arg);
    countdown = 0;
    return true;
}

void sim_crash_point(void)
{
    if (countdown > 0 && --countdown == 0) {
        longjmp(death, 1);
    }
}

void sim_crash_held_factor(uint32_t factor)
{
    held_factor = factor;
}

/* --- Seams ---------------------------------------------------------------- */

void __real_arena_store(uint64_t *word, uint64_t value);
void *__real_arena_alloc(struct arena *a, size_t size);
void __real_arena_keep(struct arena *a, void *block, uint32_t kind);
void __real_arena_release(struct arena *a, void *block);
void __real_arena_redo(void *to, const void *from, size_t size);
size_t __real_shard_held(const struct shard *s, uint32_t rank);

void __wrap_arena_store(uint64_t *word, uint64_t value);
void *__wrap_arena_alloc(struct arena *a, size_t size);
void __wrap_arena_keep(struct arena *a, void *block, uint32_t kind);
void __wrap_arena_release(struct arena *a, void *block);
void __wrap_arena_redo(void *to, const void *from, size_t size);
size_t __wrap_shard_held(const struct shard *s, uint32_t rank);

void __wrap_arena_store(uint64_t *word, uint64_t value)
{
    sim_crash_point();
    __real_arena_store(word, value);
    sim_crash_point();
}

void *__wrap_arena_alloc(struct arena *a, size_t size)
{
    sim_crash_point();
    return __real_arena_alloc(a, size);
}

void __wrap_arena_keep(struct arena *a, void *block, uint32_t kind)
{
    sim_crash_point();
    __real_arena_keep(a, block, kind);
    sim_crash_point();
}

void __wrap_arena_release(struct arena *a, void *block)
{
    sim_crash_point();
    __real_arena_release(a, block);
}

/* A copy that is cut short has left a part. */
void __wrap_arena_redo(void *to, const void *from, size_t size)
{
    sim_crash_point();
    __real_arena_redo(to, from, size / 2);
    sim_crash_point();
    __real_arena_redo(to, from, size);
}

size_t __wrap_shard_held(const struct shard *s, uint32_t rank)
{
    return __real_shard_held(s, rank) * held_factor;
}
