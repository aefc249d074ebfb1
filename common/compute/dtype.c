#include "common/compute/dtype.h"

#include <string.h>

#include "common/base/check.h"
#include "common/compute/half.h"

static const struct {
    const char *name;
    size_t size;
    bool in_f32;
} formats[] = {
    [KV_F32] = {"f32", 4, true},  [KV_F64] = {"f64", 8, false},
    [KV_F16] = {"f16", 2, true},  [KV_U8] = {"u8", 1, false},
    [KV_I32] = {"i32", 4, false}, [KV_I8] = {"i8", 1, false},
    [KV_I64] = {"i64", 8, false}, [KV_BF16] = {"bf16", 2, true},
};

#define FORMAT_COUNT ((int)(sizeof formats / sizeof *formats))

bool kv_dtype_known(int value)
{
    return value >= 0 && value < FORMAT_COUNT && formats[value].name != NULL;
}

bool kv_dtype_in_f32(enum kv_dtype dtype)
{
    return kv_dtype_known((int)dtype) && formats[dtype].in_f32;
}

size_t kv_dtype_size(enum kv_dtype dtype)
{
    return kv_dtype_known((int)dtype) ? formats[dtype].size : 0;
}

const char *kv_dtype_name(enum kv_dtype dtype)
{
    return kv_dtype_known((int)dtype) ? formats[dtype].name : "unknown";
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
