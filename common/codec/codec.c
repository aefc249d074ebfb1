#include "common/codec/codec.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/compute/sum.h"
#include "common/compute/vector.h"

/* The Makefile lists common/codec/codecs. */
#define X(name) extern const struct kv_codec kv_codec_##name;
#include "codecs.inc"
#undef X

static const struct kv_codec *const known[] = {
#define X(name) &kv_codec_##name,
#include "codecs.inc"
#undef X
};

#define KNOWN_COUNT (sizeof known / sizeof *known)

#define BLOCK (16 * KV_CODEC_GRAIN) /* Elements; two of them in L1. */

/* --- Finding -------------------------------------------------------------- */

const struct kv_codec *kv_codec_find(const char *name)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (strcmp(known[i]->name, name) == 0) {
            return known[i];
        }
    }
    return NULL;
}

const struct kv_codec *kv_codec_by_id(unsigned id)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (known[i]->id == id) {
            return known[i];
        }
    }
    return NULL;
}

size_t kv_codec_names(char *buf, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        size_t at = used < size ? used : size;

        used += (size_t)snprintf(buf + at, size - at, "%s%s", i > 0 ? ", " : "",
                                 known[i]->name);
    }
    return used;
}

/* --- Decoding and summing ------------------------------------------------- */

static bool float_aligned(const void *p)
{
    return (uintptr_t)p % _Alignof(float) == 0;
}

static size_t block_at(size_t first, size_t count)
{
    return count - first < BLOCK ? count - first : BLOCK;
}

void kv_codec_decode(const struct kv_codec *codec, enum kv_dtype dtype,
                     const void *in, size_t count, void *out)
{
    size_t size = kv_dtype_size(dtype);
    KV_SCRATCH float decoded[BLOCK];

    if (codec->plain(dtype) == (int)dtype) {
        if (count > 0) {
            memcpy(out, in, count * size);
        }
        return;
    }
    if (dtype == KV_F32 && float_aligned(out)) {
        codec->decode(dtype, in, 0, count, out);
        return;
    }
    for (size_t i = 0; i < count; i += BLOCK) {
        size_t n = block_at(i, count);

        codec->decode(dtype, in, i, n, decoded);
        kv_from_f32(dtype, decoded, (uint8_t *)out + i * size, n);
    }
}

/* The format that all inputs are plain arrays of, or KV_CODEC_PACKED. */
static int common_plain(const struct kv_codec *const *codecs, size_t n,
                        enum kv_dtype dtype)
{
    int plain = codecs[0]->plain(dtype);

    for (size_t i = 1; i < n; i++) {
        if (codecs[i] != codecs[0] && codecs[i]->plain(dtype) != plain) {
            return KV_CODEC_PACKED;
        }
    }
    return plain;
}

static void sum_decoded(const struct kv_codec *const *codecs,
                        const void *const *inputs, size_t n,
                        enum kv_dtype dtype, size_t first, size_t count,
                        float *out)
{
    KV_SCRATCH float decoded[BLOCK];
    const void *pair[] = {out, decoded};

    codecs[0]->decode(dtype, inputs[0], first, count, out);
    for (size_t i = 1; i < n; i++) {
        codecs[i]->decode(dtype, inputs[i], first, count, decoded);
        kv_sum_f32(KV_F32, out, pair, 2, count);
    }
}

void kv_codec_sum(const struct kv_codec *const *codecs,
                  const void *const *inputs, size_t n, enum kv_dtype dtype,
                  size_t first, size_t count, float *out)
{
    int plain;

    KV_CHECK(n > 0 && first % KV_CODEC_GRAIN == 0);
    plain = common_plain(codecs, n, dtype);
    if (plain != KV_CODEC_PACKED) {
        kv_sum_range((enum kv_dtype)plain, out, inputs, n, first, count);
        return;
    }
    for (size_t i = 0; i < count; i += BLOCK) {
        sum_decoded(codecs, inputs, n, dtype, first + i, block_at(i, count),
                    out + i);
    }
}

const kv_f32_any *kv_codec_sum_view(const struct kv_codec *const *codecs,
                                    const void *const *inputs, size_t n,
                                    enum kv_dtype dtype, size_t first,
                                    size_t count, float *out)
{
    if (n == 1 && codecs[0]->plain(dtype) == (int)KV_F32) {
        return (const kv_f32_any *)inputs[0] + first;
    }
    kv_codec_sum(codecs, inputs, n, dtype, first, count, out);
    return out;
}

static void sum_rounded(const struct kv_codec *const *codecs,
                        const void *const *inputs, size_t n,
                        enum kv_dtype dtype, size_t first, size_t count,
                        uint8_t *out)
{
    KV_SCRATCH float sum[BLOCK];

    for (size_t i = 0; i < count; i += BLOCK) {
        size_t part = block_at(i, count);

        kv_codec_sum(codecs, inputs, n, dtype, first + i, part, sum);
        kv_from_f32(dtype, sum, out + i * kv_dtype_size(dtype), part);
    }
}

void kv_codec_sum_own(const struct kv_codec *const *codecs,
                      const void *const *inputs, size_t n, enum kv_dtype dtype,
                      size_t first, size_t count, void *out)
{
    if (dtype == KV_F32) {
        kv_codec_sum(codecs, inputs, n, dtype, first, count, out);
    } else if (kv_dtype_in_f32(dtype)) {
        sum_rounded(codecs, inputs, n, dtype, first, count, out);
    } else {
        KV_CHECK(n > 0 && common_plain(codecs, n, dtype) == (int)dtype);
        kv_sum_part(dtype, out, inputs, n, first, count, false);
    }
}
