/* Where settings come from: a file, the environment, the command line, and
 * short lists of pairs. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/settings.h"

enum { SETTINGS_LINE_MAX = SETTINGS_NAME_MAX + SETTINGS_VALUE_MAX + 16 };

/* --- File ----------------------------------------------------------------- */

static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1])) {
        *--end = '\0';
    }
    while (isspace((unsigned char)*text)) {
        text++;
    }
    return text;
}

/* A line without its newline, cut at the buffer's end; false after the last. */
static bool read_line(FILE *f, char line[SETTINGS_LINE_MAX], size_t *size)
{
    int c = getc(f);

    if (c == EOF) {
        return false;
    }
    *size = 0;
    while (c != EOF && c != '\n' && *size < SETTINGS_LINE_MAX - 1) {
        line[(*size)++] = (char)c;
        c = getc(f);
    }
    line[*size] = '\0';
    return true;
}

static enum kv_status set_line(const struct setting *table, void *target,
                               const char *source, char *line, size_t size,
                               struct settings_error *error)
{
    char *name, *equals;

    if (size == SETTINGS_LINE_MAX - 1 || strlen(line) != size) {
        snprintf(error->text, sizeof error->text, "%s: the line %s", source,
                 strlen(line) == size ? "is too long" : "has a byte 0 in it");
        return KV_EINVAL;
    }
    name = trim(line);
    if (*name == '\0' || *name == '#') {
        return KV_OK;
    }
    equals = strchr(name, '=');
    if (equals == NULL) {
        snprintf(error->text, sizeof error->text,
                 "%s: '%s' is no line of the form key = value", source, name);
        return KV_EINVAL;
    }
    *equals = '\0';
    return settings_set(table, target, source, trim(name), trim(equals + 1),
                        error);
}

enum kv_status settings_file(const struct setting *table, void *target,
                             const char *path, struct settings_error *error)
{
    char line[SETTINGS_LINE_MAX] = "", source[300];
    enum kv_status status = KV_OK;
    FILE *f = fopen(path, "re");
    size_t size;

    if (f == NULL) {
        snprintf(error->text, sizeof error->text, "cannot read %s: %s", path,
                 strerror(errno));
        return KV_EINVAL;
    }
    for (unsigned n = 1; status == KV_OK && read_line(f, line, &size); n++) {
        snprintf(source, sizeof source, "%s:%u", path, n);
        status = set_line(table, target, source, line, size, error);
    }
    if (status == KV_OK && ferror(f)) {
        snprintf(error->text, sizeof error->text, "cannot read %s: %s", path,
                 strerror(errno));
        status = KV_EINVAL;
    }
    fclose(f);
    return status;
}

/* --- Environment ---------------------------------------------------------- */

enum kv_status settings_env(const struct setting *table, void *target,
                            const char *prefix, struct settings_error *error)
{
    for (const struct setting *s = table; s->name != NULL; s++) {
        char variable[SETTINGS_VARIABLE_MAX];
        const char *value;

        settings_variable(prefix, s->name, variable);
        value = getenv(variable);
        if (value != NULL && settings_set(table, target, variable, s->name,
                                          value, error) != KV_OK) {
            return KV_EINVAL;
        }
    }
    return KV_OK;
}

/* --- Flags ---------------------------------------------------------------- */

static const struct setting *lookup(const struct setting *table,
                                    const char *name)
{
    for (; table->name != NULL; table++) {
        if (strcmp(table->name, name) == 0) {
            return table;
        }
    }
    return NULL;
}

static bool is_bool(const struct setting *table, const char *name)
{
    const struct setting *s = lookup(table, name);

    return s != NULL && s->type == SETTING_BOOL;
}

/* Split "--name=value" or "--name"; *value is NULL for the latter. */
static bool split_flag(const char *flag, char *name, const char **value)
{
    const char *equals = strchr(flag, '=');
    size_t size = equals == NULL ? strlen(flag) : (size_t)(equals - flag);

    if (size < 3 || size - 2 >= SETTINGS_NAME_MAX) {
        return false;
    }
    for (size_t i = 2; i < size; i++) {
        name[i - 2] = flag[i];
        if (flag[i] == '_') {
            name[i - 2] = '-';
        }
    }
    name[size - 2] = '\0';
    *value = equals == NULL ? NULL : equals + 1;
    return true;
}

/* The flag at argv[*i]; *i ends on the last argument that belongs to it. */
static enum kv_status take_flag(const struct setting *table, void *target,
                                int argc, char *const *argv, int *i,
                                struct settings_error *error)
{
    char buffer[SETTINGS_NAME_MAX], *name = buffer;
    const char *value;

    if (!split_flag(argv[*i], name, &value)) {
        snprintf(error->text, sizeof error->text, "'%s' is no option",
                 argv[*i]);
        return KV_EINVAL;
    }
    if (value == NULL && is_bool(table, name)) {
        value = "yes";
    } else if (value == NULL && strncmp(name, "no-", 3) == 0 &&
               is_bool(table, name + 3)) {
        name += 3;
        value = "no";
    } else if (value == NULL && *i + 1 < argc) {
        value = argv[++*i];
    } else if (value == NULL && lookup(table, name) != NULL) {
        snprintf(error->text, sizeof error->text, "--%s needs a value", name);
        return KV_EINVAL;
    }
    return settings_set(table, target, "command line", name,
                        value == NULL ? "" : value, error);
}

enum kv_status settings_flags(const struct setting *table, void *target,
                              int argc, char *const *argv, int *used,
                              struct settings_error *error)
{
    int i = 1;

    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--") == 0) {
            break;
        }
        if (take_flag(table, target, argc, argv, &i, error) != KV_OK) {
            return KV_EINVAL;
        }
    }
    *used = i;
    return KV_OK;
}

const char *settings_peek(int argc, char *const *argv, const char *name)
{
    size_t size = strlen(name);

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *flag = argv[i];

        if (strncmp(flag, "--", 2) != 0 || strncmp(flag + 2, name, size) != 0) {
            continue;
        }
        if (flag[2 + size] == '=') {
            return flag + 3 + size;
        }
        if (flag[2 + size] == '\0' && i + 1 < argc) {
            return argv[i + 1];
        }
    }
    return NULL;
}

/* --- "lr=0.1,momentum=0.9" ------------------------------------------------ */

static enum kv_status take_pair(const char *text, size_t size,
                                struct settings_pairs *pairs,
                                struct settings_error *error)
{
    const char *equals = memchr(text, '=', size);
    size_t name = equals == NULL ? 0 : (size_t)(equals - text);
    size_t value = equals == NULL ? 0 : size - name - 1;
    struct settings_pair *p = &pairs->pair[pairs->count];

    if (name == 0 || value == 0 || name >= SETTINGS_NAME_MAX ||
        value >= SETTINGS_PAIR_MAX) {
        snprintf(error->text, sizeof error->text,
                 "'%.*s' is no pair of the form name=value", (int)size, text);
        return KV_EINVAL;
    }
    if (pairs->count == SETTINGS_PAIRS_MAX) {
        snprintf(error->text, sizeof error->text, "more than %d pairs",
                 SETTINGS_PAIRS_MAX);
        return KV_EINVAL;
    }
    memcpy(p->name, text, name);
    p->name[name] = '\0';
    memcpy(p->value, equals + 1, value);
    p->value[value] = '\0';
    for (size_t i = 0; i < pairs->count; i++) {
        if (strcmp(pairs->pair[i].name, p->name) == 0) {
            snprintf(error->text, sizeof error->text, "'%s' is given twice",
                     p->name);
            return KV_EINVAL;
        }
    }
    pairs->count++;
    return KV_OK;
}

enum kv_status settings_pairs(const char *text, struct settings_pairs *pairs,
                              struct settings_error *error)
{
    pairs->count = 0;
    while (*text != '\0') {
        size_t size = strcspn(text, ",");

        if (take_pair(text, size, pairs, error) != KV_OK) {
            return KV_EINVAL;
        }
        text += size;
        if (*text == ',' && *++text == '\0') {
            snprintf(error->text, sizeof error->text,
                     "a comma at the end, with nothing behind it");
            return KV_EINVAL;
        }
    }
    return KV_OK;
}
