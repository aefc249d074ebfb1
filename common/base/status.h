/**
 * status - the one error vocabulary, used on both ends of the wire.
 *
 * KV_OK is 0 and every error is negative. Values travel in protocol replies:
 * append, never renumber.
 *
 * Thread:  any.
 * Memory:  texts are constants.
 */
#ifndef KV_COMMON_BASE_STATUS_H
#define KV_COMMON_BASE_STATUS_H

#include <stdbool.h>

#define KV_STATUS_MAP(X)                                                       \
    X(KV_OK, 0, "ok")                                                          \
    X(KV_ENOMEM, -1, "out of memory")                                          \
    X(KV_EINVAL, -2, "invalid argument")                                       \
    X(KV_EPROTO, -3, "peer broke the protocol")                                \
    X(KV_ETOOBIG, -4, "message exceeds a limit")                               \
    X(KV_ECONN, -5, "connection failed or lost")                               \
    X(KV_ETIMEOUT, -6, "deadline passed")                                      \
    X(KV_ECANCELED, -7, "canceled")                                            \
    X(KV_ENOTFOUND, -8, "no such key")                                         \
    X(KV_EDEVICE, -9, "GPU call failed")                                       \
    X(KV_EEXIST, -10, "already exists")                                        \
    X(KV_EMISMATCH, -11, "does not match what is registered")                  \
    X(KV_EAUTH, -12, "authentication failed")                                  \
    X(KV_ESTALE, -13, "an older life of this rank, or another job")            \
    X(KV_ENOSPC, -14, "no room left for state")                                \
    X(KV_EAGAIN, -15, "try again")                                             \
    X(KV_EDATALOSS, -16, "the server lost state")                              \
    X(KV_ENOTSUP, -17, "not supported")                                        \
    X(KV_EBUSY, -18, "in use")                                                 \
    X(KV_ENONFINITE, -19, "a gradient is not finite")

#define X(name, value, text) name = value,
enum kv_status { KV_STATUS_MAP(X) };
#undef X

/* A status nobody looks at is a bug the compiler can find. */
#define KV_MUST_CHECK __attribute__((warn_unused_result))

/* Never NULL, whatever the value. */
const char *kv_strstatus(enum kv_status status);

/* Ask before casting a number off the wire to the enum. */
bool kv_status_known(int value);

/* The only place where libuv's errors become ours. */
enum kv_status kv_status_from_uv(int uv_error);

#endif
