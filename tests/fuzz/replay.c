/* Gives a fuzz target every file of a folder: its corpus as an ordinary test. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz_input.h"

enum { FILE_MAX_BYTES = 1 << 20 };

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(FILE_MAX_BYTES);
    size_t n = 0;

    if (!file || !data) {
        (void)fprintf(stderr, "%s cannot be read.\n", path);
        exit(1);
    }
    n = fread(data, 1, FILE_MAX_BYTES, file);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, n);
    free(data);
}

static int replay_folder(const char *folder)
{
    DIR *entries = opendir(folder);
    int n = 0;

    for (struct dirent *entry = entries ? readdir(entries) : NULL; entry;
         entry = readdir(entries)) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        replay_file(path);
        n++;
    }
    if (entries)
        (void)closedir(entries);
    return n;
}

int main(int argc, char **argv)
{
    int n = argc == 2 ? replay_folder(argv[1]) : 0;

    (void)LLVMFuzzerTestOneInput(NULL, 0);
    (void)printf("%d inputs\n", n);
    return n > 0 ? 0 : 1; /* a corpus that is not found proves nothing */
}
