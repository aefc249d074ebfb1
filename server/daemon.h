/**
 * daemon - creates and closes everything; the only file that knows all parts.
 *
 *   arenas, shards -> loop -> root's service or enlist -> threads -> door
 *   and back: door -> links -> shards' mail -> threads -> loops -> arenas
 *
 * Thread:  main.
 * Result:  the process's exit code: 0 ended when asked to, 1 could not start
 *          (a sentence is on stderr), 2 the options do not go together.
 */
#ifndef KV_SERVER_DAEMON_H
#define KV_SERVER_DAEMON_H

#include "server/config.h"

int daemon_run(struct config *config);

#endif
