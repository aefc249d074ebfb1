#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "server/shard_commit.h"
#include "server/shard_settings.h"

/* --- Answers -------------------------------------------------------------- */

static const char *text_of(const struct shard *s, enum kv_status status)
{
    return status == KV_OK || status == KV_EAGAIN ? NULL : s->text;
}

void shard_answer_push(struct shard *s, uint32_t rank, uint32_t slot,
                       uint64_t round, enum kv_status status)
{
    struct shard_answer a = {.rank = rank,
                             .slot = slot,
                             .round = round,
                             .status = status,
                             .text = text_of(s, status)};

    s->events.answer(s->events.ctx, &a);
}

static void answer_rows(struct shard *s, uint32_t rank, const struct entry *e,
                        uint64_t round, const void *wanted, uint32_t count)
{
    struct shard_answer a = {.rank = rank,
                             .slot = e->slot,
                             .round = round,
                             .status = KV_OK,
                             .pull = true,
                             .size = count * shard_row_size(e),
                             .table = e,
                             .wanted = wanted,
                             .wanted_count = count};

    s->events.answer(s->events.ctx, &a);
}

void shard_collect(struct shard *s, const struct shard_answer *a, void *out)
{
    shard_rows_read(s, a->table, a->wanted, a->wanted_count, out);
}

void shard_answer_pull(struct shard *s, uint32_t rank, const struct entry *e,
                       uint64_t round, const void *wanted, uint32_t count)
{
    struct shard_answer a = {.rank = rank,
                             .slot = e->slot,
                             .round = round,
                             .status = KV_OK,
                             .pull = true,
                             .value = shard_weights(e->value),
                             .size = e->count * kv_dtype_size(e->dtype),
                             .block = e->value};

    if (e->row_length > 0) {
        answer_rows(s, rank, e, round, wanted,
                    wanted == NULL ? (uint32_t)(e->count / e->row_length)
                                   : count);
        return;
    }
    s->events.answer(s->events.ctx, &a);
}

/* --- Refusals --------------------------------------------------------------
 */

enum kv_status shard_refuse(struct shard *s, enum kv_status status,
                            const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->text, sizeof s->text, format, args);
    va_end(args);
    return status;
}

enum kv_status shard_no_memory(struct shard *s)
{
    return shard_refuse(s, KV_ENOMEM, "the server is out of memory");
}

enum kv_status shard_no_slot(struct shard *s, uint32_t rank, uint32_t slot,
                             const char *verb)
{
    if (slot < s->slots) {
        return shard_refuse(s, KV_ENOTFOUND, SHARD_DELETED);
    }
    return shard_refuse(s, KV_ENOTFOUND,
                        "rank %u %s slot %u: this shard has %u slices", rank,
                        verb, slot, s->slots);
}

void shard_refuse_pull(struct shard *s, uint32_t rank, uint32_t slot,
                       uint64_t round, enum kv_status status)
{
    struct shard_answer a = {.rank = rank,
                             .slot = slot,
                             .round = round,
                             .status = status,
                             .pull = true,
                             .text = s->text};

    s->events.answer(s->events.ctx, &a);
}

/* --- What a rank has open ------------------------------------------------- */

void shard_forget(struct shard *s, uint32_t rank)
{
    struct list *open = &s->ranks[rank].open, *ripe = &s->ranks[rank].ripe;

    while (!list_empty(ripe)) {
        shard_share_unpull(
            s, LIST_ENTRY(list_first(ripe), struct share, among_open));
    }
    while (!list_empty(open)) {
        struct share *share =
            LIST_ENTRY(list_first(open), struct share, among_open);
        bool pushed = share->pushed;

        if (share->refused) {
            shard_share_pardon(s, share);
            continue;
        }
        if (share->pulls) {
            shard_share_unpull(s, share);
        }
        if (pushed) {
            shard_share_unpush(s, share);
        }
    }
    shard_forget_opens(s, rank);
}

size_t shard_held(const struct shard *s, uint32_t rank)
{
    return s->ranks[rank].held;
}

uint64_t shard_commits(const struct shard *s)
{
    return s->commits;
}

/* Without what is between the arrays. */
static size_t state_bytes(const struct entry *e)
{
    struct state_form form = e->value->form;
    size_t master = form.master ? e->shape.count : 0;
    size_t elements = master + form.slots * state_length(&e->shape, form);

    return e->count / e->shape.count * elements * sizeof(float);
}

void shard_census(const struct shard *s, struct shard_census *out)
{
    const struct entry *e;

    memset(out, 0, sizeof *out);
    out->slices = s->slices.count;
    out->used = out->slices > 0 || shard_deletions(s) > 0;
    for (uint32_t at = 0; (e = shard_each(s, &at)) != NULL;) {
        const struct value *v = e->value;

        if (message_rounds(v->round) > out->rounds_max) {
            out->rounds_max = message_rounds(v->round);
        }
        out->value_bytes += e->count * kv_dtype_size(e->dtype);
        out->state_bytes += state_bytes(e);
    }
}

/* --- Life ----------------------------------------------------------------- */

static bool allocate(struct shard *s)
{
    s->ranks = mem_zalloc(s->workers, sizeof *s->ranks);
    for (uint32_t rank = 0; s->ranks != NULL && rank < s->workers; rank++) {
        list_init(&s->ranks[rank].open);
        list_init(&s->ranks[rank].ripe);
        list_init(&s->ranks[rank].opens);
    }
    s->inputs = mem_zalloc(s->workers, sizeof *s->inputs);
    s->codecs = mem_zalloc(s->workers, sizeof *s->codecs);
    s->missing = mem_zalloc(s->workers, sizeof *s->missing);
    s->readers = shard_rows_readers(s->workers);
    return shard_reserve(s, SHARD_BLOCK) && s->ranks != NULL &&
           s->inputs != NULL && s->codecs != NULL && s->missing != NULL &&
           s->readers != NULL;
}

static enum kv_status recover(struct shard *s, char *error, size_t error_size)
{
    enum kv_status status = shard_recover_policy(s, error, error_size);

    if (status == KV_OK) {
        status = shard_recover_spec(s, error, error_size);
    }
    if (status == KV_OK) {
        status = shard_recover(s, error, error_size);
    }
    if (status == KV_OK) {
        arena_recovered(s->arena);
        shard_drop_own(s);
        status = shard_make_fence(s, error, error_size);
    }
    return status;
}

enum kv_status shard_new(struct arena *arena, uint32_t workers,
                         struct bufpool *buffers,
                         const struct shard_events *events, struct shard **out,
                         char *error, size_t error_size)
{
    struct shard *s = mem_aligned(64, sizeof *s);
    enum kv_status status = KV_ENOMEM;

    KV_CHECK(workers > 0 && workers <= KV_RANKS_MAX);
    snprintf(error, error_size, "out of memory");
    if (s == NULL) {
        return KV_ENOMEM;
    }
    memset(s, 0, sizeof *s);
    s->arena = arena;
    s->workers = workers;
    s->buffers = buffers;
    s->events = *events;
    map_init(&s->slices);
    map_init(&s->awaited);
    if (allocate(s)) {
        status = recover(s, error, error_size);
    }
    if (status != KV_OK) {
        shard_free(s);
        return status;
    }
    *out = s;
    return KV_OK;
}

static void no_release(void *ctx, uint32_t rank)
{
    (void)ctx;
    (void)rank;
}

void shard_free(struct shard *s)
{
    s->events.released = no_release;
    for (uint32_t rank = 0; s->ranks != NULL && rank < s->workers; rank++) {
        shard_forget(s, rank);
    }
    shard_free_shares(s);
    shard_free_norms(s);
    shard_free_slices(s);
    map_fini(&s->awaited);
    mem_free(s->ranks);
    mem_free(s->inputs);
    mem_free(s->codecs);
    mem_free(s->missing);
    mem_free(s->readers);
    mem_free(s->gradient);
    mem_free(s->weight);
    mem_free(s->new_weight);
    mem_free(s);
}
