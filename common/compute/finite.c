#include "common/compute/finite.h"

#include "common/compute/vector.h"

/* Added to an exponent of all ones, the lowest bit of the exponent carries into
 * the sign's place, and to no other. One look at the end, so that the loop has
 * no branch. */
#define FINITE(name, type, any, exponent, lowest, sign)                        \
    KV_CLONES static bool kv_finite_##name(const void *x, size_t count)        \
    {                                                                          \
        const any *bits = x;                                                   \
        type carry = 0;                                                        \
                                                                               \
        for (size_t i = 0; i < count; i++) {                                   \
            carry |= (type)((bits[i] & (exponent)) + (lowest));                \
        }                                                                      \
        return (carry & (sign)) == 0;                                          \
    }

FINITE(f32, uint32_t, kv_u32_any, 0x7f800000u, 0x00800000u, 0x80000000u)
FINITE(f64, uint64_t, kv_u64_any, 0x7ff0000000000000u, 0x0010000000000000u,
       0x8000000000000000u)
FINITE(f16, uint16_t, kv_u16_any, 0x7c00u, 0x0400u, 0x8000u)
FINITE(bf16, uint16_t, kv_u16_any, 0x7f80u, 0x0080u, 0x8000u)

bool kv_finite(enum kv_dtype dtype, const void *x, size_t count)
{
    switch (dtype) {
    case KV_F32:
        return kv_finite_f32(x, count);
    case KV_F64:
        return kv_finite_f64(x, count);
    case KV_F16:
        return kv_finite_f16(x, count);
    case KV_BF16:
        return kv_finite_bf16(x, count);
    default:
        return true;
    }
}
