#include <stdio.h>

#include "server/config.h"
#include "server/daemon.h"
#include "version.h"

static int serve(struct config *config)
{
    int code = daemon_run(config);

    config_wipe(config);
    return code;
}

int main(int argc, char **argv)
{
    static struct config config;
    struct settings_error error;

    if (config_load(&config, argc, argv, &error) != KV_OK) {
        fprintf(stderr, "kvstored: %s\n", error.text);
        return 2;
    }
    switch (config.action) {
    case CONFIG_HELP:
        config_help(stdout);
        return 0;
    case CONFIG_VERSION:
        printf("kvstored %s\n", KV_VERSION);
        return 0;
    case CONFIG_PRINT:
        config_print(&config, stdout);
        return 0;
    case CONFIG_PRINT_LIMITS:
        config_print_limits(stdout);
        return 0;
    case CONFIG_SERVE:
        break;
    }
    return serve(&config);
}
