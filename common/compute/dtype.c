#include "common/compute/dtype.h"

#include <string.h>

#include "common/base/check.h"
#include "common/compute/half.h"

const unsigned char kv_dtype_sizes[KV_DTYPE_END] = {
    [KV_F32] = 4, [KV_F64] = 8, [KV_F16] = 2, [KV_U8] = 1,
    [KV_I32] = 4, [KV_I8] = 1,  [KV_I64] = 8, [KV_BF16] = 2,
};

static const char *const names[KV_DTYPE_END] = {
    [KV_F32] = "f32", [KV_F64] = "f64", [KV_F16] = "f16", [KV_U8] = "u8",
    [KV_I32] = "i32", [KV_I8] = "i8",   [KV_I64] = "i64", [KV_BF16] = "bf16",
};

bool kv_dtype_in_f32(enum kv_dtype dtype)
{
    return dtype == KV_F32 || dtype == KV_F16 || dtype == KV_BF16;
}

const char *kv_dtype_name(enum kv_dtype dtype)
{
    return kv_dtype_known((int)dtype) ? names[dtype] : "unknown";
}

/* --- Conversions ---------------------------------------------------------- */

static void copy(const void *in, void *out, size_t size)
{
    if (in != out && size > 0) {
        memcpy(out, in, size);
    }
}

void kv_to_f32(enum kv_dtype from, const void *in, float *out, size_t count)
{
    KV_CHECK(kv_dtype_in_f32(from));
    switch (from) {
    case KV_F16:
        kv_f16_widen(in, out, count);
        break;
    case KV_BF16:
        kv_bf16_widen(in, out, count);
        break;
    default:
        copy(in, out, count * sizeof(float));
    }
}

void kv_from_f32(enum kv_dtype to, const float *in, void *out, size_t count)
{
    KV_CHECK(kv_dtype_in_f32(to));
    switch (to) {
    case KV_F16:
        kv_f16_narrow(in, out, count);
        break;
    case KV_BF16:
        kv_bf16_narrow(in, out, count);
        break;
    default:
        copy(in, out, count * sizeof(float));
    }
}
