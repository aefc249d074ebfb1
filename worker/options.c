#include "worker/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/legacy_env.h"
#include "proto/dial.h"

static const char *const log_words[] = {"error", "warn", "info", "debug", NULL};

const struct setting options_table[] = {
    {"root", SETTING_STRING, offsetof(struct options, root), 1, KV_ADDRESS_MAX,
     .fallback = "127.0.0.1:9091", .meta = "HOST:PORT", .help = "server 0"},
    {"rank", SETTING_U64, offsetof(struct options, rank), 0, KV_RANKS_MAX - 1,
     .meta = "RANK", .help = "this worker's rank"},
    {"workers", SETTING_U64, offsetof(struct options, workers), 1, KV_RANKS_MAX,
     .meta = "COUNT", .help = "workers of the job, to be checked"},
    {"job", SETTING_STRING, offsetof(struct options, job_hex), 0,
     2 * HANDSHAKE_JOB_SIZE, .fallback = "", .meta = "HEX",
     .help = "the job's id"},
    {"key-file", SETTING_STRING, offsetof(struct options, key_file), 0,
     SETTINGS_VALUE_MAX, .fallback = "", .meta = "FILE",
     .help = "the job's key"},
    {"incarnation", SETTING_U64, offsetof(struct options, incarnation),
     .meta = "COUNT", .help = "the n-th life of this rank"},
    {"threads", SETTING_U64, offsetof(struct options, threads), 1, 64,
     .meta = "COUNT", .help = "threads of a local store that sum and update"},
    {"timeout", SETTING_DOUBLE, offsetof(struct options, timeout_s), 0, 1e9,
     .fallback = "60", .meta = "SECONDS",
     .help = "how long to wait for the job to assemble"},
    {"compression", SETTING_STRING, offsetof(struct options, compression), 0,
     SETTINGS_NAME_MAX - 1, .fallback = "", .meta = "CODEC",
     .help = "how gradients travel"},
    {"log", SETTING_ENUM, offsetof(struct options, log_level),
     .words = log_words, .fallback = "warn", .meta = "LEVEL",
     .help = "what goes to stderr"},
    {0},
};

/* --- Sources -------------------------------------------------------------- */

static enum kv_status set_from(struct options *o, const char *variable,
                               const char *name, struct settings_error *error)
{
    const char *value = getenv(variable);

    if (value == NULL || *value == '\0') {
        return KV_OK;
    }
    return settings_set(options_table, o, variable, name, value, error);
}

/* In a job of ps-lite the same program runs in every role. */
static enum kv_status check_role(struct settings_error *error)
{
    const char *role = getenv("DMLC_ROLE");
    const char *instead =
        "worker, server and scheduler are the roles there are";

    if (role == NULL || *role == '\0' || strcmp(role, "worker") == 0) {
        return KV_OK;
    }
    if (strcmp(role, "server") == 0) {
        instead = "run kvstored in its place";
    } else if (strcmp(role, "scheduler") == 0) {
        instead = "run nothing in its place, as server 0 (kvstored) does its "
                  "work";
    }
    snprintf(error->text, sizeof error->text,
             "DMLC_ROLE is '%.40s', but this program opens a store, as workers "
             "do: %s",
             role, instead);
    return KV_EINVAL;
}

static enum kv_status read_dmlc_root(struct options *o,
                                     struct settings_error *error)
{
    char address[KV_ADDRESS_MAX + 100]; /* One that is too long is refused. */

    if (!legacy_env_root(address, sizeof address)) {
        return KV_OK;
    }
    return settings_set(options_table, o, "DMLC_PS_ROOT_URI", "root", address,
                        error);
}

static enum kv_status read_dmlc(struct options *o, struct settings_error *error)
{
    static const char *const same[][2] = {{"DMLC_WORKER_ID", "rank"},
                                          {"DMLC_RANK", "rank"},
                                          {"DMLC_NUM_WORKER", "workers"}};
    enum kv_status status = check_role(error);
    const char *level = legacy_env_level();

    if (status == KV_OK) {
        status = read_dmlc_root(o, error);
    }
    for (size_t i = 0; status == KV_OK && i < sizeof same / sizeof same[0];
         i++) {
        status = set_from(o, same[i][0], same[i][1], error);
    }
    if (status == KV_OK && level != NULL) {
        status =
            settings_set(options_table, o, "PS_VERBOSE", "log", level, error);
    }
    return status;
}

/* One "name=value" of `size` bytes; '_' in the name stands for '-'. */
static enum kv_status read_pair(struct options *o, const char *text,
                                size_t size, struct settings_error *error)
{
    char name[SETTINGS_NAME_MAX], value[SETTINGS_VALUE_MAX + 1];
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals == NULL ? size : (size_t)(equals - text);
    size_t value_size = equals == NULL ? 0 : size - name_size - 1;

    if (equals == NULL || name_size == 0 || name_size >= sizeof name ||
        value_size >= sizeof value) {
        snprintf(error->text, sizeof error->text,
                 "options: '%.*s' is not of the form name=value",
                 (int)(size < 80 ? size : 80), text);
        return KV_EINVAL;
    }
    for (size_t i = 0; i < name_size; i++) {
        name[i] = text[i] == '_' ? '-' : text[i];
    }
    name[name_size] = '\0';
    memcpy(value, equals + 1, value_size);
    value[value_size] = '\0';
    return settings_set(options_table, o, "options", name, value, error);
}

static enum kv_status read_text(struct options *o, const char *text,
                                struct settings_error *error)
{
    while (*text != '\0') {
        size_t size = strcspn(text, ",");
        enum kv_status status = read_pair(o, text, size, error);

        if (status != KV_OK) {
            return status;
        }
        text += size + (text[size] == ',');
    }
    return KV_OK;
}

/* --- What they mean ------------------------------------------------------- */

static enum kv_status parse_job(struct options *o, char *error,
                                size_t error_size)
{
    size_t size = strlen(o->job_hex);

    memset(o->job, 0, sizeof o->job);
    if (size == 0) {
        return KV_OK;
    }
    if (size != 2 * HANDSHAKE_JOB_SIZE ||
        strspn(o->job_hex, "0123456789abcdefABCDEF") != size) {
        snprintf(error, error_size, "job '%s' is not 32 hexadecimal digits",
                 o->job_hex);
        return KV_EINVAL;
    }
    for (size_t i = 0; i < HANDSHAKE_JOB_SIZE; i++) {
        char digits[3] = {o->job_hex[2 * i], o->job_hex[2 * i + 1], '\0'};

        o->job[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return KV_OK;
}

static enum kv_status check_root(const struct options *o, char *error,
                                 size_t error_size)
{
    char host[KV_ADDRESS_MAX + 1], port[8];

    if (dial_split(o->root, host, sizeof host, port, sizeof port) != KV_OK) {
        snprintf(error, error_size,
                 "root '%s' is no address of the form host:port", o->root);
        return KV_EINVAL;
    }
    return KV_OK;
}

static enum kv_status read_key(struct options *o, char *error,
                               size_t error_size)
{
    memset(o->key, 0, sizeof o->key);
    if (o->key_file[0] == '\0') {
        return KV_OK;
    }
    return handshake_read_key(o->key_file, o->key, error, error_size);
}

/* A life that begins later has a larger number. */
static uint64_t incarnation_by_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

enum kv_status options_read(struct options *o, const char *text, char *error,
                            size_t error_size)
{
    struct settings_error wrong;
    enum kv_status status;

    memset(o, 0, sizeof *o);
    o->rank = OPTIONS_NONE;
    o->workers = OPTIONS_NONE;
    o->incarnation = incarnation_by_clock();
    settings_defaults(options_table, o);
    status = read_dmlc(o, &wrong);
    if (status == KV_OK) {
        status = settings_env(options_table, o, OPTIONS_PREFIX, &wrong);
    }
    if (status == KV_OK) {
        status = read_text(o, text == NULL ? "" : text, &wrong);
    }
    if (status != KV_OK) {
        snprintf(error, error_size, "%s", wrong.text);
        return status;
    }
    status = parse_job(o, error, error_size);
    if (status == KV_OK) {
        status = check_root(o, error, error_size);
    }
    if (status == KV_OK) {
        status = read_key(o, error, error_size);
    }
    return status;
}
