#include "server/config_dmlc.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/legacy_env.h"
#include "server/config_options.h"

#define TEXT_MAX (KV_ADDRESS_MAX + 100) /* What is too long is refused. */

static enum kv_status set(struct config *c, const char *variable,
                          const char *option, const char *value,
                          struct settings_error *error)
{
    if (value == NULL || *value == '\0') {
        return KV_OK;
    }
    return settings_set(config_options, c, variable, option, value, error);
}

/* --- Reading ------------------------------------------------------------- */

enum kv_status config_dmlc_read(struct config *c, struct settings_error *error)
{
    static const char *const same[][2] = {{"DMLC_SERVER_ID", "index"},
                                          {"DMLC_NUM_SERVER", "servers"},
                                          {"DMLC_NUM_WORKER", "workers"}};
    enum kv_status status =
        set(c, "PS_VERBOSE", "log-level", legacy_env_level(), error);

    for (size_t i = 0; status == KV_OK && i < sizeof same / sizeof same[0];
         i++) {
        status = set(c, same[i][0], same[i][1], getenv(same[i][0]), error);
    }
    c->listen[0] = '\0';
    return status;
}

/* --- Completing ---------------------------------------------------------- */

static enum kv_status check_role(struct settings_error *error)
{
    const char *role = getenv("DMLC_ROLE");
    const char *instead =
        "worker, server and scheduler are the roles there are";

    if (role == NULL || *role == '\0' || strcmp(role, "server") == 0) {
        return KV_OK;
    }
    if (strcmp(role, "worker") == 0) {
        instead = "run the training program in its place";
    } else if (strcmp(role, "scheduler") == 0) {
        instead = "run nothing in its place, as server 0 does its work";
    }
    snprintf(error->text, sizeof error->text,
             "DMLC_ROLE is '%.40s', but kvstored is a server: %s", role,
             instead);
    return KV_EINVAL;
}

/* Servers of ps-lite listen on a host that they are told and on any port; here
 * on loopback, if they are told none. */
static bool node_address(char *out, size_t size)
{
    const char *host = getenv("DMLC_NODE_HOST");
    const char *port = getenv("DMLC_PORT");
    char root[TEXT_MAX];

    if (host == NULL || *host == '\0') {
        host = "127.0.0.1";
        if (!legacy_env_root(root, sizeof root)) {
            return false;
        }
    }
    snprintf(out, size, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
             port != NULL && *port != '\0' ? port : "0");
    return true;
}

/* Without any of it, the default is set back. */
static enum kv_status complete_listen(struct config *c,
                                      struct settings_error *error)
{
    char address[TEXT_MAX];

    if (c->listen[0] != '\0') {
        return KV_OK;
    }
    if (c->index == 0 && legacy_env_root(address, sizeof address)) {
        return set(c, "DMLC_PS_ROOT_URI", "listen", address, error);
    }
    if (c->index > 0 && node_address(address, sizeof address)) {
        return set(c, "DMLC_NODE_HOST", "listen", address, error);
    }
    return set(c, "listen", "listen", CONFIG_LISTEN_DEFAULT, error);
}

enum kv_status config_dmlc_complete(struct config *c,
                                    struct settings_error *error)
{
    char address[TEXT_MAX];
    enum kv_status status = check_role(error);

    if (status == KV_OK) {
        status = complete_listen(c, error);
    }
    if (status == KV_OK && c->index > 0 && c->root[0] == '\0' &&
        legacy_env_root(address, sizeof address)) {
        status = set(c, "DMLC_PS_ROOT_URI", "root", address, error);
    }
    return status;
}
