/**
 * legacy_env - the variables of MXNet, ps-lite and their forks.
 *
 * Who comes from there has DMLC_*, PS_* and MXNET_KVSTORE_* in his scripts. A
 * few mean the same here, and options.c (worker) and config_dmlc.c (server)
 * read them. The others do nothing, which must not go unsaid: the table here
 * has what to use instead.
 *
 * Thread:  any; reads the environment.
 * Memory:  borrows. Allocates nothing.
 */
#ifndef KV_COMMON_BASE_LEGACY_ENV_H
#define KV_COMMON_BASE_LEGACY_ENV_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/log.h"

enum legacy_side { LEGACY_WORKER, LEGACY_SERVER };

/* One line about all variables that are set and do nothing on this side; how
 * many they are. What does not fit is counted at the line's end. One that is
 * empty, or asks for what is so anyway ("0"), is not set. */
size_t legacy_env_text(enum legacy_side side, char *out, size_t size);

/* Log that line as a warning, the first time in a process. */
void legacy_env_warn(enum legacy_side side);

/* DMLC_PS_ROOT_URI and DMLC_PS_ROOT_PORT as host:port, cut off at `size`; false
 * unless both are set. */
bool legacy_env_root(char *out, size_t size);

/* PS_VERBOSE as the name of a level; NULL when it is not set, or 0. */
const char *legacy_env_level(void);

#endif
