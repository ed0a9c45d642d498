/*
 * wheel: see wheel.h. Knows zip files through libzip; no pip, no network.
 */
#include "store/wheel.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define ENTRIES_MAX     100000
#define MODEL_FILES_MAX 1024
#define CHUNK_BYTES     (1 << 20)

void wheel_model_release(struct wheel_model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->entry[i].wheel);
        free(m->entry[i].name);
        free(m->entry[i].file);
    }
    free(m->entry);
    *m = (struct wheel_model){0};
}

static zip_t *open_zip(const char *path, struct err *err)
{
    int code = 0;
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (z == NULL) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        err_set(err, ERR_CORRUPT, "%s is no readable package: %s", path, zip_error_strerror(&why));
        zip_error_fini(&why);
        return NULL;
    }
    if (zip_get_num_entries(z, 0) > ENTRIES_MAX) {
        zip_discard(z);
        err_set(err, ERR_LIMIT, "%s has more than %d entries", path, ENTRIES_MAX);
        return NULL;
    }
    return z;
}

static struct str file_part(const char *name)
{
    struct str s = str_z(name);
    return str_from(s, (size_t)(str_rchr(s, '/') + 1));
}

/* "x.gguf" or, with *ret_part set, "x.gguf.part07". */
static bool is_model(struct str file, bool *ret_part)
{
    ptrdiff_t at = str_find(file, STR(".gguf"));
    if (at < 1)
        return false;
    struct str tail = str_from(file, (size_t)at + 5);
    *ret_part = str_starts(tail, STR(".part")) && tail.len > 5 && tail.len <= 9;
    for (size_t i = 5; *ret_part && i < tail.len; i++)
        *ret_part = tail.ptr[i] >= '0' && tail.ptr[i] <= '9';
    return *ret_part || tail.len == 0;
}

static int add_entry(struct wheel_model *m, const char *path, const zip_stat_t *st, bool part,
                     struct err *err)
{
    if ((st->valid & ZIP_STAT_SIZE) == 0 || st->size > (zip_uint64_t)1 << 46)
        return err_set(err, ERR_CORRUPT, "%s: the size of %.200s is not credible", path, st->name);
    if (m->n > 0 && m->parts != part)
        return err_set(err, ERR_INVALID, "%s has both a whole model and a cut one", path);
    if (!mem_grow((void **)&m->entry, &m->cap, m->n + 1, MODEL_FILES_MAX, sizeof(*m->entry)))
        return err_set(err, ERR_LIMIT, "%s: too many model files", path);
    m->parts = part;
    m->bytes += (int64_t)st->size;
    m->entry[m->n++] = (struct wheel_entry){.wheel = str_dup(str_z(path)),
                                            .name = str_dup(str_z(st->name)),
                                            .file = str_dup(file_part(st->name)),
                                            .bytes = (int64_t)st->size};
    return 0;
}

int wheel_model_add(struct wheel_model *m, const char *path, struct err *err)
{
    zip_t *z = open_zip(path, err);
    if (z == NULL)
        return err != NULL ? err->code : ERR_CORRUPT;
    int rc = 0;
    zip_int64_t n = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; rc == 0 && i < n; i++) {
        zip_stat_t st;
        bool part;
        if (zip_stat_index(z, (zip_uint64_t)i, 0, &st) == 0 && (st.valid & ZIP_STAT_NAME) != 0 &&
            is_model(file_part(st.name), &part))
            rc = add_entry(m, path, &st, part, err);
    }
    zip_discard(z);
    return rc;
}

static int by_file(const void *a, const void *b)
{
    const struct wheel_entry *x = a, *y = b;
    return strcmp(x->file, y->file);
}

/* How long the name is without what differs between parts: ".gguf.part00", "-00001-of-00003.gguf";
 * 0 when it is no part. */
static size_t stem_len(const char *file, bool parts)
{
    if (parts)
        return (size_t)(strstr(file, ".gguf") - file);
    size_t len = strlen(file);
    bool split = len > 20 && file[len - 20] == '-' && strncmp(file + len - 14, "-of-", 4) == 0;
    return split ? len - 20 : 0;
}

int wheel_model_order(struct wheel_model *m, const char *package, struct err *err)
{
    if (m->n == 0)
        return err_set(err, ERR_NOT_FOUND, "the Python package %s carries no .gguf file", package);
    qsort(m->entry, m->n, sizeof(*m->entry), by_file);
    const char *first = m->entry[0].file;
    size_t stem = stem_len(first, m->parts);
    for (size_t i = 1; i < m->n; i++) {
        const char *file = m->entry[i].file;
        if (stem == 0 || stem_len(file, m->parts) != stem || strncmp(first, file, stem) != 0 ||
            strcmp(m->entry[i - 1].file, file) == 0)
            return err_set(err, ERR_INVALID,
                           "the Python package %s carries several models (%s and %s)", package,
                           first, file);
    }
    return 0;
}

static int unpack_entry(const struct wheel_entry *e, struct blob_writer *w,
                        void (*progress)(void *, int64_t), void *arg, struct err *err)
{
    zip_t *z = open_zip(e->wheel, err);
    if (z == NULL)
        return err != NULL ? err->code : ERR_CORRUPT;
    zip_file_t *f = zip_fopen(z, e->name, 0);
    char *chunk = mem_alloc(CHUNK_BYTES);
    int64_t left = e->bytes;
    int rc = f == NULL ? ERR_CORRUPT : 0;
    while (rc == 0 && f != NULL) {
        zip_int64_t n = zip_fread(f, chunk, CHUNK_BYTES);
        if (n < 0 || n > left)
            rc = ERR_CORRUPT;
        if (n <= 0)
            break;
        left -= n;
        rc = blob_writer_add(w, chunk, (size_t)n, err);
        if (rc != 0)
            break;
        progress(arg, w->bytes);
    }
    if (rc == 0 && left != 0)
        rc = ERR_CORRUPT;
    if (f != NULL && zip_fclose(f) != 0 && rc == 0)
        rc = ERR_CORRUPT; /* the checksum inside the zip */
    if (rc == ERR_CORRUPT)
        err_set(err, rc, "%s in %s is damaged; run it again", e->name, e->wheel);
    free(chunk);
    zip_discard(z);
    return rc;
}

int wheel_model_unpack(const struct wheel_model *m, size_t from, size_t to, struct blob_writer *w,
                       void (*progress)(void *, int64_t), void *arg, struct err *err)
{
    for (size_t i = from; i < to && i < m->n; i++) {
        int rc = unpack_entry(&m->entry[i], w, progress, arg, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int wheel_text(const char *path, const char *ending, struct buf *out, bool *ret_there,
               struct err *err)
{
    zip_t *z = open_zip(path, err);
    if (z == NULL)
        return err != NULL ? err->code : ERR_CORRUPT;
    int rc = 0;
    *ret_there = false;
    zip_int64_t n = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; i < n && !*ret_there; i++) {
        const char *name = zip_get_name(z, (zip_uint64_t)i, 0);
        if (name == NULL || !str_ends(str_z(name), str_z(ending)))
            continue;
        *ret_there = true;
        zip_file_t *f = zip_fopen_index(z, (zip_uint64_t)i, 0);
        char chunk[4096];
        zip_int64_t got = f == NULL ? -1 : 0;
        while (f != NULL && (got = zip_fread(f, chunk, sizeof(chunk))) > 0)
            if (!buf_add(out, chunk, (size_t)got))
                break;
        if (got != 0)
            rc = err_set(err, ERR_CORRUPT, "%s in %s is damaged or too large", name, path);
        if (f != NULL)
            zip_fclose(f);
    }
    zip_discard(z);
    return rc;
}
