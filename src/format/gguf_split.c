/*
 * gguf_split: owns the names of split models: "NAME-00001-of-00003.gguf". Goes by names alone; must
 * not read files.
 */
#include "format/gguf.h"

#include "base/fs.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX_LEN 20 /* "-00001-of-00003.gguf" */

/* Five digits. */
static bool parse_number(const char *s, int *ret)
{
    int n = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        n = n * 10 + (s[i] - '0');
    }
    *ret = n;
    return true;
}

/* Length of the name before the suffix; false when the name is not that of a part. */
static bool parse_name(const char *path, size_t *ret_stem, int *ret_no, int *ret_count)
{
    size_t len = strlen(path);
    int no, count;
    if (len <= SUFFIX_LEN)
        return false;
    const char *s = path + len - SUFFIX_LEN;
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4) != 0 || strcmp(s + 15, ".gguf") != 0 ||
        !parse_number(s + 1, &no) || !parse_number(s + 10, &count))
        return false;
    if (no < 1 || no > count || count > GGUF_N_PARTS_MAX)
        return false;
    *ret_stem = len - SUFFIX_LEN;
    *ret_no = no;
    *ret_count = count;
    return true;
}

static char *part_path(const char *path, size_t stem, int no, int count)
{
    char *z = mem_alloc(stem + SUFFIX_LEN + 1);
    memcpy(z, path, stem);
    snprintf(z + stem, SUFFIX_LEN + 1, "-%05u-of-%05u.gguf", (unsigned)no % 100000,
             (unsigned)count % 100000);
    return z;
}

void gguf_split_paths_free(char **paths)
{
    for (size_t i = 0; paths != NULL && paths[i] != NULL; i++)
        free(paths[i]);
    free(paths);
}

int gguf_split_paths(const char *path, char ***ret_paths, int *ret_n, struct err *err)
{
    size_t stem = 0;
    int no = 1, count = 1;
    bool is_part = parse_name(path, &stem, &no, &count);
    if (is_part && no != 1) {
        char *first = part_path(path, stem, 1, count);
        int rc = err_set(err, ERR_INVALID,
                         "%s is part %d of %d of a split model: give its first part, %s", path, no,
                         count, first);
        free(first);
        return rc;
    }
    char **paths = mem_zero((size_t)count + 1, sizeof(*paths));
    for (int i = 0; i < count; i++) {
        paths[i] = is_part ? part_path(path, stem, i + 1, count) : str_dup(str_z(path));
        if (fs_exists(paths[i]))
            continue;
        int rc = count == 1
                     ? err_set(err, ERR_NOT_FOUND, "%s: no such file", path)
                     : err_set(err, ERR_NOT_FOUND, "part %d of %d of the model is missing: %s",
                               i + 1, count, paths[i]);
        gguf_split_paths_free(paths);
        return rc;
    }
    *ret_paths = paths;
    *ret_n = count;
    return 0;
}
