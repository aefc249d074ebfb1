/**
 * config_options - every option: name, type, range, default, help.
 *
 * Thread:  any; constants.
 */
#ifndef KV_SERVER_CONFIG_OPTIONS_H
#define KV_SERVER_CONFIG_OPTIONS_H

#include "server/config.h"

#define CONFIG_PREFIX "KV_" /* Of variables. */
#define CONFIG_LISTEN_DEFAULT "127.0.0.1:9091"

extern const struct setting config_options[];

#endif
