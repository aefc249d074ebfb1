#include <string.h>

#include "common/compute/vector.h"
#include "server/shard_commit.h"
#include "server/shard_settings.h"
#include "server/shard_table.h"

/* A round mostly changes a few rows of many. They are computed into the new
 * value block, made live by one store like any round, and then copied into
 * place; a restarted server copies again. When all rows change, the rows get a
 * fresh block instead. */

/* Rows lie anywhere in a table that no cache holds, and the processor cannot
 * guess which is next: it is told this many at a time, and so waits for all of
 * them together. The end of a long row it finds by itself. */
#define ROWS_TOGETHER 64
#define FETCHED_MAX ((size_t)1024)

/* --- Layout --------------------------------------------------------------- */

size_t shard_row_size(const struct entry *e)
{
    return e->row_length * kv_dtype_size(e->dtype);
}

static size_t head_size(const struct value *v)
{
    return state_aligned(sizeof *v + v->seqs * sizeof(uint64_t), 64);
}

/* In a value block: the rows that changed, and their images. */
static unsigned char *changed_rows(const struct value *v)
{
    return (unsigned char *)(uintptr_t)v + head_size(v);
}

static char *images(const struct value *v)
{
    return (char *)changed_rows(v) +
           state_aligned(v->changed * sizeof(uint32_t), 64);
}

/* --- Ahead --------------------------------------------------------------- */

/* Into the second cache, as the first has no room for that many. A template,
 * because gcc drops calls of functions that do no more than this. */
KV_TEMPLATE void fetch_rows(const unsigned char *wanted, uint32_t count,
                            const char *rows, size_t step, size_t size)
{
    for (uint32_t i = 0; i < count && i < ROWS_TOGETHER; i++) {
        const char *row = rows + table_row_at(wanted, i) * step;

        for (size_t at = 0; at < size && at < FETCHED_MAX; at += 64) {
            __builtin_prefetch(row + at, 0, 2);
        }
    }
}

/* The old images, of `size` bytes, of what those who have the row come to. */
KV_TEMPLATE void fetch_ahead(const struct shard *s, size_t n, uint32_t row,
                             const char *rows, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        const struct row_reader *r = &s->readers[i];

        if (r->rows != NULL && r->at % ROWS_TOGETHER == 0 &&
            table_next_of(r) == row) {
            fetch_rows(r->rows + r->at * sizeof(uint32_t), r->count - r->at,
                       rows, size, size);
        }
    }
}

/* --- One row -------------------------------------------------------------- */

static void update(struct shard *s, const struct entry *e, uint32_t row,
                   size_t inputs, const struct shard_change *c,
                   const void *step)
{
    struct kv_optim_args args = {.step = step};

    for (size_t first = 0; first < e->row_length; first += args.count) {
        args.count = shard_block_size(c, first);
        args.first = shard_element(e, row * (size_t)e->row_length + first);
        args.gradient = shard_gradient(s, e->dtype, inputs, first, args.count);
        shard_before(s, c, first, &args);
        shard_after(s, c, first, &args);
    }
}

/* What is the same for every row, where a row is one block of what the rule
 * reads: mostly it is that, and short, so that all else would take longer. */
struct row_rule {
    bool plain;
    const struct kv_optim *optim;
    struct kv_optim_args args;
    size_t slot[KV_OPTIM_SLOTS_MAX]; /* From the begin of an image. */
};

static struct row_rule row_rule(const struct shard *s, const struct entry *e,
                                const struct shard_change *c, const void *step)
{
    struct row_rule r = {.optim = kv_optim_for(s->spec.optim, e->dtype),
                         .args = {.step = step,
                                  .count = e->row_length,
                                  .row_length = c->shape->width}};

    r.plain = e->dtype == kv_optim_real(e->dtype) && !c->fresh &&
              shard_block_size(c, 0) == e->row_length;
    for (unsigned i = 0; i < c->form.slots; i++) {
        r.slot[i] =
            (size_t)((char *)state_slot(c->shape, c->form, c->old, i, 0) -
                     (const char *)c->old);
    }
    return r;
}

static bool reads_as_pushed(const struct entry *e, const struct kv_codec *codec)
{
    return codec->plain(e->dtype) == (int)e->dtype;
}

/* The same as update() of one gradient that can be read where it is. */
static void update_plain(struct row_rule *r, const struct entry *e,
                         uint32_t row, const void *gradient,
                         const struct shard_change *c)
{
    struct kv_optim_args *args = &r->args;

    args->first = shard_element(e, row * (size_t)e->row_length);
    args->gradient = gradient;
    args->weight = c->old;
    args->new_weight = c->new;
    for (unsigned i = 0; i < c->form.slots; i++) {
        args->slot[i] = (const char *)c->old + r->slot[i];
        args->new_slot[i] = (char *)c->new + r->slot[i];
    }
    r->optim->update(args);
}

/* All that ranks have pushed as it is read: a row that only one of them has is
 * as finite as that. */
static void guard_plain(struct shard *s, const struct entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct row_reader *r = &s->readers[i];

        if (reads_as_pushed(e, r->codec)) {
            shard_guard(s, e->dtype, r->data, (size_t)r->count * e->row_length);
        }
    }
}

/* The new image of a row from its old one and the inputs. */
static void change(struct shard *s, const struct entry *e, uint32_t row,
                   size_t inputs, const struct shard_change *c,
                   const void *step)
{
    if (s->generation != 0 && kv_optim_computes(e->dtype)) {
        update(s, e, row, inputs, c, step);
    } else if (inputs > 0) {
        shard_sum(s, e->dtype, inputs, e->row_length, c->old, c->new);
    } else if (s->generation == 0) {
        memset(c->new, 0, shard_row_size(e));
    } else {
        memcpy(c->new, c->old, shard_row_size(e));
    }
}

/* --- Commit --------------------------------------------------------------- */

static struct value *new_head(struct shard *s, const struct entry *e,
                              uint32_t changed)
{
    size_t size = head_size(e->value);
    struct value *next;

    if (changed > 0) {
        size += state_aligned(changed * sizeof(uint32_t), 64) +
                changed * table_next_stride(s, e);
    }
    next = arena_alloc(s->arena, size);
    if (next != NULL) {
        shard_next_head(s, e, next);
        next->changed = changed;
    }
    return next;
}

static enum kv_status commit_all(struct shard *s, struct entry *e)
{
    const struct value *old = e->value;
    struct shard_change c = shard_change(s, e, NULL);
    size_t step = table_next_stride(s, e);
    bool lazy = s->generation != 0 && kv_optim_lazy(&s->spec);
    size_t n = table_begin(s, e);
    struct value *next = new_head(s, e, 0);
    char *rows = arena_alloc(s->arena, table_rows(e) * step);

    if (next == NULL || rows == NULL) {
        if (next != NULL) {
            arena_release(s->arena, next);
        }
        if (rows != NULL) {
            arena_release(s->arena, rows);
        }
        return KV_ENOSPC;
    }
    next->rows = arena_offset(s->arena, rows);
    shard_guard_begin(s, e);
    for (uint32_t row = 0; row < table_rows(e); row++) {
        size_t inputs = table_take(s, n, row);

        c.old = table_at(s, old) + row * table_stride(e, old);
        c.new = rows + row *step;
        if (lazy && inputs == 0) {
            shard_fill(&c);
            continue;
        }
        change(s, e, row, inputs, &c,
               s->generation == 0 ? NULL
                                  : shard_round_step(s, e, next->updates));
    }
    if (s->spoiled) {
        arena_release(s->arena, next);
        arena_release(s->arena, rows);
        return shard_skip(s, e);
    }
    shard_make_live(s, e, next);
    return KV_OK;
}

static enum kv_status commit_changed(struct shard *s, struct entry *e)
{
    const char *rows = table_at(s, e->value);
    struct shard_change c = shard_change(s, e, NULL);
    struct value *next = new_head(s, e, table_count(s, e));
    size_t n = table_begin(s, e), size;
    struct row_rule rule;
    const void *step;

    if (next == NULL) {
        return KV_ENOSPC;
    }
    size = table_stride(e, next);
    step = shard_round_step(s, e, next->updates);
    rule = row_rule(s, e, &c, step);
    shard_guard_begin(s, e);
    if (rule.plain) {
        guard_plain(s, e, n);
    }
    for (uint32_t i = 0; i < next->changed; i++) {
        uint32_t row = table_next(s, n);
        size_t inputs;

        fetch_ahead(s, n, row, rows, size);
        inputs = table_take(s, n, row);
        bytes_put_u32(changed_rows(next) + i * sizeof row, row);
        c.old = rows + row * size;
        c.new = images(next) + i *size;
        if (rule.plain && inputs == 1 && reads_as_pushed(e, s->codecs[0])) {
            update_plain(&rule, e, row, s->inputs[0], &c);
        } else {
            change(s, e, row, inputs, &c, step);
        }
    }
    if (s->spoiled) {
        arena_release(s->arena, next);
        return shard_skip(s, e);
    }
    shard_make_live(s, e, next);
    shard_rows_redo(s, e);
    return KV_OK;
}

/* Without an optimizer the sum becomes the value: rows that nobody pushed are
 * zero in it. */
enum kv_status shard_rows_commit(struct shard *s, struct entry *e)
{
    if (s->generation == 0 || e->value->generation != s->generation ||
        !kv_optim_lazy(&s->spec)) {
        return commit_all(s, e);
    }
    return commit_changed(s, e);
}

void shard_rows_redo(struct shard *s, const struct entry *e)
{
    const struct value *v = e->value;
    size_t size = table_stride(e, v);

    for (uint32_t i = 0; i < v->changed; i++) {
        uint32_t row = table_row_at(changed_rows(v), i);

        arena_redo(table_at(s, v) + row * size, images(v) + i * size, size);
    }
}

/* --- First and last ------------------------------------------------------- */

void *shard_rows_make(struct shard *s, const struct slice_desc *desc,
                      const void *weights)
{
    struct state_shape shape = shard_shape(
        (enum kv_dtype)desc->dtype, desc->count, (size_t)desc->row_length, 0);
    struct shard_change c = {.shape = &shape,
                             .form = shard_form(s, shape.dtype)};
    size_t size = shape.count * kv_dtype_size(shape.dtype);
    size_t step = table_stride_of(&shape, c.form);
    size_t count = desc->count / desc->row_length;
    char *rows = arena_alloc(s->arena, count * step);

    if (rows == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        c.old = (const char *)weights + i * size;
        c.new = rows + i *step;
        shard_fill(&c);
    }
    return rows;
}

void shard_rows_read(struct shard *s, const struct entry *e, const void *wanted,
                     uint32_t count, void *out)
{
    const char *rows = table_at(s, e->value);
    size_t size = shard_row_size(e), step = table_stride(e, e->value);
    const unsigned char *ids = wanted;
    char *to = out;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = ids == NULL ? i : table_row_at(ids, i);

        if (ids != NULL && i % ROWS_TOGETHER == 0) {
            fetch_rows(ids + i * sizeof row, count - i, rows, step, size);
        }
        memcpy(to, rows + row * step, size);
        to += size;
    }
}
