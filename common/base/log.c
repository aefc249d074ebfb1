#include "common/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"error", "warn", "info", "debug"};

static char name[LOG_WHO_MAX];
static _Atomic int threshold = LOG_WARN;

void log_open(const char *who, enum log_level level)
{
    snprintf(name, sizeof name, "%s", who);
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool log_level_find(const char *text, enum log_level *level)
{
    for (int i = 0; i <= LOG_DEBUG; i++) {
        if (strcmp(text, names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Bytes a terminal could obey become \xNN. */
static size_t escape(const char *text, char *out, size_t size)
{
    size_t used = 0;

    for (; *text != '\0' && used + 8 < size; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c < 0x7f) {
            out[used++] = *text;
        } else {
            used += (size_t)snprintf(out + used, size - used, "\\x%02x", c);
        }
    }
    if (*text != '\0') {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    return used;
}

static void write_line(enum log_level level, const char *fmt, va_list args)
{
    char text[LOG_LINE_MAX], line[LOG_LINE_MAX + LOG_WHO_MAX + 16];
    size_t used, start;

    if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed)) {
        return;
    }
    vsnprintf(text, sizeof text, fmt, args);
    start = (size_t)snprintf(line, sizeof line, "%s%s%s: ", names[level],
                             name[0] == '\0' ? "" : " ", name);
    used = start + escape(text, line + start, LOG_LINE_MAX - 1);
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        return; /* Nobody left to tell. */
    }
}

void log_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_line(LOG_ERROR, fmt, args);
    va_end(args);
}

void log_warn(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_line(LOG_WARN, fmt, args);
    va_end(args);
}

void log_info(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_line(LOG_INFO, fmt, args);
    va_end(args);
}

void log_debug(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_line(LOG_DEBUG, fmt, args);
    va_end(args);
}

bool log_allow(struct log_limit *limit, uint64_t now_ms)
{
    if (limit->count == 0 || now_ms - limit->since_ms >= limit->interval_ms) {
        if (limit->suppressed > 0) {
            log_warn("%u more %s not shown", limit->suppressed, limit->about);
        }
        limit->since_ms = now_ms;
        limit->count = 0;
        limit->suppressed = 0;
    }
    if (limit->count >= limit->count_max) {
        limit->suppressed++;
        return false;
    }
    limit->count++;
    return true;
}
