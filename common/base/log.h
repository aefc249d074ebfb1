/**
 * log - leveled lines on stderr.
 *
 *     info server 0: ready on 127.0.0.1:9700
 *     ^level ^who    ^what the caller said
 *
 * One line is one write(2), so lines of several processes and threads do not
 * mix. Texts are lowercase, without `=`: "key 17 round 4: worker 3 left".
 * Control characters and other bytes a terminal could obey are escaped, so
 * a peer's text is safe to pass. Who decides that something is an error logs
 * it, once; everyone above passes the status on.
 *
 * Thread:  log_open() before the first other thread starts; the rest any. A
 *          struct log_limit belongs to one thread.
 * Memory:  borrows everything; allocates nothing.
 * Result:  a line that does not fit LOG_LINE_MAX is cut, ending in "...".
 */
#ifndef KV_COMMON_BASE_LOG_H
#define KV_COMMON_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 1024
#define LOG_WHO_MAX 64

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Before this: level warn, and no name. `who` is copied; "" leaves it out. */
void log_open(const char *who, enum log_level level);

/* Change the level only; safe at any time. */
void log_set_level(enum log_level level);

/* False if `name` is none of error, warn, info, debug. */
bool log_level_find(const char *name, enum log_level *level);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What a peer can provoke goes through a limit: `if (log_allow(&l, now))`. */
struct log_limit {
    const char *about; /* What is limited, for the line "N more ...". */
    unsigned count_max;
    uint64_t interval_ms;

    /* Private; zero at start. */
    uint64_t since_ms;
    unsigned count;
    unsigned suppressed;
};

/* True if the caller may log now. The first allowed line of an interval is
 * preceded by one that says how many were suppressed in the one before. */
bool log_allow(struct log_limit *limit, uint64_t now_ms);

#endif
