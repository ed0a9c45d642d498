/*
 * gguf: owns an open model: the mappings of its parts, the index of its tensors. The bytes are read
 * in gguf_parse.c, values in gguf_value.c.
 */
#include "format/gguf_file.h"

#include "base/check.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct gguf *gguf_new(int n_parts)
{
    struct gguf *g = mem_zero(1, sizeof(*g));
    g->part = mem_zero((size_t)n_parts, sizeof(*g->part));
    g->n_parts = n_parts;
    return g;
}

void gguf_free(struct gguf *g)
{
    if (g == NULL)
        return;
    for (int i = 0; i < g->n_parts; i++) {
        struct gguf_part *part = &g->part[i];
        gguf_kv_list_release(&part->kvs);
        if (part->is_mapped)
            munmap((void *)(uintptr_t)part->base, part->len);
    }
    free(g->part);
    free(g->tensor);
    free(g->by_name);
    free(g);
}

/* ---- the parts of a split model ---- */

/* The value of a split key; 0 where it is absent. */
static int split_value(const struct gguf_part *part, const char *key, uint64_t *ret,
                       struct err *err)
{
    const struct gguf_kv *kv = gguf_kv_list_find(&part->kvs, str_z(key));
    *ret = 0;
    return kv != NULL ? gguf_kv_u64(kv, 0, INT32_MAX, ret, err) : 0;
}

static int check_part(const struct gguf *g, int i_part, struct err *err)
{
    const struct gguf_part *part = &g->part[i_part];
    uint64_t count, no;
    int rc = split_value(part, "split.count", &count, err);
    if (rc == 0)
        rc = split_value(part, "split.no", &no, err);
    if (rc != 0)
        return err_wrap(err, "part %d of %d", i_part + 1, g->n_parts);
    if (count <= 1 && g->n_parts == 1)
        return 0;
    if (g->n_parts == 1)
        return err_set_param(err, ERR_CORRUPT, "split.count",
                             "key 'split.count': this is part %" PRIu64 " of %" PRIu64
                             " of a split model and the others are not given; keep all parts in "
                             "one folder under names that end in -00001-of-%05" PRIu64 ".gguf and "
                             "so on, and give the first",
                             no + 1, count, count);
    if (count != (uint64_t)g->n_parts)
        return err_set_param(err, ERR_CORRUPT, "split.count",
                             "part %d of %d: key 'split.count' is %" PRIu64
                             ": the file is not a part of this model",
                             i_part + 1, g->n_parts, count);
    if (no != (uint64_t)i_part)
        return err_set_param(err, ERR_CORRUPT, "split.no",
                             "part %d of %d: key 'split.no' is %" PRIu64 ", not %d: the parts are "
                             "not in order",
                             i_part + 1, g->n_parts, no, i_part);
    return 0;
}

static int check_parts(struct gguf *g, struct err *err)
{
    for (int i = 0; i < g->n_parts; i++) {
        int rc = check_part(g, i, err);
        if (rc != 0)
            return rc;
    }
    if (g->n_parts == 1)
        return 0;
    uint64_t n;
    int rc = split_value(&g->part[0], "split.tensors.count", &n, err);
    if (rc != 0)
        return rc;
    if (n != g->n_tensors)
        return err_set_param(err, ERR_CORRUPT, "split.tensors.count",
                             "key 'split.tensors.count' is %" PRIu64
                             ", but the %d parts have %zu tensors",
                             n, g->n_parts, g->n_tensors);
    for (int i = 1; i < g->n_parts; i++)
        gguf_kv_list_release(&g->part[i].kvs); /* only the first part's are ever asked for */
    return 0;
}

/* ---- tensors by name ---- */

static int by_name(const void *a, const void *b, void *ctx)
{
    const struct gguf_tensor *t = ctx;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = str_cmp(t[x].name, t[y].name);
    return order != 0 ? order : (x > y) - (x < y);
}

static int index_tensors(struct gguf *g, struct err *err)
{
    if (g->n_tensors == 0)
        return 0;
    g->by_name = mem_try_array(g->n_tensors, sizeof(*g->by_name));
    if (g->by_name == NULL)
        return err_set(err, ERR_NOMEM, "out of memory for the index of %zu tensors", g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++)
        g->by_name[i] = (uint32_t)i;
    qsort_r(g->by_name, g->n_tensors, sizeof(*g->by_name), by_name, g->tensor);
    for (size_t i = 1; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensor[g->by_name[i]];
        if (!str_eq(g->tensor[g->by_name[i - 1]].name, t->name))
            continue;
        struct gguf_label name = gguf_label(t->name);
        return err_set_param(err, ERR_CORRUPT, name.z, "tensor '%s' appears twice", name.z);
    }
    return 0;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    struct str key = str_z(name);
    size_t low = 0, high = g->n_tensors;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct gguf_tensor *t = &g->tensor[g->by_name[mid]];
        int order = str_cmp(key, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* ---- opening ---- */

/* Parses the parts, whose bytes are in place; frees g when they are not sound. */
static int finish_open(struct gguf *g, struct gguf **ret, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < g->n_parts && rc == 0; i++)
        rc = gguf_parse_part(g, i, err);
    if (rc == 0)
        rc = check_parts(g, err);
    if (rc == 0)
        rc = index_tensors(g, err);
    if (rc != 0) {
        gguf_free(g);
        return rc;
    }
    *ret = g;
    return 0;
}

int gguf_open_parts(const struct str *bytes, int n_parts, struct gguf **ret, struct err *err)
{
    struct gguf *g = gguf_new(n_parts);
    for (int i = 0; i < n_parts; i++) {
        g->part[i].base = (const uint8_t *)bytes[i].ptr;
        g->part[i].len = bytes[i].len;
    }
    return finish_open(g, ret, err);
}

int gguf_open_memory(const void *data, size_t len, struct gguf **ret, struct err *err)
{
    return gguf_open_parts(&(struct str){data, len}, 1, ret, err);
}

static int map_part(struct gguf_part *part, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set_errno(err, errno, "cannot look at the model file");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "not a model file but a folder or a device");
    if (st.st_size == 0)
        return 0; /* the parser says that it is empty */
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_set_errno(err, errno, "cannot map the model file");
    part->base = p;
    part->len = (size_t)st.st_size;
    part->is_mapped = true;
    return 0;
}

int gguf_open_fds(const int *fd, int n_fds, struct gguf **ret, struct err *err)
{
    if (n_fds < 1 || n_fds > GGUF_N_PARTS_MAX)
        return err_set(err, ERR_INVALID, "a model has 1 to %d files, not %d", GGUF_N_PARTS_MAX,
                       n_fds);
    struct gguf *g = gguf_new(n_fds);
    for (int i = 0; i < n_fds; i++) {
        int rc = map_part(&g->part[i], fd[i], err);
        if (rc != 0) {
            if (n_fds > 1)
                err_wrap(err, "part %d of %d", i + 1, n_fds);
            gguf_free(g);
            return rc;
        }
    }
    return finish_open(g, ret, err);
}

/* Advice on the whole pages that hold [data, data + len), where it is in a mapped part. */
static void advise(const struct gguf_part *part, const uint8_t *data, size_t len, int advice)
{
    const uintptr_t page = 4096; /* or a multiple: the call refuses then, which costs nothing */
    uintptr_t at = (uintptr_t)data, base = (uintptr_t)part->base;
    if (!part->is_mapped || at < base || at - base >= part->len || len > part->len - (at - base))
        return;
    uintptr_t from = at & ~(page - 1);
    madvise((void *)from, at + len - from, advice);
}

void gguf_let_go(const struct gguf *g, const uint8_t *data, size_t len, bool wholly)
{
    for (int i = 0; i < g->n_parts; i++) {
        if (wholly)
            advise(&g->part[i], data, len, MADV_PAGEOUT);
        advise(&g->part[i], data, len, MADV_DONTNEED);
    }
}

void gguf_fetch(const struct gguf *g, const uint8_t *data, size_t len)
{
    for (int i = 0; i < g->n_parts; i++)
        advise(&g->part[i], data, len, MADV_WILLNEED);
}

void gguf_let_go_metadata(const struct gguf *g)
{
    const uint8_t *end = NULL; /* of the first part's metadata: the least data of its tensors */
    for (size_t i = 0; i < g->n_tensors; i++)
        if (g->tensor[i].i_split == 0 && (end == NULL || g->tensor[i].data < end))
            end = g->tensor[i].data;
    if (end != NULL)
        advise(&g->part[0], g->part[0].base, (size_t)(end - g->part[0].base), MADV_DONTNEED);
}

void gguf_let_go_all(const struct gguf *g)
{
    for (int i = 0; i < g->n_parts; i++)
        advise(&g->part[i], g->part[i].base, g->part[i].len, MADV_DONTNEED);
}

static int open_file(const char *path, int *ret_fd, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int code = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        return err_set(err, code, "cannot open %s: %s", path, strerror(errno));
    }
    *ret_fd = fd;
    return 0;
}

int gguf_open_paths(const char *const *path, int n_paths, struct gguf **ret, struct err *err)
{
    int n_open = 0, rc = 0;
    if (n_paths < 1 || n_paths > GGUF_N_PARTS_MAX)
        return err_set(err, ERR_INVALID, "a model has 1 to %d files, not %d", GGUF_N_PARTS_MAX,
                       n_paths);
    int *fd = mem_zero((size_t)n_paths, sizeof(*fd));
    while (n_open < n_paths && rc == 0) {
        rc = open_file(path[n_open], &fd[n_open], err);
        n_open += rc == 0;
    }
    if (rc == 0) {
        rc = gguf_open_fds(fd, n_paths, ret, err);
        if (rc != 0)
            err_wrap(err, "%s", path[0]);
    }
    while (n_open > 0)
        close(fd[--n_open]);
    free(fd);
    return rc;
}

int gguf_open(const char *path, struct gguf **ret, struct err *err)
{
    char **paths;
    int n;
    int rc = gguf_split_paths(path, &paths, &n, err);
    if (rc != 0)
        return rc;
    rc = gguf_open_paths((const char *const *)paths, n, ret, err);
    gguf_split_paths_free(paths);
    return rc;
}

uint32_t gguf_version(const struct gguf *g)
{
    return g->part[0].version;
}

uint64_t gguf_file_bytes(const struct gguf *g)
{
    uint64_t bytes = 0;
    for (int i = 0; i < g->n_parts; i++)
        bytes += g->part[i].len;
    return bytes;
}

int gguf_n_parts(const struct gguf *g)
{
    return g->n_parts;
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    CHECK(i < g->n_tensors);
    return &g->tensor[i];
}
