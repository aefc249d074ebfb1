#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/compute/sum.h"
#include "worker/courier_core.h"
#include "worker/rows.h"

static const unsigned char *place_of(const struct part *p, unsigned input)
{
    return (const unsigned char *)p->inputs[input] + p->offset;
}

/* The inputs' pieces of this slice; NULL when out of memory. */
static const void *const *places_of(struct courier *c, const struct part *p)
{
    if (p->input_count > c->place_capacity) {
        const void **grown =
            mem_realloc(c->places, p->input_count * sizeof(const void *));

        if (grown == NULL) {
            return NULL;
        }
        c->places = grown;
        c->place_capacity = p->input_count;
    }
    for (unsigned i = 0; i < p->input_count; i++) {
        c->places[i] = place_of(p, i);
    }
    return c->places;
}

static bool sum(struct courier *c, const struct part *p, void *out)
{
    const void *const *places = places_of(c, p);

    if (places == NULL) {
        return false;
    }
    kv_sum(p->slice->dtype, out, places, p->input_count, p->slice->count);
    return true;
}

static bool sum_and_encode(struct courier *c, const struct part *p, void *out)
{
    struct buffer *whole = bufpool_get(c->buffers, p->slice->size);
    bool summed;

    if (whole == NULL) {
        return false;
    }
    summed = sum(c, p, whole->data);
    if (summed) {
        p->codec->encode(p->slice->dtype, whole->data, p->slice->count, out);
    }
    bufpool_put(c->buffers, whole);
    return summed;
}

const struct kv_codec *courier_payload_codec(const struct courier *c,
                                             const struct slice *s)
{
    return c->codec != NULL && c->codec->accepts(s->dtype) ? c->codec : c->none;
}

static size_t element_count(const struct part *p)
{
    return p->rows == NULL ? p->slice->count : p->rows->count * p->rows->length;
}

static size_t rows_size(const struct part *p)
{
    return p->rows->count * sizeof(uint32_t);
}

size_t courier_payload_pulled(const struct part *p)
{
    return p->rows == NULL ? p->slice->size
                           : element_count(p) * kv_dtype_size(p->slice->dtype);
}

void courier_payload_rows(const struct part *p, unsigned char *out)
{
    const struct part_rows r = *p->rows; /* No store to `out` changes it. */

    for (uint32_t i = 0; i < r.count; i++, out += sizeof(uint32_t)) {
        bytes_put_u32(out, (uint32_t)(r.rows[i] - r.first));
    }
}

size_t courier_payload_size(const struct courier *c, const struct part *p)
{
    const struct slice *s = p->slice;

    if (p->reset && p->input_count == 0) {
        return 0;
    }
    if (p->rows != NULL) {
        return sizeof(uint32_t) + rows_size(p) +
               p->codec->encoded_size(s->dtype, element_count(p));
    }
    return p->codec == c->none ? s->size
                               : p->codec->encoded_size(s->dtype, s->count);
}

const void *courier_payload_plain(const struct courier *c, const struct part *p)
{
    bool whole =
        p->span == 1 || (p->adjacent && p->unsent == courier_bits(p->span));

    return p->codec == c->none && p->input_count == 1 && p->rows == NULL &&
                   whole
               ? place_of(p, 0)
               : NULL;
}

/* Rows that lie anywhere, one after the other in `out`. */
static bool collect(struct courier *c, const struct part *p, void *out)
{
    enum kv_dtype dtype = p->slice->dtype;
    size_t count = p->rows->count;
    size_t size = p->rows->length * kv_dtype_size(dtype);
    struct buffer *whole;

    if (p->codec == c->none) {
        rows_copy(p->rows->from, count, size, out);
        return true;
    }
    whole = bufpool_get(c->buffers, count * size);
    if (whole == NULL) {
        return false;
    }
    rows_copy(p->rows->from, count, size, whole->data);
    p->codec->encode(dtype, whole->data, element_count(p), out);
    bufpool_put(c->buffers, whole);
    return true;
}

static bool fill_rows(struct courier *c, const struct part *p,
                      unsigned char *out)
{
    bytes_put_u32(out, p->rows->count);
    courier_payload_rows(p, out + sizeof(uint32_t));
    out += sizeof(uint32_t) + rows_size(p);
    if (p->rows->count == 0) {
        return true;
    }
    if (p->rows->from != NULL) {
        return collect(c, p, out);
    }
    p->codec->encode(p->slice->dtype, place_of(p, 0), element_count(p), out);
    return true;
}

/* A span's slices have one input each. */
static void fill_span(struct courier *c, const struct part *p,
                      unsigned char *out)
{
    const struct slice *s = p->slice;
    size_t size = courier_payload_size(c, p);

    for (uint64_t bits = p->unsent; bits != 0; bits &= bits - 1) {
        unsigned i = (unsigned)__builtin_ctzll(bits);

        if (p->codec == c->none) {
            memcpy(out, place_of(p, i), size);
        } else {
            p->codec->encode(s->dtype, place_of(p, i), s->count, out);
        }
        out += size;
    }
}

bool courier_payload_fill(struct courier *c, const struct part *p,
                          unsigned char *out)
{
    const struct slice *s = p->slice;

    if (p->input_count == 0) {
        return true;
    }
    if (p->rows != NULL) {
        return fill_rows(c, p, out);
    }
    if (p->span > 1) {
        fill_span(c, p, out);
        return true;
    }
    if (p->codec == c->none && p->input_count == 1) {
        memcpy(out, place_of(p, 0), s->size);
        return true;
    }
    if (p->codec == c->none) {
        return sum(c, p, out);
    }
    if (p->input_count == 1) {
        p->codec->encode(s->dtype, place_of(p, 0), s->count, out);
        return true;
    }
    return sum_and_encode(c, p, out);
}
