/**
 * settings - one table of options fills a struct from file, environment, flags.
 *
 * Each source overrides the one before, whatever the order on the command line:
 *
 *     defaults  <  file, `key = value`  <  PREFIX_KEY  <  --key value
 *
 *     static const struct setting table[] = {
 *         {"port", SETTING_U64, offsetof(struct config, port), 0, 65535,
 *          .fallback = "0", .meta = "PORT", .help = "port to listen on"},
 *         {0},
 *     };
 *
 * Names are spelled with dashes: `shard-count`, `--shard-count`,
 * `PREFIX_SHARD_COUNT`; a file may use dashes or underscores. A bool flag
 * may stand alone: `--volatile`, or `--no-volatile`.
 *
 * Thread:  any; no state of its own. settings_env() reads the environment.
 * Memory:  borrows all. Fields of type string are char arrays inside the target
 *          struct, so nothing is allocated.
 * Result:  KV_EINVAL with a sentence in the error that names the option, the
 *          value and what is allowed; fields set before it stay set.
 */
#ifndef KV_COMMON_BASE_SETTINGS_H
#define KV_COMMON_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

#define SETTINGS_NAME_MAX 64
#define SETTINGS_VARIABLE_MAX (2 * SETTINGS_NAME_MAX)
#define SETTINGS_VALUE_MAX 1024
#define SETTINGS_ERROR_MAX 512

enum setting_type {
    SETTING_STRING, /* char[max + 1]; min and max are lengths. */
    SETTING_U64,    /* uint64_t */
    SETTING_BOOL,   /* bool; yes/no, true/false, on/off, 1/0. */
    SETTING_SIZE,   /* uint64_t bytes; suffix K, M, G, T: powers of 1024. */
    SETTING_DOUBLE, /* double */
    SETTING_ENUM,   /* int: index into `words`. */
};

struct setting {
    const char *name; /* Lowercase, words joined by '-'. NULL ends a table. */
    enum setting_type type;
    size_t where;             /* offsetof() in the target struct. */
    double min, max;          /* Inclusive; both 0: no limit. */
    const char *const *words; /* SETTING_ENUM: the values, NULL at the end. */
    const char *fallback;     /* Default, as text; NULL leaves the field. */
    const char *meta;         /* What help calls the value, "PORT". */
    const char *help;         /* One sentence without a full stop. */
};

struct settings_error {
    char text[SETTINGS_ERROR_MAX];
};

/* Every field with a `fallback`. A bad one is our mistake: checked. */
void settings_defaults(const struct setting *table, void *target);

/* One option by name, from anywhere. `source` starts the error sentence. */
KV_MUST_CHECK enum kv_status settings_set(const struct setting *table,
                                          void *target, const char *source,
                                          const char *name, const char *value,
                                          struct settings_error *error);

/* Lines `key = value`; `#` starts a comment line; blank lines are skipped. */
KV_MUST_CHECK enum kv_status settings_file(const struct setting *table,
                                           void *target, const char *path,
                                           struct settings_error *error);

/* PREFIX_NAME for each name in the table; of others see the next. */
KV_MUST_CHECK enum kv_status settings_env(const struct setting *table,
                                          void *target, const char *prefix,
                                          struct settings_error *error);

/* Variables with the prefix that are one letter off an option's: "KV_WORKER (is
 * KV_WORKERS meant?), ..."; how many. What does not fit is cut off. Any other
 * may be meant for somebody else. */
size_t settings_env_slips(const struct setting *table, const char *prefix,
                          char *out, size_t size);

/* Log them in one line, the first time in a process. */
void settings_warn_slips(const struct setting *table, const char *prefix);

/* The variable of an option, cut at its end. */
void settings_variable(const char *prefix, const char *name,
                       char variable[SETTINGS_VARIABLE_MAX]);

/* argv[1..]: `--name value`, `--name=value`. Stops at `--` or at the first
 * argument that is no flag; *used is its index (argc if there is none). */
KV_MUST_CHECK enum kv_status settings_flags(const struct setting *table,
                                            void *target, int argc,
                                            char *const *argv, int *used,
                                            struct settings_error *error);

/* Value of one flag without setting anything, NULL if absent: for --config,
 * which must be known before the others are read. */
const char *settings_peek(int argc, char *const *argv, const char *name);

/* `key = value` lines that settings_file() reads back to the same. */
void settings_print(const struct setting *table, const void *target, FILE *out);

/* Aligned help, with defaults. */
void settings_help(const struct setting *table, FILE *out);

/* --- "lr=0.1,momentum=0.9" ------------------------------------------------ */

#define SETTINGS_PAIRS_MAX 32
#define SETTINGS_PAIR_MAX 256 /* A value, which may be a list: "15;25". */

struct settings_pair {
    char name[SETTINGS_NAME_MAX];
    char value[SETTINGS_PAIR_MAX];
};

struct settings_pairs {
    size_t count;
    struct settings_pair pair[SETTINGS_PAIRS_MAX];
};

/* "" gives none. Each name at most once. */
KV_MUST_CHECK enum kv_status settings_pairs(const char *text,
                                            struct settings_pairs *pairs,
                                            struct settings_error *error);

/* All of `text` as a finite number. */
KV_MUST_CHECK bool settings_number(const char *text, double *number);

#endif
