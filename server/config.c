#include "server/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "proto/dial.h"
#include "server/config_dmlc.h"
#include "server/config_options.h"

static const struct {
    const char *flag;
    enum config_action action;
} actions[] = {
    {"--help", CONFIG_HELP},
    {"-h", CONFIG_HELP},
    {"--version", CONFIG_VERSION},
    {"--print-config", CONFIG_PRINT},
    {"--print-limits", CONFIG_PRINT_LIMITS},
};

#define ARENA_MAX_MIN (4 << 20) /* Of a shard: less is no server. */

/* --- Checks -------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static enum kv_status
wrong(struct settings_error *error, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return KV_EINVAL;
}

static enum kv_status check_address(const char *option, const char *value,
                                    bool any_port, struct settings_error *error)
{
    char host[KV_ADDRESS_MAX + 1], port[8];
    size_t size = strlen(value);

    if (dial_split(value, host, sizeof host, port, sizeof port) == KV_OK ||
        (any_port && size > 2 && strcmp(value + size - 2, ":0") == 0)) {
        return KV_OK;
    }
    return wrong(error,
                 "--%s %s: not HOST:PORT, like 127.0.0.1:9091 or [::1]:9091",
                 option, value);
}

static enum kv_status check_addresses(const struct config *c,
                                      struct settings_error *error)
{
    enum kv_status status = check_address("listen", c->listen, true, error);

    if (status == KV_OK && c->advertise[0] != '\0') {
        status = check_address("advertise", c->advertise, false, error);
    }
    if (status == KV_OK && c->root[0] != '\0') {
        status = check_address("root", c->root, false, error);
    }
    return status;
}

static enum kv_status check_job(const struct config *c,
                                struct settings_error *error)
{
    if (c->index >= c->servers) {
        return wrong(error,
                     "--index %" PRIu64 ": the job has servers 0 to %" PRIu64
                     " (--servers %" PRIu64 ")",
                     c->index, c->servers - 1, c->servers);
    }
    if (c->index > 0 && c->root[0] == '\0') {
        return wrong(error, "--root HOST:PORT is needed when --index is not 0");
    }
    if (c->slice_bytes % (KV_SLICE_ALIGN * sizeof(float)) != 0) {
        return wrong(error,
                     "--slice-bytes %" PRIu64 ": must be a multiple of %zu",
                     c->slice_bytes, KV_SLICE_ALIGN * sizeof(float));
    }
    if (c->arena_max / c->shards < ARENA_MAX_MIN) {
        return wrong(error,
                     "--arena-max %" PRIu64 ": at least %d bytes for each of "
                     "%" PRIu64 " shards",
                     c->arena_max, ARENA_MAX_MIN, c->shards);
    }
    if (c->in_memory && (c->new_job || c->trust_arena)) {
        return wrong(error,
                     "--volatile keeps no state that --%s could be "
                     "about",
                     c->new_job ? "new-job" : "trust-arena");
    }
    return KV_OK;
}

/* --- Completing ---------------------------------------------------------- */

static enum kv_status take_fd(const char *option, const char *text, int *fd,
                              struct settings_error *error)
{
    struct stat st;
    char *end;
    long value;

    *fd = -1;
    if (text[0] == '\0') {
        return KV_OK;
    }
    value = strtol(text, &end, 10);
    if (*end != '\0' || !isdigit((unsigned char)text[0]) ||
        fstat((int)value, &st) != 0) {
        return wrong(error, "--%s %s: no open file descriptor", option, text);
    }
    if (strcmp(option, "ready-fd") != 0 && !S_ISSOCK(st.st_mode) &&
        !(S_ISFIFO(st.st_mode) && strcmp(option, "lifeline-fd") == 0)) {
        return wrong(error, "--%s %s: not a %ssocket", option, text,
                     strcmp(option, "lifeline-fd") == 0 ? "pipe or " : "");
    }
    (void)fcntl((int)value, F_SETFD, FD_CLOEXEC);
    *fd = (int)value;
    return KV_OK;
}

static enum kv_status take_fds(struct config *c, struct settings_error *error)
{
    enum kv_status status =
        take_fd("listen-fd", c->listen_fd_text, &c->listen_fd, error);

    if (status == KV_OK) {
        status = take_fd("ready-fd", c->ready_fd_text, &c->ready_fd, error);
    }
    if (status == KV_OK) {
        status =
            take_fd("lifeline-fd", c->lifeline_fd_text, &c->lifeline_fd, error);
    }
    return status;
}

static enum kv_status take_job(struct config *c, struct settings_error *error)
{
    for (size_t i = 0; i < sizeof c->job; i++) {
        char digits[3] = {c->job_text[2 * i], c->job_text[2 * i + 1], '\0'};

        if (!isxdigit((unsigned char)digits[0]) ||
            !isxdigit((unsigned char)digits[1])) {
            return wrong(error, "--job %s: not 32 hexadecimal digits",
                         c->job_text);
        }
        c->job[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return KV_OK;
}

static enum kv_status take_key(struct config *c, struct settings_error *error)
{
    char reason[256];

    memset(c->key, 0, sizeof c->key);
    c->has_key = c->key_file[0] != '\0';
    if (c->has_key && handshake_read_key(c->key_file, c->key, reason,
                                         sizeof reason) != KV_OK) {
        return wrong(error, "--key-file: %s", reason);
    }
    return KV_OK;
}

static void complete(struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (c->shards == 0) {
        c->shards = cores < 1               ? 1
                    : cores > KV_SHARDS_MAX ? KV_SHARDS_MAX
                                            : (uint64_t)cores;
    }
    if (c->arena_max == 0) {
        c->arena_max =
            (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    if (c->arena_dir[0] == '\0') {
        snprintf(c->arena_dir, sizeof c->arena_dir, "/dev/shm/kvstored-%u",
                 (unsigned)getuid());
    }
}

/* --- Reading ------------------------------------------------------------- */

/* Actions are flags only: a variable must not turn a daemon into a help. */
static enum kv_status read_flags(struct config *c, int argc, char *const *argv,
                                 struct settings_error *error)
{
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    int count = 0, used = 0;
    enum kv_status status;

    if (rest == NULL) {
        return wrong(error, "out of memory");
    }
    for (int i = 0; i < argc; i++) {
        bool taken = false;

        for (size_t a = 0; a < sizeof actions / sizeof actions[0]; a++) {
            if (i > 0 && strcmp(argv[i], actions[a].flag) == 0) {
                c->action = actions[a].action;
                taken = true;
            }
        }
        if (!taken) {
            rest[count++] = argv[i];
        }
    }
    status = settings_flags(config_options, c, count, rest, &used, error);
    if (status == KV_OK && used < count) {
        status = wrong(error, "%s: not an option; see --help", rest[used]);
    }
    free(rest);
    return status;
}

enum kv_status config_load(struct config *c, int argc, char *const *argv,
                           struct settings_error *error)
{
    const char *file = settings_peek(argc, argv, "config");
    enum kv_status status = KV_OK;

    memset(c, 0, sizeof *c);
    settings_defaults(config_options, c);
    status = config_dmlc_read(c, error);
    if (file == NULL) {
        file = getenv(CONFIG_PREFIX "CONFIG");
    }
    if (status == KV_OK && file != NULL && file[0] != '\0') {
        status = settings_file(config_options, c, file, error);
    }
    if (status == KV_OK) {
        status = settings_env(config_options, c, CONFIG_PREFIX, error);
    }
    if (status == KV_OK) {
        status = read_flags(c, argc, argv, error);
    }
    if (status != KV_OK || c->action == CONFIG_HELP ||
        c->action == CONFIG_VERSION || c->action == CONFIG_PRINT_LIMITS) {
        return status;
    }
    complete(c);
    status = config_dmlc_complete(c, error);
    if (status == KV_OK) {
        status = check_addresses(c, error);
    }
    if (status == KV_OK) {
        status = check_job(c, error);
    }
    if (status == KV_OK) {
        status = take_job(c, error);
    }
    if (status == KV_OK) {
        status = take_fds(c, error);
    }
    if (status == KV_OK) {
        status = take_key(c, error);
    }
    return status;
}

void config_wipe(struct config *c)
{
    OPENSSL_cleanse(c->key, sizeof c->key);
}
