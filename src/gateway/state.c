/*
 * state: see state.h. Owns the folder's lock, the thread and its two lists: what is to be done and
 * what was done. The lists are the only things that both threads touch.
 */
#include "gateway/state.h"

#include "base/check.h"
#include "base/fs.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_AT 256 /* clients are told to come again */

struct post {
    struct post *next;
    void (*work)(struct state *s, void *ctx);
    void (*done)(void *ctx);
    void *ctx;
};

struct list {
    struct post *first, **end;
    int n;
};

struct state {
    char *dir, *files, *tmp;
    int lock_fd;
    sqlite3 *db;
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t cond;
    uv_async_t *async;
    struct list todo, done;
    bool stopping;
};

static void list_init(struct list *l)
{
    *l = (struct list){.end = &l->first};
}

static void list_add(struct list *l, struct post *p)
{
    p->next = NULL;
    *l->end = p;
    l->end = &p->next;
    l->n++;
}

static struct post *list_take(struct list *l)
{
    struct post *p = l->first;
    if (p == NULL)
        return NULL;
    l->first = p->next;
    if (l->first == NULL)
        l->end = &l->first;
    l->n--;
    return p;
}

/* ---- the folder ---- */

char *state_dir_of(const char *given, struct err *err)
{
    const char *xdg = getenv("XDG_STATE_HOME");
    if (given != NULL)
        return str_dup(str_z(given));
    if (xdg != NULL && xdg[0] == '/') /* a relative one is to be ignored, the specification says */
        return fs_join(xdg, "hearth");
    char *home = fs_home();
    char *ret = home == NULL ? NULL : fs_join(home, ".local/state/hearth");
    free(home);
    if (ret == NULL)
        err_set(err, ERR_NOT_FOUND,
                "no home folder for the server's state; set --state-dir or HEARTH_STATE_DIR");
    return ret;
}

static int take_lock(struct state *s, struct err *err)
{
    char *path = fs_join(s->dir, "lock"), pid[32] = "";
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    free(path);
    if (s->lock_fd < 0)
        return err_set_errno(err, errno, "the state folder %.300s cannot be written", s->dir);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = read(s->lock_fd, pid, sizeof pid - 1);
        pid[n > 0 ? n : 0] = '\0';
        return err_set(err, ERR_BUSY,
                       "the state folder %.300s is used by another server%s%s; stop it, or give "
                       "this one its own with --state-dir",
                       s->dir, pid[0] ? ", process " : "", pid);
    }
    int n = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        return err_set_errno(err, errno, "the state folder %.300s cannot be written", s->dir);
    return 0;
}

/*
 * Is it a name that files get (inquiry_new_id)? Only such are removed: the folder may be one where
 * others keep something in files/ or tmp/, too.
 */
static bool is_file_id(const char *name)
{
    return strncmp(name, "file-", 5) == 0 && strlen(name) == 5 + 24 &&
           strspn(name + 5, "0123456789abcdef") == 24;
}

/* What a killed server was in the middle of making. */
static void empty_tmp(const struct state *s)
{
    DIR *d = opendir(s->tmp);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (is_file_id(e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

/* Files without a row: their server was killed between giving the name and writing the row, or
 * between deleting the row and the file. */
static int remove_orphans(const struct state *s, struct err *err)
{
    DIR *d = opendir(s->files);
    int code = 0;
    if (d == NULL)
        return 0;
    for (struct dirent *e; code == 0 && (e = readdir(d)) != NULL;) {
        int64_t n = 0;
        if (!is_file_id(e->d_name))
            continue;
        code = db_number(s->db, err, &n, "SELECT count(*) FROM files WHERE id = ?", "s", e->d_name);
        if (code == 0 && n == 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
    return code;
}

static int open_dir(struct state *s, struct err *err)
{
    int code = fs_mkdirs(s->dir, 0700, err);
    if (code == 0)
        code = take_lock(s, err);
    if (code == 0)
        code = fs_mkdirs(s->files, 0700, err);
    if (code == 0)
        code = fs_mkdirs(s->tmp, 0700, err);
    if (code == 0)
        code = db_open(s->dir, &s->db, err);
    if (code == 0)
        empty_tmp(s);
    return code == 0 ? remove_orphans(s, err) : code;
}

/* ---- the thread ---- */

static void work(void *arg)
{
    struct state *s = arg;
    uv_mutex_lock(&s->mutex);
    for (;;) {
        struct post *p = list_take(&s->todo);
        if (p == NULL && s->stopping)
            break;
        if (p == NULL) {
            uv_cond_wait(&s->cond, &s->mutex);
            continue;
        }
        uv_mutex_unlock(&s->mutex);
        p->work(s, p->ctx);
        uv_mutex_lock(&s->mutex);
        list_add(&s->done, p);
        uv_async_send(s->async);
    }
    uv_mutex_unlock(&s->mutex);
}

static bool finish_one(struct state *s)
{
    uv_mutex_lock(&s->mutex);
    struct post *p = list_take(&s->done);
    uv_mutex_unlock(&s->mutex);
    if (p == NULL)
        return false;
    if (p->done != NULL)
        p->done(p->ctx);
    free(p);
    return true;
}

static void on_async(uv_async_t *a)
{
    while (finish_one(a->data))
        ;
}

void state_post(struct state *s, void (*fn)(struct state *s, void *ctx), void (*done)(void *ctx),
                void *ctx)
{
    struct post *p = mem_zero(1, sizeof *p);
    *p = (struct post){.work = fn, .done = done, .ctx = ctx};
    uv_mutex_lock(&s->mutex);
    list_add(&s->todo, p);
    uv_cond_signal(&s->cond);
    uv_mutex_unlock(&s->mutex);
}

bool state_is_busy(struct state *s)
{
    uv_mutex_lock(&s->mutex);
    bool ret = s->todo.n >= BUSY_AT;
    uv_mutex_unlock(&s->mutex);
    return ret;
}

/* ---- life ---- */

static void state_free(struct state *s)
{
    db_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->dir);
    free(s->files);
    free(s->tmp);
    free(s);
}

static void on_async_closed(uv_handle_t *handle)
{
    free(handle);
}

int state_open(const char *given_dir, uv_loop_t *loop, struct state **ret, struct err *err)
{
    char *dir = state_dir_of(given_dir, err);
    if (dir == NULL)
        return ERR_NOT_FOUND;
    struct state *s = mem_zero(1, sizeof *s);
    s->lock_fd = -1;
    s->dir = dir;
    s->files = fs_join(dir, "files");
    s->tmp = fs_join(dir, "tmp");
    int code = open_dir(s, err);
    if (code != 0) {
        state_free(s);
        return code;
    }
    list_init(&s->todo);
    list_init(&s->done);
    s->async = mem_zero(1, sizeof *s->async);
    CHECK(uv_async_init(loop, s->async, on_async) == 0);
    uv_unref((uv_handle_t *)s->async);
    s->async->data = s;
    CHECK(uv_mutex_init(&s->mutex) == 0 && uv_cond_init(&s->cond) == 0);
    CHECK(uv_thread_create(&s->thread, work, s) == 0);
    *ret = s;
    return 0;
}

/* `done` may post more: the thread is stopped when nothing is left on either list. */
void state_close(struct state *s)
{
    if (s == NULL)
        return;
    for (bool idle = false; !idle;) {
        uv_mutex_lock(&s->mutex);
        s->stopping = true;
        uv_cond_signal(&s->cond);
        uv_mutex_unlock(&s->mutex);
        uv_thread_join(&s->thread);
        while (finish_one(s))
            ;
        idle = s->todo.first == NULL;
        s->stopping = false;
        if (!idle)
            CHECK(uv_thread_create(&s->thread, work, s) == 0);
    }
    uv_close((uv_handle_t *)s->async, on_async_closed);
    uv_cond_destroy(&s->cond);
    uv_mutex_destroy(&s->mutex);
    state_free(s);
}

const char *state_files_dir(const struct state *s)
{
    return s->files;
}

const char *state_tmp_dir(const struct state *s)
{
    return s->tmp;
}

sqlite3 *state_db(const struct state *s)
{
    return s->db;
}
