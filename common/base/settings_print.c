/* Settings as a file that reads back the same, and as help. */
#include <string.h>

#include "common/base/settings.h"

/* As short as reads back the same. */
static void print_double(double value, FILE *out)
{
    char text[32];
    double back;

    snprintf(text, sizeof text, "%.15g", value);
    if (!settings_number(text, &back) || back < value || back > value) {
        snprintf(text, sizeof text, "%.17g", value);
    }
    fprintf(out, "%s", text);
}

static void print_value(const struct setting *s, const void *target, FILE *out)
{
    const void *field = (const char *)target + s->where;

    switch (s->type) {
    case SETTING_STRING:
        fprintf(out, "%s", (const char *)field);
        break;
    case SETTING_BOOL:
        fprintf(out, "%s", *(const bool *)field ? "yes" : "no");
        break;
    case SETTING_ENUM:
        fprintf(out, "%s", s->words[*(const int *)field]);
        break;
    case SETTING_DOUBLE:
        print_double(*(const double *)field, out);
        break;
    case SETTING_U64:
    case SETTING_SIZE:
        fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    }
}

void settings_print(const struct setting *table, const void *target, FILE *out)
{
    for (; table->name != NULL; table++) {
        fprintf(out, "%s = ", table->name);
        print_value(table, target, out);
        fprintf(out, "\n");
    }
}

static int width(const struct setting *s)
{
    const char *meta = s->meta == NULL ? "" : s->meta;

    return (int)(strlen(s->name) + strlen(meta)) + (*meta == '\0' ? 0 : 1);
}

void settings_help(const struct setting *table, FILE *out)
{
    int widest = 0;

    for (const struct setting *s = table; s->name != NULL; s++) {
        widest = width(s) > widest ? width(s) : widest;
    }
    for (const struct setting *s = table; s->name != NULL; s++) {
        fprintf(out, "  --%s%s%s%*s  %s", s->name, s->meta == NULL ? "" : " ",
                s->meta == NULL ? "" : s->meta, widest - width(s), "",
                s->help == NULL ? "" : s->help);
        if (s->fallback != NULL && *s->fallback != '\0') {
            fprintf(out, " (%s)", s->fallback);
        }
        fprintf(out, "\n");
    }
}
