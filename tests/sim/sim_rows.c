#include "tests/sim/sim_rows.h"

#include <string.h>

static uint64_t seeded(const struct plan *p, uint32_t rank, uint32_t slice,
                       uint32_t a, uint32_t b)
{
    uint64_t random = p->seed * UINT64_C(0x9fb21c651e98df25) +
                      ((((uint64_t)rank * 16 + slice) * 64 + a) * 16 + b);

    return plan_draw(&random);
}

/* One row in two, in four, or in eight. */
static uint32_t some(const struct plan_slice *s, uint64_t random)
{
    uint32_t set = (1u << s->rows) - 1;

    for (uint64_t thinner = random % 3 + 1; thinner > 0; thinner--) {
        set &= (uint32_t)(plan_draw(&random) >> 32);
    }
    return set;
}

uint32_t sim_rows_pushed(const struct plan *p, uint32_t rank, uint32_t slice,
                         uint32_t round)
{
    const struct plan_slice *s = &p->slice[slice];
    uint64_t random = seeded(p, rank, slice, round, 15);
    size_t mark = plan_mark(p, rank, slice, round);
    uint32_t set;

    if (s->rows == 0 || (random >> 41) % 8 == 0) {
        return SIM_ROWS_ALL;
    }
    set = (random >> 41) % 8 == 1 ? 0 : some(s, random);
    if (p->async && mark < s->count) {
        set |= 1u << mark / s->row_length;
    }
    return set;
}

uint32_t sim_rows_pulled(const struct plan *p, uint32_t rank, uint32_t slice,
                         uint32_t step, uint32_t op)
{
    const struct plan_slice *s = &p->slice[slice];
    uint64_t random = seeded(p, rank, slice, step, op);
    uint32_t set;

    if (s->rows == 0 || (random >> 41) % 4 == 0) {
        return SIM_ROWS_ALL;
    }
    set = some(s, random);
    return set != 0 ? set : 1u << (random >> 43) % s->rows;
}

static size_t row_size(const struct plan_slice *s)
{
    return s->row_length * kv_dtype_size(s->dtype);
}

size_t sim_rows_pack(const struct plan_slice *s, uint32_t set,
                     const void *whole, void *out)
{
    size_t size = row_size(s);
    char *to = out;

    if (set == SIM_ROWS_ALL) {
        memmove(out, whole, s->size);
        return s->size;
    }
    for (uint32_t row = 0; row < s->rows; row++) {
        if (sim_rows_has(set, row)) {
            memmove(to, (const char *)whole + row * size, size);
            to += size;
        }
    }
    return (size_t)(to - (char *)out);
}

size_t sim_rows_unpack(const struct plan_slice *s, uint32_t set,
                       const void *packed, void *whole)
{
    size_t size = row_size(s);
    const char *from = packed;

    if (set == SIM_ROWS_ALL) {
        memcpy(whole, packed, s->size);
        return s->size;
    }
    for (uint32_t row = 0; row < s->rows; row++) {
        if (sim_rows_has(set, row)) {
            memcpy((char *)whole + row * size, from, size);
            from += size;
        }
    }
    return (size_t)(from - (const char *)packed);
}

/* Slices of a key begin anywhere in it. */
void sim_rows_list(const struct plan *p, uint32_t slice, uint32_t set,
                   int64_t *rows, struct part_rows *out)
{
    const struct plan_slice *s = &p->slice[slice];

    out->rows = rows;
    out->count = 0;
    out->first = 3 + 100 * (int64_t)slice;
    out->length = s->row_length;
    for (uint32_t row = 0; row < s->rows; row++) {
        if (sim_rows_has(set, row)) {
            rows[out->count++] = out->first + row;
        }
    }
}
