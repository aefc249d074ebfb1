#include "worker/kind.h"

#include <stdio.h>
#include <string.h>

/* The Makefile lists worker/kinds. */
#define X(name) extern const struct kind kind_##name;
#include "kinds.inc"
#undef X

static const struct kind *const known[] = {
#define X(name) &kind_##name,
#include "kinds.inc"
#undef X
};

#define KNOWN_COUNT (sizeof known / sizeof *known)

void kind_spell(const char *name, char out[KIND_NAME_MAX + 1])
{
    size_t i = 0;

    for (; name[i] != '\0' && i < KIND_NAME_MAX; i++) {
        bool upper = name[i] >= 'A' && name[i] <= 'Z';

        out[i] = (char)(upper ? name[i] - 'A' + 'a' : name[i]);
    }
    out[i] = '\0';
}

static bool is_called(const struct kind *kind, const char *name)
{
    if (strcmp(kind->name, name) == 0) {
        return true;
    }
    for (size_t i = 0; kind->aliases[i] != NULL; i++) {
        if (strcmp(kind->aliases[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* "device, dist_async" into buf, cut off at size. */
static void list_kinds(char *buf, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < KNOWN_COUNT && used < size; i++) {
        used += (size_t)snprintf(buf + used, size - used, "%s%s",
                                 used == 0 ? "" : ", ", known[i]->name);
    }
}

enum kv_status kind_find(const char *name, const struct kind **out, char *error,
                         size_t error_size)
{
    char list[256];

    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (!is_called(known[i], name)) {
            continue;
        }
        if (known[i]->open == NULL) {
            snprintf(error, error_size, "a store of kind '%s' cannot open: %s",
                     name, known[i]->missing);
            return KV_EDEVICE;
        }
        *out = known[i];
        return KV_OK;
    }
    list_kinds(list, sizeof list);
    snprintf(error, error_size, "unknown kind of store '%.64s'; known: %s",
             name, list);
    return KV_EINVAL;
}
