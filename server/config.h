/**
 * config - what the operator wants: file, environment and flags in one struct.
 *
 * config_load() reads, checks and completes it; after that every field holds
 * what is in force, and config_print() prints it in the format of the file.
 *
 * Thread:  start only.
 * Memory:  no pointers; nothing to free. config_wipe() forgets the key.
 * Result:  KV_EINVAL with one sentence that names option, value and what is
 *          allowed.
 */
#ifndef KV_SERVER_CONFIG_H
#define KV_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/base/settings.h"
#include "common/base/status.h"
#include "proto/handshake.h"
#include "proto/limits.h"

#define CONFIG_PATH_MAX 1000
#define CONFIG_FD_MAX 9 /* Digits. */

/* What to do, when it is not to serve. */
enum config_action {
    CONFIG_SERVE,
    CONFIG_HELP,
    CONFIG_VERSION,
    CONFIG_PRINT,
    CONFIG_PRINT_LIMITS
};

struct config {
    /* As given. */
    char file[CONFIG_PATH_MAX + 1];
    char listen[KV_ADDRESS_MAX + 1];
    char advertise[KV_ADDRESS_MAX + 1]; /* "": what `listen` came to. */
    char root[KV_ADDRESS_MAX + 1];
    char listen_fd_text[CONFIG_FD_MAX + 1]; /* "": none. */
    char ready_fd_text[CONFIG_FD_MAX + 1];
    char lifeline_fd_text[CONFIG_FD_MAX + 1];
    uint64_t index, servers, workers;
    uint64_t shards; /* 0 in a file: as many as there are cores. */
    char job_text[2 * HANDSHAKE_JOB_SIZE + 1];
    char key_file[CONFIG_PATH_MAX + 1];
    bool insecure;
    char arena_dir[CONFIG_PATH_MAX + 1];
    uint64_t arena_max; /* 0 in a file: as much as there is memory. */
    bool new_job, trust_arena, in_memory;
    uint64_t slice_bytes;
    bool exit_when_done;
    int log_level; /* enum log_level */

    /* Made of it. */
    enum config_action action;
    int listen_fd, ready_fd, lifeline_fd; /* -1: none. */
    uint8_t job[HANDSHAKE_JOB_SIZE];
    bool has_key;
    unsigned char key[HANDSHAKE_KEY_SIZE]; /* Zeros without a key file. */
};

KV_MUST_CHECK enum kv_status config_load(struct config *c, int argc,
                                         char *const *argv,
                                         struct settings_error *error);

void config_help(FILE *out);
void config_print(const struct config *c, FILE *out);
void config_print_limits(FILE *out);

void config_wipe(struct config *c);

#endif
