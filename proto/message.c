#include "proto/message.h"

static const char *const kind_names[] = {
    [MESSAGE_NONE] = "none",       [MESSAGE_WELCOME] = "welcome",
    [MESSAGE_ERROR] = "error",     [MESSAGE_OK] = "ok",
    [MESSAGE_JOIN] = "join",       [MESSAGE_JOINED] = "joined",
    [MESSAGE_ENLIST] = "enlist",   [MESSAGE_KEY] = "key",
    [MESSAGE_PLACED] = "placed",   [MESSAGE_BARRIER] = "barrier",
    [MESSAGE_LEAVE] = "leave",     [MESSAGE_OPEN] = "open",
    [MESSAGE_OPENED] = "opened",   [MESSAGE_PUSH] = "push",
    [MESSAGE_PULL] = "pull",       [MESSAGE_ANSWER] = "answer",
    [MESSAGE_AGAIN] = "again",     [MESSAGE_OPTIMIZER] = "optimizer",
    [MESSAGE_HYPER] = "hyper",     [MESSAGE_STALLED] = "stalled",
    [MESSAGE_NORMS] = "norms",     [MESSAGE_TOTALS] = "totals",
    [MESSAGE_MEMBER] = "member",   [MESSAGE_ROUNDS] = "rounds",
    [MESSAGE_DEAD] = "dead",       [MESSAGE_DEAD_COUNT] = "dead-count",
    [MESSAGE_PING] = "ping",       [MESSAGE_SKIPPED] = "skipped",
    [MESSAGE_LIST] = "list",       [MESSAGE_LISTED] = "listed",
    [MESSAGE_DELETE] = "delete",   [MESSAGE_DROP] = "drop",
    [MESSAGE_VERSION] = "version", [MESSAGE_VERSIONED] = "versioned",
    [MESSAGE_WAITING] = "waiting",
};

const char *message_kind_name(enum message_kind kind)
{
    if ((unsigned)kind >= MESSAGE_KINDS || kind_names[kind] == NULL) {
        return "unknown";
    }
    return kind_names[kind];
}

/* --- Batches ------------------------------------------------------------- */

/* Counted, not kept: there is rarely more than a handful of runs. */
static uint32_t entries(const struct message_batch *batch)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < batch->run_count; i++) {
        count += batch->runs[i].count;
    }
    return count;
}

bool message_add(struct message_batch *batch, uint32_t slot, uint64_t round,
                 uint32_t size)
{
    return message_add_run(batch, slot, 1, round, size);
}

bool message_add_run(struct message_batch *batch, uint32_t slot, uint32_t count,
                     uint64_t round, uint32_t size)
{
    struct run *last = &batch->runs[batch->run_count];

    if (entries(batch) + count > KV_BATCH_ENTRIES_MAX) {
        return false;
    }
    if (batch->run_count > 0) {
        struct run *run = last - 1;

        if (slot == run->slot + run->count && round == run->round &&
            size == run->size) {
            run->count += count;
            return true;
        }
    }
    if (batch->run_count >= KV_BATCH_RUNS_MAX) {
        return false;
    }
    *last = (struct run){slot, count, round, size};
    batch->run_count++;
    return true;
}

const struct run *message_direct(const struct message *m)
{
    const struct run *run;

    if ((m->kind != MESSAGE_PUSH && m->kind != MESSAGE_PULL &&
         m->kind != MESSAGE_ANSWER) ||
        m->batch.run_count != 1) {
        return NULL;
    }
    run = m->batch.runs;
    return run->count == 1 && run->size >= KV_DIRECT_MIN ? run : NULL;
}
