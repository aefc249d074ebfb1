/**
 * options - what kvw_open() was told, by its caller and by the environment.
 *
 *     defaults  <  DMLC_*, PS_* (of ps-lite)  <  KV_*  <  "name=value,..."
 *
 * Thread:  any; reads the environment and the key file.
 * Memory:  borrows the text; struct options owns the rest, allocates nothing.
 * Result:  KV_EINVAL with a sentence that names option, value and what is
 *          allowed; KV_EAUTH about the key file.
 */
#ifndef KV_WORKER_OPTIONS_H
#define KV_WORKER_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/settings.h"
#include "common/base/status.h"
#include "proto/handshake.h"
#include "proto/limits.h"

#define OPTIONS_PREFIX "KV_"    /* Of variables. */
#define OPTIONS_NONE UINT64_MAX /* rank, workers: not given. */

struct options {
    char root[KV_ADDRESS_MAX + 1];
    uint64_t rank, workers;
    uint64_t incarnation;
    uint64_t threads; /* 0: not given. */
    double timeout_s;
    int log_level; /* enum log_level */
    char compression[SETTINGS_NAME_MAX];
    uint8_t job[HANDSHAKE_JOB_SIZE];
    unsigned char key[HANDSHAKE_KEY_SIZE];
    /* As given, before they became `job` and `key`. */
    char job_hex[2 * HANDSHAKE_JOB_SIZE + 1];
    char key_file[SETTINGS_VALUE_MAX + 1];
};

extern const struct setting options_table[];

/* `text` may be NULL. */
KV_MUST_CHECK enum kv_status options_read(struct options *o, const char *text,
                                          char *error, size_t error_size);

#endif
