/* Variables that no option reads, though somebody may believe so. */
#include <ctype.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/settings.h"

/* The same behind one letter that is missing, added, another, or in the place
 * of its neighbour. */
static bool one_slip(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    if (*a == '\0' || *b == '\0') {
        return strlen(a) + strlen(b) == 1;
    }
    return strcmp(a + 1, b) == 0 || strcmp(a, b + 1) == 0 ||
           strcmp(a + 1, b + 1) == 0 ||
           (a[0] == b[1] && a[1] == b[0] && strcmp(a + 2, b + 2) == 0);
}

void settings_variable(const char *prefix, const char *name,
                       char variable[SETTINGS_VARIABLE_MAX])
{
    snprintf(variable, SETTINGS_VARIABLE_MAX, "%s%s", prefix, name);
    for (char *c = variable; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
}

/* The variable that is meant by this one; false if it is one, or like none. */
static bool find_meant(const struct setting *table, const char *prefix,
                       const char *set, char meant[SETTINGS_VARIABLE_MAX])
{
    bool found = false;

    for (const struct setting *s = table; s->name != NULL; s++) {
        char variable[SETTINGS_VARIABLE_MAX];

        settings_variable(prefix, s->name, variable);
        if (strcmp(variable, set) == 0) {
            return false;
        }
        if (one_slip(variable, set)) {
            memcpy(meant, variable, sizeof variable);
            found = true;
        }
    }
    return found;
}

size_t settings_env_slips(const struct setting *table, const char *prefix,
                          char *out, size_t size)
{
    size_t count = 0, used = 0;

    for (char **at = environ; at != NULL && *at != NULL; at++) {
        char set[SETTINGS_VARIABLE_MAX], meant[SETTINGS_VARIABLE_MAX];
        size_t name_size = strcspn(*at, "=");

        if (name_size >= sizeof set ||
            strncmp(*at, prefix, strlen(prefix)) != 0) {
            continue;
        }
        memcpy(set, *at, name_size);
        set[name_size] = '\0';
        if (find_meant(table, prefix, set, meant)) {
            used += (size_t)snprintf(
                used < size ? out + used : NULL, used < size ? size - used : 0,
                "%s%s (is %s meant?)", count++ == 0 ? "" : ", ", set, meant);
        }
    }
    return count;
}

void settings_warn_slips(const struct setting *table, const char *prefix)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char text[SETTINGS_ERROR_MAX];

    if (!atomic_flag_test_and_set(&said) &&
        settings_env_slips(table, prefix, text, sizeof text) > 0) {
        log_warn("set in the environment, and no option: %s", text);
    }
}
