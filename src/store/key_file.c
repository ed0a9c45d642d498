/*
 * key_file: see key_file.h. Owns the file's form and its lock (path.lock, empty, left there).
 */
#include "store/key_file.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1 << 20)
#define KEY_BYTES      24
#define TENANT_MAX     INT32_MAX

static const char *const priority_words[KEY_N_PRIORITIES] = {"interactive", "agent", "background",
                                                             "batch"};

const char *key_priority_word(int priority)
{
    return priority >= 0 && priority < KEY_N_PRIORITIES ? priority_words[priority] : "?";
}

bool key_priority_of(struct str word, int *ret_priority)
{
    for (int i = 0; i < KEY_N_PRIORITIES; i++)
        if (str_eq_z(word, priority_words[i])) {
            *ret_priority = i;
            return true;
        }
    return false;
}

char *key_file_path(void)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    if (xdg != NULL && xdg[0] == '/')
        return fs_join(xdg, "hearth/keys.json");
    char *home = fs_home();
    char *ret = home == NULL ? NULL : fs_join(home, ".config/hearth/keys.json");
    free(home);
    return ret;
}

static bool name_valid(struct str name)
{
    if (name.len == 0 || name.len > KEY_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

static struct key *find_name(const struct key_file *f, struct str name)
{
    for (int i = 0; i < f->n_key; i++)
        if (str_eq_z(name, f->key[i].name))
            return &f->key[i];
    return NULL;
}

/* ---- reading ---- */

static int read_key(const json_t *item, struct key_file *f, struct err *err)
{
    struct str name = STR(""), hash = STR(""), priority = STR("interactive");
    struct key k = {0};
    int64_t tenant = 0;
    int code = json_get_str(item, "name", &name, err);
    if (code == 0)
        code = json_get_str(item, "hash", &hash, err);
    if (code == 0)
        code = json_get_str(item, "priority", &priority, err);
    if (code == 0)
        code = json_get_i64(item, "tenant", 1, TENANT_MAX, &tenant, err);
    if (code == 0)
        code = json_get_i64(item, "requests_max", 0, INT32_MAX, &k.requests_max, err);
    if (code == 0)
        code = json_get_i64(item, "tokens_per_minute", 0, INT64_MAX, &k.tokens_per_minute, err);
    if (code == 0)
        code = json_get_i64(item, "created_ms", 0, INT64_MAX, &k.created_ms, err);
    if (code == 0)
        code = json_get_bool(item, "admin", &k.admin, err);
    if (code != 0)
        return code;
    if (!name_valid(name) || find_name(f, name) != NULL)
        return err_set(err, ERR_CORRUPT, "'%.*s' is no key's name, or there twice",
                       STR_ARG(str_sub(name, 0, 80)));
    if (!digest_valid(hash) || tenant == 0 || !key_priority_of(priority, &k.priority))
        return err_set(err, ERR_CORRUPT, "the key '%.*s' lacks its hash, tenant or priority",
                       STR_ARG(name));
    k.tenant = (uint32_t)tenant;
    for (int i = 0; i < f->n_key; i++)
        if (f->key[i].tenant == k.tenant)
            return err_set(err, ERR_CORRUPT, "the keys '%s' and '%.*s' have the same tenant",
                           f->key[i].name, STR_ARG(name));
    memcpy(k.name, name.ptr, name.len);
    memcpy(k.hash, hash.ptr, hash.len);
    if (k.tenant > f->last_tenant)
        f->last_tenant = k.tenant;
    f->key[f->n_key++] = k;
    return 0;
}

static int read_all(const json_t *top, struct key_file *f, struct err *err)
{
    const json_t *keys = json_object_get(top, "keys");
    int64_t last = 0;
    int code = json_get_i64(top, "last_tenant", 0, TENANT_MAX, &last, err);
    if (code != 0)
        return code;
    if (!json_is_array(keys) || json_array_size(keys) > KEYS_MAX)
        return err_set(err, ERR_CORRUPT, "it has no list 'keys' of at most %d", KEYS_MAX);
    f->last_tenant = (uint32_t)last;
    f->key = mem_zero(json_array_size(keys) + 1, sizeof *f->key);
    for (size_t i = 0; code == 0 && i < json_array_size(keys); i++)
        code = read_key(json_array_get(keys, i), f, err);
    return code;
}

int key_file_read(const char *path, struct key_file *ret, struct err *err)
{
    struct key_file f = {0};
    struct stat st;
    struct buf text;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? err_set(err, ERR_NOT_FOUND, "there is no file of keys at %s", path)
                   : err_set_errno(err, errno, "cannot look at the file of keys %s", path);
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return err_set(err, ERR_DENIED,
                       "others may write to the file of keys %s: 'chmod 600' it, after a look at "
                       "who is in it",
                       path);
    buf_init(&text, FILE_BYTES_MAX);
    int code = fs_read(path, &text, err);
    json_t *top = code == 0 ? json_parse(buf_str(&text), 4, err) : NULL;
    if (code == 0)
        code = top == NULL ? ERR_CORRUPT : read_all(top, &f, err);
    json_decref(top);
    buf_release(&text);
    if (code != 0) {
        key_file_release(&f);
        err_wrap(err, "the file of keys %s cannot be used", path);
        return code;
    }
    *ret = f;
    return 0;
}

void key_file_release(struct key_file *f)
{
    free(f->key);
    *f = (struct key_file){0};
}

const struct key *key_file_find(const struct key_file *f, struct str text)
{
    char hash[DIGEST_TEXT_LEN + 1];
    const struct key *ret = NULL;
    digest_bytes(text.ptr == NULL ? "" : text.ptr, text.len, hash);
    for (int i = 0; i < f->n_key; i++) {
        unsigned char diff = 0;
        for (size_t j = 0; j < DIGEST_TEXT_LEN; j++)
            diff |= (unsigned char)(hash[j] ^ f->key[i].hash[j]);
        ret = diff == 0 ? &f->key[i] : ret;
    }
    return ret;
}

/* ---- writing ---- */

static int write_all(const char *path, const struct key_file *f, struct err *err)
{
    struct buf out;
    buf_init(&out, FILE_BYTES_MAX);
    buf_printf(&out, "{\"last_tenant\": %u, \"keys\": [", f->last_tenant);
    for (int i = 0; i < f->n_key; i++) {
        const struct key *k = &f->key[i];
        buf_printf(&out,
                   "%s\n  {\"name\": \"%s\", \"hash\": \"%s\", \"tenant\": %u, \"priority\": "
                   "\"%s\",\n   \"requests_max\": %lld, \"tokens_per_minute\": %lld, "
                   "\"created_ms\": %lld, \"admin\": %s}",
                   i == 0 ? "" : ",", k->name, k->hash, k->tenant, key_priority_word(k->priority),
                   (long long)k->requests_max, (long long)k->tokens_per_minute,
                   (long long)k->created_ms, k->admin ? "true" : "false");
    }
    buf_add_z(&out, "\n]}\n");
    int code = out.overflow ? err_set(err, ERR_LIMIT, "the file of keys grew too large")
                            : fs_write_atomic(path, buf_str(&out), 0600, err);
    buf_release(&out);
    return code;
}

/* The descriptor that holds the lock; closing it lets go. */
static int lock(const char *path, int *ret_fd, struct err *err)
{
    char *name = NULL;
    const char *slash = strrchr(path, '/');
    int code = 0;
    if (slash != NULL && slash != path) {
        char *dir = str_dup(str_sub(str_z(path), 0, (size_t)(slash - path)));
        code = fs_mkdirs(dir, 0700, err);
        free(dir);
    }
    if (code == 0 && asprintf(&name, "%s.lock", path) < 0)
        code = err_set(err, ERR_NOMEM, "out of memory");
    if (code != 0)
        return code;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        code = err_set_errno(err, errno, "cannot lock %s", name);
        if (fd >= 0)
            close(fd);
    }
    *ret_fd = fd;
    free(name);
    return code;
}

/* "hearth-" and the digits; the bytes come from the operating system. */
static void make_text(char ret[KEY_TEXT_LEN + 1])
{
    unsigned char raw[KEY_BYTES];
    rng_system(raw, sizeof raw);
    int at = snprintf(ret, KEY_TEXT_LEN + 1, "hearth-");
    for (size_t i = 0; i < sizeof raw; i++)
        at += snprintf(ret + at, (size_t)(KEY_TEXT_LEN + 1 - at), "%02x", raw[i]);
}

static int add(struct key_file *f, const struct key *wish, const char *text, struct err *err)
{
    if (find_name(f, str_z(wish->name)) != NULL)
        return err_set(err, ERR_EXISTS,
                       "there is a key '%s' already; revoke it first, or take another name",
                       wish->name);
    if (f->n_key >= KEYS_MAX || f->last_tenant >= TENANT_MAX)
        return err_set(err, ERR_LIMIT, "there are %d keys, the most there can be", f->n_key);
    struct key *grown = mem_zero((size_t)f->n_key + 1, sizeof *grown);
    if (f->n_key > 0)
        memcpy(grown, f->key, (size_t)f->n_key * sizeof *grown);
    free(f->key);
    f->key = grown;
    struct key *k = &f->key[f->n_key++];
    *k = *wish;
    k->tenant = ++f->last_tenant;
    k->created_ms = clock_wall_ms();
    digest_bytes(text, strlen(text), k->hash);
    return 0;
}

int key_file_create(const char *path, const struct key *wish, char ret_text[KEY_TEXT_LEN + 1],
                    struct err *err)
{
    struct key_file f = {0};
    char text[KEY_TEXT_LEN + 1];
    int fd;
    if (!name_valid(str_z(wish->name)))
        return err_set(err, ERR_INVALID,
                       "'%s' is no name for a key: up to %d letters, digits, '.', '_' and '-', the "
                       "first a letter or digit",
                       wish->name, KEY_NAME_MAX);
    int code = lock(path, &fd, err);
    if (code != 0)
        return code;
    make_text(text);
    code = key_file_read(path, &f, err);
    if (code == ERR_NOT_FOUND)
        code = 0;
    if (code == 0)
        code = add(&f, wish, text, err);
    if (code == 0)
        code = write_all(path, &f, err);
    if (code == 0)
        memcpy(ret_text, text, sizeof text);
    key_file_release(&f);
    close(fd);
    return code;
}

int key_file_revoke(const char *path, const char *name, struct err *err)
{
    struct key_file f = {0};
    int fd;
    if (!fs_exists(path))
        return err_set(err, ERR_NOT_FOUND, "there is no key '%.80s': there is no file %s", name,
                       path);
    int code = lock(path, &fd, err);
    if (code != 0)
        return code;
    code = key_file_read(path, &f, err);
    struct key *k = code == 0 ? find_name(&f, str_z(name)) : NULL;
    if (code == 0 && k == NULL)
        code = err_set(err, ERR_NOT_FOUND, "there is no key '%.80s'; 'hearth key list' shows them",
                       name);
    if (code == 0) {
        size_t after = (size_t)(f.key + f.n_key - (k + 1));
        memmove(k, k + 1, after * sizeof *k);
        f.n_key--;
        code = write_all(path, &f, err);
    }
    key_file_release(&f);
    close(fd);
    return code;
}
