/* Plays files to a fuzz target, without libFuzzer: those that are named, else
 * the target's corpus. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/check.h"
#include "tests/fuzz/fuzz.h"

#define PREFIX "fuzz_"

static int play(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;
    struct stat st;
    size_t size;

    if (f == NULL || fstat(fileno(f), &st) != 0) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        return 1;
    }
    size = (size_t)st.st_size;
    bytes = malloc(size == 0 ? 1 : size); /* Exactly: ASan sees its end. */
    KV_CHECK(bytes != NULL && fread(bytes, 1, size, f) == size);
    fclose(f);
    (void)LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    return 0;
}

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int play_corpus(const char *name)
{
    char dir[64], path[512];
    struct dirent **files;
    int count, failed = 0;

    snprintf(dir, sizeof dir, "tests/fuzz/corpus/%s", name);
    count = scandir(dir, &files, is_file, alphasort);
    if (count <= 0) {
        fprintf(stderr, "replay: there is nothing in %s\n", dir);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]->d_name);
        failed |= play(path);
        free(files[i]);
    }
    free(files);
    printf("replay: %d inputs of %s\n", count, dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc == 1) {
        KV_CHECK(strncmp(program_invocation_short_name, PREFIX,
                         strlen(PREFIX)) == 0);
        return play_corpus(program_invocation_short_name + strlen(PREFIX));
    }
    for (int i = 1; i < argc; i++) {
        failed |= play(argv[i]);
    }
    return failed;
}
