/**
 * config_options - every option: name, type, range, default, help.
 *
 * Thread:  any; constants.
 */
#ifndef KV_SERVER_CONFIG_OPTIONS_H
#define KV_SERVER_CONFIG_OPTIONS_H

#include "server/config.h"

extern const struct setting config_options[];

#endif
