/**
 * config_dmlc - what a launcher of ps-lite says, in DMLC_* and PS_VERBOSE.
 *
 *     defaults  <  DMLC_*  <  file  <  KV_*  <  flags
 *
 * The address of the root is where server 0 listens and what the others
 * connect to: which of the two is known only when all is read.
 *
 * Thread:  start only; reads the environment.
 * Memory:  borrows.
 * Result:  KV_EINVAL with a sentence that names the variable.
 */
#ifndef KV_SERVER_CONFIG_DMLC_H
#define KV_SERVER_CONFIG_DMLC_H

#include "server/config.h"

/* After the defaults. Leaves `listen` empty, for whoever comes after. */
KV_MUST_CHECK enum kv_status config_dmlc_read(struct config *c,
                                              struct settings_error *error);

/* After the flags: `listen` and `root`, where nobody gave them. */
KV_MUST_CHECK enum kv_status config_dmlc_complete(struct config *c,
                                                  struct settings_error *error);

#endif
