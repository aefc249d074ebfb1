#include "common/base/legacy_env.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SIZE 64
#define ROOT_HOST "DMLC_PS_ROOT_URI"
#define ROOT_PORT "DMLC_PS_ROOT_PORT"
#define MORE_SIZE 40 /* Kept free for "and N more". */

/* Variables that do the same kind of thing. */
static const struct group {
    const char *names;     /* Joined by spaces. */
    const char *instead;   /* What to use. */
    const char *on_server; /* There, if it is something else. */
    const char *fine;      /* Besides "0": values that ask for what is so. */
} groups[] = {
    {.names = "PS_RESEND PS_RESEND_TIMEOUT",
     .instead =
         "not needed: nothing is lost, workers send again by themselves"},
    {.names = "PS_HEARTBEAT_INTERVAL PS_HEARTBEAT_TIMEOUT",
     .instead = "not needed: the log names who is missing"},
    {.names = "PS_DROP_MSG",
     .instead = "for tests, kvlaunch --chaos kills servers"},
    {.names = "MXNET_KVSTORE_BIGARRAY_BOUND MXNET_KVSTORE_SLICE_THRESHOLD "
              "MXNET_KVSTORE_SIZE_LOWER_BOUND",
     .instead = "values are cut by kvstored --slice-bytes"},
    {.names = "MXNET_KVSTORE_REDUCTION_NTHREADS",
     .instead = "KV_THREADS is the number of threads of a local store, "
                "kvstored --shards that of a server",
     .on_server = "--shards is the number of threads that sum"},
    {.names = "MXNET_KVSTORE_SERIAL_PUSH",
     .instead = "not needed: sums are in rank order"},
    {.names = "MXNET_KVSTORE_USETREE MXNET_KVSTORE_LOGTREE "
              "MXNET_KVSTORE_TREE_ARRAY_BOUND MXNET_KVSTORE_TREE_BACKTRACK "
              "MXNET_KVSTORE_TREE_LINK_USAGE_PENALTY",
     .instead = "not needed: devices are summed in one pass"},
    {.names = "MXNET_KVSTORE_DIST_ROW_SPARSE_VERBOSE",
     .instead = "KV_LOG chooses what is logged",
     .on_server = "--log-level chooses what is logged"},
    {.names = "DMLC_PS_VAN_TYPE", .instead = "links are TCP", .fine = "zmq p3"},
    {.names =
         "DMLC_ENABLE_RDMA DMLC_ENABLE_UCX DMLC_LOCAL DMLC_NUM_PORTS "
         "DMLC_UDP_CHANNEL_NUM DMLC_LOCKLESS_QUEUE DMLC_POLLING_IN_NANOSECOND",
     .instead = "links are TCP"},
    {.names = "DMLC_PS_WATER_MARK",
     .instead = "not needed: queues are bounded in bytes"},
    {.names = "DMLC_INTERFACE",
     .instead = "not needed: a worker listens nowhere",
     .on_server = "kvstored --listen takes the address of an interface"},
    {.names = "DMLC_USE_KUBERNETES",
     .instead = "not needed: a worker listens nowhere",
     .on_server = "kvstored --listen 0.0.0.0:9091 with --advertise"},
    {.names =
         "DMLC_NUM_GPU_DEV DMLC_NUM_CPU_DEV DMLC_GROUP_SIZE DMLC_NODE_RANK",
     .instead = "each process is one rank"},
    {.names =
         "DMLC_ROLE_GLOBAL DMLC_PS_GLOBAL_ROOT_URI DMLC_PS_GLOBAL_ROOT_PORT "
         "DMLC_NUM_GLOBAL_SERVER DMLC_NUM_GLOBAL_WORKER "
         "DMLC_ROLE_MASTER_WORKER "
         "DMLC_ENABLE_CENTRAL_WORKER DMLC_NUM_ALL_WORKER MXNET_KVSTORE_USE_HFA "
         "MXNET_KVSTORE_HFA_K1 MXNET_KVSTORE_HFA_K2 DMLC_K",
     .instead = "there is one level of servers, and all are equal"},
};

/* --- Looking ------------------------------------------------------------- */

/* The first word of *names, which moves on to the next; false at the end. */
static bool next_word(const char **names, char word[NAME_MAX_SIZE])
{
    size_t size = strcspn(*names, " ");

    if (size == 0) {
        return false;
    }
    snprintf(word, NAME_MAX_SIZE, "%.*s", (int)size, *names);
    *names += size + ((*names)[size] == ' ');
    return true;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0';
}

static bool asks_for_something(const char *name, const char *fine)
{
    const char *value = getenv(name);
    char word[NAME_MAX_SIZE];

    if (!is_set(name) || strcmp(value, "0") == 0) {
        return false;
    }
    while (fine != NULL && next_word(&fine, word)) {
        if (strcmp(value, word) == 0) {
            return false;
        }
    }
    return true;
}

/* Those of a group that are set, as "A, B (instead)"; how many. */
static size_t text_of_group(const struct group *g, enum legacy_side side,
                            char *out, size_t size)
{
    bool other = side == LEGACY_SERVER && g->on_server != NULL;
    const char *names = g->names;
    char name[NAME_MAX_SIZE];
    size_t count = 0, used = 0;

    while (next_word(&names, name)) {
        if (asks_for_something(name, g->fine) && used < size) {
            used += (size_t)snprintf(out + used, size - used, "%s%s",
                                     count++ == 0 ? "" : ", ", name);
        }
    }
    if (count > 0 && used < size) {
        snprintf(out + used, size - used, " (%s)",
                 other ? g->on_server : g->instead);
    }
    return count;
}

/* An address is both: a half of one leads nowhere. How many. */
static size_t text_of_half_root(char *out, size_t size)
{
    bool host = is_set(ROOT_HOST);

    if (host == is_set(ROOT_PORT)) {
        return 0;
    }
    snprintf(out, size, "%s (%s is not set)", host ? ROOT_HOST : ROOT_PORT,
             host ? ROOT_PORT : ROOT_HOST);
    return 1;
}

/* --- Public -------------------------------------------------------------- */

size_t legacy_env_text(enum legacy_side side, char *out, size_t size)
{
    size_t total = text_of_half_root(out, size), shown = total;
    size_t used = total == 0 ? 0 : strlen(out);
    char text[LOG_LINE_MAX];

    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        size_t count = text_of_group(&groups[i], side, text, sizeof text);

        total += count;
        if (count > 0 && used + strlen(text) + 2 + MORE_SIZE < size) {
            used += (size_t)snprintf(out + used, size - used, "%s%s",
                                     shown == 0 ? "" : "; ", text);
            shown += count;
        }
    }
    if (shown < total) {
        snprintf(out + used, size - used, "; and %zu more", total - shown);
    }
    return total;
}

void legacy_env_warn(enum legacy_side side)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char text[LOG_LINE_MAX - 128];

    if (!atomic_flag_test_and_set(&said) &&
        legacy_env_text(side, text, sizeof text) > 0) {
        log_warn("set in the environment, and of no effect: %s", text);
    }
}

bool legacy_env_root(char *out, size_t size)
{
    const char *host = getenv(ROOT_HOST), *port = getenv(ROOT_PORT);

    if (!is_set(ROOT_HOST) || !is_set(ROOT_PORT)) {
        return false;
    }
    snprintf(out, size, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
             port);
    return true;
}

const char *legacy_env_level(void)
{
    const char *value = getenv("PS_VERBOSE");

    if (!is_set("PS_VERBOSE") || strcmp(value, "0") == 0) {
        return NULL;
    }
    return strcmp(value, "1") == 0 ? "info" : "debug";
}
