/**
 * check - assertions that stay on in release builds.
 *
 * KV_CHECK is for our own mistakes. Anything a peer, a file, the allocator or
 * the GPU can cause is an enum kv_status instead. It is always on, so it may
 * hold the call: KV_CHECK(uv_read_stop(s) == 0).
 *
 * Thread:  any.
 * Result:  a false condition prints itself with file and line, and aborts.
 */
#ifndef KV_COMMON_BASE_CHECK_H
#define KV_COMMON_BASE_CHECK_H

_Noreturn void kv_check_failed(const char *file, int line, const char *expr);

#define KV_CHECK(expr)                                                         \
    ((expr) ? (void)0 : kv_check_failed(__FILE__, __LINE__, #expr))

#endif
