/* Text of operators and users: a file of settings, flags, "name=value,...",
 * an optimizer's parameters. The first byte says which. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/optim/optim.h"
#include "server/config_options.h"
#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 16
#define TEXT_MAX 4096

/* --- A file, by way of memory -------------------------------------------- */

static enum kv_status read_file(const char *text, size_t size, struct config *c)
{
    static int fd = -1;
    static char path[32];
    struct settings_error error = {""};
    enum kv_status status;

    if (fd < 0) {
        fd = memfd_create("settings", MFD_CLOEXEC);
        KV_CHECK(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    KV_CHECK(ftruncate(fd, 0) == 0);
    KV_CHECK(pwrite(fd, text, size, 0) == (ssize_t)size);
    memset(c, 0, sizeof *c);
    settings_defaults(config_options, c);
    status = settings_file(config_options, c, path, &error);
    KV_CHECK((status != KV_OK) == (error.text[0] != '\0'));
    return status;
}

static char *print(const struct config *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    KV_CHECK(out != NULL);
    config_print(c, out);
    fclose(out);
    return text;
}

/* No byte of the file was passed over, and what is in force reads back the same
 * when it is printed. */
static void try_file(const char *text, size_t size)
{
    struct config *c = malloc(sizeof *c);
    char *printed, *again;

    KV_CHECK(c != NULL);
    if (read_file(text, size, c) == KV_OK) {
        KV_CHECK(memchr(text, '\0', size) == NULL);
        printed = print(c);
        KV_CHECK(read_file(printed, strlen(printed), c) == KV_OK);
        again = print(c);
        KV_CHECK(strcmp(printed, again) == 0);
        free(printed);
        free(again);
    }
    free(c);
}

/* --- Flags, one a line --------------------------------------------------- */

static void try_flags(char *text)
{
    char *argv[ARGS_MAX + 1] = {"kvstored"}, *save = NULL;
    struct config *c = calloc(1, sizeof *c);
    struct settings_error error = {""};
    enum kv_status status;
    int argc = 1, used = 0;

    KV_CHECK(c != NULL);
    for (char *word = strtok_r(text, "\n", &save);
         word != NULL && argc < ARGS_MAX; word = strtok_r(NULL, "\n", &save)) {
        argv[argc++] = word;
    }
    settings_defaults(config_options, c);
    (void)settings_peek(argc, argv, "config");
    status = settings_flags(config_options, c, argc, argv, &used, &error);
    KV_CHECK((status != KV_OK) == (error.text[0] != '\0'));
    KV_CHECK(status != KV_OK || (used >= 1 && used <= argc));
    KV_CHECK(memchr(c->listen, '\0', sizeof c->listen) != NULL);
    KV_CHECK(c->servers >= 1 && c->servers <= KV_SERVERS_MAX);
    free(c);
}

/* --- name=value,... ------------------------------------------------------ */

static void try_pairs(const char *text)
{
    static struct settings_pairs pairs;
    struct settings_error error = {""};
    char again[TEXT_MAX + 1] = "";
    size_t used = 0;

    if (settings_pairs(text, &pairs, &error) != KV_OK) {
        KV_CHECK(error.text[0] != '\0');
        return;
    }
    KV_CHECK(pairs.count <= SETTINGS_PAIRS_MAX);
    for (size_t i = 0; i < pairs.count; i++) {
        used += (size_t)snprintf(again + used, sizeof again - used, "%s%s=%s",
                                 i == 0 ? "" : ",", pairs.pair[i].name,
                                 pairs.pair[i].value);
    }
    KV_CHECK(strcmp(again, text) == 0);
}

/* --- An optimizer: its name, a newline, its parameters ------------------- */

static void try_optim(char *text)
{
    char *params = strchr(text, '\n'), error[KV_OPTIM_ERROR_MAX] = "";
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_spec spec, changed;

    if (params != NULL) {
        *params++ = '\0';
    }
    if (kv_optim_parse(text, params == NULL ? "" : params, &spec, error,
                       sizeof error) != KV_OK) {
        KV_CHECK(error[0] != '\0' && memchr(error, '\0', sizeof error));
        return;
    }
    KV_CHECK(spec.optim->slots(spec.params) <= KV_OPTIM_SLOTS_MAX);
    kv_optim_prepare(&spec, KV_F32, NULL, 1, step);
    for (int i = 0; spec.optim->params[i].name != NULL; i++) {
        const struct kv_optim_param *p = &spec.optim->params[i];

        KV_CHECK(spec.params[i] >= p->min && spec.params[i] <= p->max);
        changed = spec; /* What parse took, a change takes. */
        KV_CHECK(kv_optim_set(&changed, p->name, spec.params[i], error,
                              sizeof error) == KV_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX + 1];

    if (size < 1 || size > TEXT_MAX) {
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0]) {
    case 'c':
        try_file(text, size - 1);
        break;
    case 'f':
        try_flags(text);
        break;
    case 'p':
        try_pairs(text);
        break;
    case 'o':
        try_optim(text);
        break;
    default:
        break;
    }
    return 0;
}
