/* none - the gradient as it is. Loses nothing, saves nothing. */
#include <stdint.h>
#include <string.h>

#include "common/codec/codec.h"

extern const struct kv_codec kv_codec_none;

static bool accepts(enum kv_dtype dtype)
{
    return kv_dtype_known((int)dtype);
}

static size_t encoded_size(enum kv_dtype dtype, size_t count)
{
    return count * kv_dtype_size(dtype);
}

static int plain(enum kv_dtype dtype)
{
    return (int)dtype;
}

static void encode(enum kv_dtype dtype, const void *in, size_t count, void *out)
{
    if (count > 0) {
        memcpy(out, in, encoded_size(dtype, count));
    }
}

static void decode(enum kv_dtype dtype, const void *in, size_t first,
                   size_t count, float *out)
{
    const uint8_t *from = (const uint8_t *)in + encoded_size(dtype, first);

    kv_to_f32(dtype, from, out, count);
}

const struct kv_codec kv_codec_none = {
    .name = "none",
    .id = 0,
    .accepts = accepts,
    .encoded_size = encoded_size,
    .plain = plain,
    .encode = encode,
    .decode = decode,
};
