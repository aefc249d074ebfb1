/**
 * vector - what makes a plain loop a fast one, and the same one everywhere.
 *
 * KV_CLONES before a function compiles it twice, plain and for AVX2, and the
 * loader picks. The files that use it are built without contraction or
 * reassociation, so both give the same bits. Sanitizers are not set up yet when
 * the loader asks: plain only then. A function with clones is static, because
 * clang gives others no symbol of their name, and its name is unique all the
 * same, because clang exports the chooser.
 *
 * KV_CLONES_WIDE is for loops that compute more than they wait for memory:
 * AVX-512 too. Others lose up to a seventh by it. Not from clang, as version 14
 * takes "arch=x86-64-v4" without asking the processor for it.
 *
 * KV_INDEPENDENT before a loop promises that no iteration reads what another
 * one writes. KV_UNROLLED before one of few iterations makes one piece of them,
 * where each is a loop of another length.
 *
 * kv_f32_any and its like are elements of buffers of any alignment.
 */
#ifndef KV_COMMON_COMPUTE_VECTOR_H
#define KV_COMMON_COMPUTE_VECTOR_H

#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||     \
    __has_feature(memory_sanitizer) ||                                         \
    __has_feature(undefined_behavior_sanitizer)
#define KV_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KV_SANITIZED 1
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(KV_SANITIZED)
#define KV_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define KV_CLONES
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(KV_SANITIZED) &&     \
    !defined(__clang__)
#define KV_CLONES_WIDE                                                         \
    __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KV_CLONES_WIDE KV_CLONES
#endif

#if defined(__clang__) && defined(KV_SANITIZED)
#define KV_INDEPENDENT /* It would warn that it cannot. */
#elif defined(__clang__)
#define KV_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define KV_INDEPENDENT _Pragma("GCC ivdep")
#endif

#if defined(__clang__)
#define KV_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define KV_UNROLLED _Pragma("GCC unroll 8")
#endif

/* An array that is written before it is read, where hardening would spend time
 * on filling it with zeros. */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define KV_SCRATCH __attribute__((uninitialized))
#endif
#endif
#ifndef KV_SCRATCH
#define KV_SCRATCH
#endif

/* For templates: functions whose constant arguments make one loop each. */
#define KV_TEMPLATE static inline __attribute__((always_inline))

typedef float kv_f32_any __attribute__((aligned(1), may_alias));
typedef double kv_f64_any __attribute__((aligned(1), may_alias));
typedef uint16_t kv_u16_any __attribute__((aligned(1), may_alias));
typedef uint32_t kv_u32_any __attribute__((aligned(1), may_alias));
typedef uint64_t kv_u64_any __attribute__((aligned(1), may_alias));

#endif
