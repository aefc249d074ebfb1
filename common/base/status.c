#include "common/base/status.h"

#include <stddef.h>

#include <uv.h>

static const struct {
    int value;
    const char *text;
} statuses[] = {
#define X(name, value, text) {value, text},
    KV_STATUS_MAP(X)
#undef X
};

static const char *find(int value)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (statuses[i].value == value) {
            return statuses[i].text;
        }
    }
    return NULL;
}

const char *kv_strstatus(enum kv_status status)
{
    const char *text = find((int)status);

    return text == NULL ? "unknown status" : text;
}

bool kv_status_known(int value)
{
    return find(value) != NULL;
}

enum kv_status kv_status_from_uv(int uv_error)
{
    switch (uv_error) {
    case 0:
        return KV_OK;
    case UV_ENOMEM:
        return KV_ENOMEM;
    case UV_EINVAL:
        return KV_EINVAL;
    case UV_ECANCELED:
        return KV_ECANCELED;
    case UV_ETIMEDOUT:
        return KV_ETIMEOUT;
    case UV_EAGAIN:
        return KV_EAGAIN;
    case UV_ENOSPC:
        return KV_ENOSPC;
    case UV_EEXIST:
        return KV_EEXIST;
    case UV_EADDRINUSE:
    case UV_EBUSY:
        return KV_EBUSY;
    default:
        return KV_ECONN;
    }
}
