/* fp16 - f32 gradients rounded to IEEE half precision: half the bytes, 11 bits
 * of significand. Beyond 65504 they become infinite, so that a diverging job
 * sees it; below 2^-25 they vanish. Other formats gain nothing and are refused.
 */
#include <stdint.h>

#include "common/codec/codec.h"

extern const struct kv_codec kv_codec_fp16;

static bool accepts(enum kv_dtype dtype)
{
    return dtype == KV_F32;
}

static size_t encoded_size(enum kv_dtype dtype, size_t count)
{
    (void)dtype;
    return count * sizeof(uint16_t);
}

static int plain(enum kv_dtype dtype)
{
    (void)dtype;
    return KV_F16;
}

static void encode(enum kv_dtype dtype, const void *in, size_t count, void *out)
{
    (void)dtype;
    kv_from_f32(KV_F16, in, out, count);
}

static void decode(enum kv_dtype dtype, const void *in, size_t first,
                   size_t count, float *out)
{
    const uint8_t *from = (const uint8_t *)in + encoded_size(dtype, first);

    kv_to_f32(KV_F16, from, out, count);
}

const struct kv_codec kv_codec_fp16 = {
    .name = "fp16",
    .id = 1,
    .accepts = accepts,
    .encoded_size = encoded_size,
    .plain = plain,
    .encode = encode,
    .decode = decode,
};
