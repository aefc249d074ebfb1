#include "common/base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

static enum kv_status complain(struct settings_error *error, const char *fmt,
                               ...) __attribute__((format(printf, 2, 3)));

static enum kv_status complain(struct settings_error *error, const char *fmt,
                               ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return KV_EINVAL;
}

/* Dashes and underscores are the same. */
static bool same_name(const char *a, const char *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = b[i] == '_' ? '-' : b[i];

        if (a[i] != c) {
            return false;
        }
    }
    return a[size] == '\0';
}

static const struct setting *find(const struct setting *table, const char *name,
                                  size_t size)
{
    for (; table->name != NULL; table++) {
        if (same_name(table->name, name, size)) {
            return table;
        }
    }
    return NULL;
}

/* --- Values --------------------------------------------------------------- */

/* Whatever the program's locale, the point is a point. */
static double plain_strtod(const char *text, char **end)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value;

    if (plain == (locale_t)0) {
        return strtod(text, end);
    }
    value = strtod_l(text, end, plain);
    freelocale(plain);
    return value;
}

bool settings_number(const char *text, double *number)
{
    char *end;
    double value;

    if (*text == '\0' || isspace((unsigned char)*text)) {
        return false;
    }
    value = plain_strtod(text, &end);
    if (*end != '\0' || !isfinite(value)) {
        return false;
    }
    *number = value;
    return true;
}

static bool whole(const char *text, char **end, uint64_t *value)
{
    unsigned long long number;

    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    errno = 0;
    number = strtoull(text, end, 10);
    *value = number;
    return errno == 0;
}

static bool parse_size(const char *text, uint64_t *value)
{
    static const char units[] = "KMGT";
    const char *unit;
    uint64_t number;
    unsigned shift = 0;
    char *end;

    if (!whole(text, &end, &number)) {
        return false;
    }
    if (*end != '\0') {
        unit = strchr(units, toupper((unsigned char)*end));
        if (unit == NULL || end[1] != '\0') {
            return false;
        }
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (number > UINT64_MAX >> shift) {
        return false;
    }
    *value = number << shift;
    return true;
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const words[] = {"no",  "yes", "false", "true",
                                        "off", "on",  "0",     "1"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) == 0) {
            *value = i % 2 == 1;
            return true;
        }
    }
    return false;
}

static bool in_range(const struct setting *s, double value)
{
    return (s->min == 0 && s->max == 0) || (value >= s->min && value <= s->max);
}

/* "a number from 1 to 64", for error sentences. */
static void allowed(const struct setting *s, char *out, size_t size)
{
    static const char *const what[] = {
        [SETTING_STRING] = "a text of length",
        [SETTING_U64] = "a whole number",
        [SETTING_SIZE] = "a size such as 4096, 64K, 4M, 1G",
        [SETTING_DOUBLE] = "a number",
    };
    int used;

    if (s->type == SETTING_BOOL) {
        snprintf(out, size, "yes or no");
        return;
    }
    if (s->type == SETTING_ENUM) {
        used = snprintf(out, size, "one of");
        for (int i = 0; s->words[i] != NULL && (size_t)used < size; i++) {
            used += snprintf(out + used, size - (size_t)used, "%s %s",
                             i == 0 ? "" : ",", s->words[i]);
        }
        return;
    }
    used = snprintf(out, size, "%s", what[s->type]);
    if (s->min != 0 || s->max != 0) {
        snprintf(out + used, size - (size_t)used, " from %.15g to %.15g",
                 s->min, s->max);
    }
}

static bool set_word(const struct setting *s, const char *value, int *field)
{
    for (int i = 0; s->words[i] != NULL; i++) {
        if (strcmp(s->words[i], value) == 0) {
            *field = i;
            return true;
        }
    }
    return false;
}

static bool set_number(const struct setting *s, const char *value, void *field)
{
    double number;

    if (!settings_number(value, &number) || !in_range(s, number)) {
        return false;
    }
    *(double *)field = number;
    return true;
}

static bool set_whole(const struct setting *s, const char *value, void *field)
{
    uint64_t number;
    char *end;
    bool good = s->type == SETTING_SIZE
                    ? parse_size(value, &number)
                    : whole(value, &end, &number) && *end == '\0';

    if (!good || !in_range(s, (double)number)) {
        return false;
    }
    *(uint64_t *)field = number;
    return true;
}

static bool set_text(const struct setting *s, const char *value, char *field)
{
    size_t size = strlen(value);

    if ((double)size > s->max || (double)size < s->min) {
        return false;
    }
    memcpy(field, value, size + 1);
    return true;
}

static bool set_field(const struct setting *s, void *target, const char *value)
{
    void *field = (char *)target + s->where;

    switch (s->type) {
    case SETTING_STRING:
        return set_text(s, value, field);
    case SETTING_BOOL:
        return parse_bool(value, field);
    case SETTING_ENUM:
        return set_word(s, value, field);
    case SETTING_DOUBLE:
        return set_number(s, value, field);
    case SETTING_U64:
    case SETTING_SIZE:
        return set_whole(s, value, field);
    }
    return false;
}

void settings_defaults(const struct setting *table, void *target)
{
    for (; table->name != NULL; table++) {
        KV_CHECK(table->fallback == NULL ||
                 set_field(table, target, table->fallback));
    }
}

/* "a, b, c" */
static void names_of(const struct setting *table, char *out, size_t size)
{
    const char *between = "";
    size_t used = 0;

    for (; table->name != NULL && used < size; table++, between = ", ") {
        used += (size_t)snprintf(out + used, size - used, "%s%s", between,
                                 table->name);
    }
}

enum kv_status settings_set(const struct setting *table, void *target,
                            const char *source, const char *name,
                            const char *value, struct settings_error *error)
{
    const struct setting *s = find(table, name, strlen(name));
    char range[256], names[SETTINGS_ERROR_MAX];

    if (s == NULL) {
        names_of(table, names, sizeof names);
        return complain(error, "%s: there is no option '%s'; there are %s",
                        source, name, names);
    }
    if (!set_field(s, target, value)) {
        allowed(s, range, sizeof range);
        return complain(error, "%s: '%s' is '%s', but must be %s", source,
                        s->name, value, range);
    }
    return KV_OK;
}
