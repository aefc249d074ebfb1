#include "worker/type.h"

#include <stdio.h>
#include <string.h>

static const struct type types[] = {
    {"dist_sync", KV_POLICY_SYNC},
    {"dist_async", KV_POLICY_ASYNC},
    {"dist_device_sync", 0},
    {"dist_device_async", 0},
    {"local", 0},
    {"device", 0},
    {"nccl", 0},
};
#define TYPE_COUNT (sizeof types / sizeof types[0])

static const struct {
    const char *name, *stands_for;
} aliases[] = {
    {"dist", "dist_sync"},
    {"dist_sync_device", "dist_device_sync"},
    {"dist_async_device", "dist_device_async"},
    {"local_update_cpu", "local"},
    {"local_allreduce_cpu", "local"},
    {"local_allreduce_device", "device"},
};
#define ALIAS_COUNT (sizeof aliases / sizeof aliases[0])

static const char *canonical(const char *name)
{
    for (size_t i = 0; i < ALIAS_COUNT; i++) {
        if (strcmp(name, aliases[i].name) == 0) {
            return aliases[i].stands_for;
        }
    }
    return name;
}

/* "dist_sync, dist_async" into buf, cut off at size. */
static void list_types(bool built, char *buf, size_t size)
{
    size_t used = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < TYPE_COUNT && used < size; i++) {
        if ((types[i].policy != 0) == built) {
            used += (size_t)snprintf(buf + used, size - used, "%s%s",
                                     used == 0 ? "" : ", ", types[i].name);
        }
    }
}

enum kv_status type_find(const char *name, const struct type **out, char *error,
                         size_t error_size)
{
    char built[128], planned[128];

    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(canonical(name), types[i].name) != 0) {
            continue;
        }
        if (types[i].policy == 0) {
            snprintf(error, error_size,
                     "the kind of store '%s' is not built yet", name);
            return KV_ENOTSUP;
        }
        *out = &types[i];
        return KV_OK;
    }
    list_types(true, built, sizeof built);
    list_types(false, planned, sizeof planned);
    snprintf(error, error_size,
             "unknown kind of store '%.64s'; known: %s; not built yet: %s",
             name, built, planned);
    return KV_EINVAL;
}
