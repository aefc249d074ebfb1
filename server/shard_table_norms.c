/* A pass over a table. Its rows are gathered into blocks, whatever their
 * length: the sums are those of a dense value with the same elements. */
#include <string.h>

#include "server/shard_commit.h"
#include "server/shard_table.h"

union reals {
    float f32[SHARD_BLOCK];
    double f64[SHARD_BLOCK];
};

struct block {
    size_t count;
    size_t unit; /* Bytes of an element. */
    union reals gradient, weight, slot[KV_OPTIM_SLOTS_MAX];
};

/* At the end of what is there. */
static void append(const struct block *b, union reals *array, const void *from,
                   size_t count)
{
    memcpy((char *)array + b->count * b->unit, from, count * b->unit);
}

static void measure(const struct shard *s, const struct entry *e,
                    struct block *b)
{
    struct kv_optim_args args = {.count = b->count,
                                 .weight = &b->weight,
                                 .gradient = &b->gradient,
                                 .step = e->measure->step};

    for (unsigned i = 0; i < KV_OPTIM_SLOTS_MAX; i++) {
        args.slot[i] = &b->slot[i];
    }
    shard_measure_block(s, e, &args);
    b->count = 0;
}

/* The next part of a row, from its element `first` on. */
static void gather(struct shard *s, const struct entry *e,
                   const struct shard_change *c, size_t inputs, size_t first,
                   size_t count, struct block *b)
{
    struct kv_optim_args row = {.count = count};

    shard_before(s, c, first, &row);
    append(b, &b->weight, row.weight, count);
    for (unsigned i = 0; i < c->form.slots; i++) {
        append(b, &b->slot[i], row.slot[i], count);
    }
    append(b, &b->gradient, shard_gradient(s, e->dtype, inputs, first, count),
           count);
    b->count += count;
}

static void gather_row(struct shard *s, const struct entry *e,
                       const struct shard_change *c, size_t inputs,
                       struct block *b)
{
    size_t first = 0;

    while (first < e->row_length) {
        size_t room = SHARD_BLOCK - b->count, left = e->row_length - first;
        size_t count = left < room ? left : room;

        gather(s, e, c, inputs, first, count, b);
        first += count;
        if (b->count == SHARD_BLOCK) {
            measure(s, e, b);
        }
    }
}

void shard_table_measure(struct shard *s, const struct entry *e)
{
    struct shard_change c = shard_change(s, e, NULL);
    const char *rows = table_at(s, e->value);
    size_t n = table_begin(s, e), stride = table_stride(e, e->value);
    KV_SCRATCH struct block b;

    b.count = 0;
    b.unit = state_unit(&e->shape);
    for (uint32_t row = 0; row < table_rows(e); row++) {
        c.old = rows + row * stride;
        gather_row(s, e, &c, table_take(s, n, row), &b);
    }
    if (b.count > 0) {
        measure(s, e, &b);
    }
}
