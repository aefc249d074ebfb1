/**
 * bytes - little-endian numbers in and out of a bounded piece of memory.
 *
 * A cursor that was asked for more than is there turns `bad`, stays so, reads
 * zeros and writes nothing: check once at the end, not at each step.
 *
 *     struct reader r = reader_of(data, size);
 *     uint32_t magic = read_u32(&r);
 *     uint64_t id = read_u64(&r);
 *     if (r.bad || reader_left(&r) != 0) ...
 *
 * Thread:  the owner.
 * Memory:  keeps the memory for as long as the cursor is used.
 */
#ifndef KV_COMMON_BASE_BYTES_H
#define KV_COMMON_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* --- At a place known to be big enough ----------------------------------- */

static inline void bytes_put_u16(unsigned char *p, uint16_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static inline void bytes_put_u32(unsigned char *p, uint32_t v)
{
    bytes_put_u16(p, (uint16_t)v);
    bytes_put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void bytes_put_u64(unsigned char *p, uint64_t v)
{
    bytes_put_u32(p, (uint32_t)v);
    bytes_put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t bytes_get_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

static inline uint32_t bytes_get_u32(const unsigned char *p)
{
    return bytes_get_u16(p) | (uint32_t)bytes_get_u16(p + 2) << 16;
}

static inline uint64_t bytes_get_u64(const unsigned char *p)
{
    return bytes_get_u32(p) | (uint64_t)bytes_get_u32(p + 4) << 32;
}

/* --- Reading ---------------------------------------------------------------
 */

struct reader {
    const unsigned char *at; /* Borrowed. */
    const unsigned char *end;
    bool bad;
};

static inline struct reader reader_of(const void *data, size_t size)
{
    const unsigned char *start = (const unsigned char *)data;
    struct reader r = {start, size == 0 ? start : start + size, false};

    return r;
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* The next `size` bytes in place, or NULL, turning bad. */
static inline const unsigned char *read_bytes(struct reader *r, size_t size)
{
    const unsigned char *p = r->at;

    if (r->bad || size > reader_left(r)) {
        r->bad = true;
        return NULL;
    }
    r->at = size == 0 ? p : p + size;
    return p;
}

static inline uint8_t read_u8(struct reader *r)
{
    const unsigned char *p = read_bytes(r, 1);

    return p == NULL ? 0 : *p;
}

static inline uint16_t read_u16(struct reader *r)
{
    const unsigned char *p = read_bytes(r, 2);

    return p == NULL ? 0 : bytes_get_u16(p);
}

static inline uint32_t read_u32(struct reader *r)
{
    const unsigned char *p = read_bytes(r, 4);

    return p == NULL ? 0 : bytes_get_u32(p);
}

static inline uint64_t read_u64(struct reader *r)
{
    const unsigned char *p = read_bytes(r, 8);

    return p == NULL ? 0 : bytes_get_u64(p);
}

/* --- Writing ---------------------------------------------------------------
 */

struct writer {
    unsigned char *start; /* Borrowed. */
    unsigned char *at;
    unsigned char *end;
    bool bad;
};

static inline struct writer writer_of(void *data, size_t size)
{
    unsigned char *start = (unsigned char *)data;
    struct writer w = {start, start, size == 0 ? start : start + size, false};

    return w;
}

static inline size_t writer_size(const struct writer *w)
{
    return (size_t)(w->at - w->start);
}

/* Where to put the next `size` bytes, or NULL, turning bad. */
static inline unsigned char *write_room(struct writer *w, size_t size)
{
    unsigned char *p = w->at;

    if (w->bad || size > (size_t)(w->end - w->at)) {
        w->bad = true;
        return NULL;
    }
    w->at = size == 0 ? p : p + size;
    return p;
}

static inline void write_bytes(struct writer *w, const void *data, size_t size)
{
    unsigned char *p = write_room(w, size);

    if (p != NULL && size > 0) {
        memcpy(p, data, size);
    }
}

static inline void write_u8(struct writer *w, uint8_t v)
{
    write_bytes(w, &v, 1);
}

static inline void write_u16(struct writer *w, uint16_t v)
{
    unsigned char *p = write_room(w, 2);

    if (p != NULL) {
        bytes_put_u16(p, v);
    }
}

static inline void write_u32(struct writer *w, uint32_t v)
{
    unsigned char *p = write_room(w, 4);

    if (p != NULL) {
        bytes_put_u32(p, v);
    }
}

static inline void write_u64(struct writer *w, uint64_t v)
{
    unsigned char *p = write_room(w, 8);

    if (p != NULL) {
        bytes_put_u64(p, v);
    }
}

#endif
