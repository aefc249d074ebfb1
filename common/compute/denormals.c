#include "common/compute/denormals.h"

#if defined(__x86_64__)

#include <xmmintrin.h>

#define FLUSH_RESULTS 0x8000u
#define FLUSH_OPERANDS 0x0040u

void kv_flush_denormals(void)
{
    _mm_setcsr(_mm_getcsr() | FLUSH_RESULTS | FLUSH_OPERANDS);
}

#elif defined(__aarch64__)

#include <stdint.h>

#define FLUSH_BOTH ((uint64_t)1 << 24)

void kv_flush_denormals(void)
{
    uint64_t mode;

    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | FLUSH_BOTH));
}

#else

void kv_flush_denormals(void)
{
}

#endif
