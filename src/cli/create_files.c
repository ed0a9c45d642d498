/*
 * create_files: see the header.
 */
#include "cli/create_files.h"

#include "base/fs.h"
#include "kernels/cpu.h"
#include "model/quantize_model.h"
#include "store/blob.h"
#include "worker/inspect.h"

#include <stdio.h>

#define DISK_KEEP ((int64_t)64 << 20) /* a disk is not filled to its last byte */

int create_check_template(const char *const *path, int n, const char *template_text,
                          struct err *err)
{
    struct gguf *g;
    int rc = gguf_open_paths(path, n, &g, err);
    if (rc != 0)
        return rc;
    rc = inspect_template(g, str_z(template_text), err);
    gguf_free(g);
    if (rc != 0) {
        err_wrap(err, "the template does not work");
        rc = err->code = ERR_INVALID;
    }
    return rc;
}

struct making {
    const struct quantize_plan *plan;
    const char *type;
    const volatile sig_atomic_t *stop;
    struct progress *progress;
};

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct making *m = ctx;
    char status[96];
    snprintf(status, sizeof status, "quantizing %s model to %s", quantize_plan_source(m->plan),
             m->type);
    progress_show(m->progress, status, (int64_t)done, (int64_t)total);
    return *m->stop == 0;
}

static int write_file(struct making *m, int fd, uint64_t bytes_max, struct err *err)
{
    struct pool *pool;
    struct gguf_out *out;
    int rc = pool_new(cpu_threads_default(), &pool, err);
    if (rc != 0)
        return rc;
    rc = gguf_out_open_fd(quantize_plan_writer(m->plan), fd, bytes_max, &out, err);
    if (rc == 0) {
        rc = quantize_plan_run(m->plan, pool, out, on_progress, m, err);
        progress_end(m->progress);
        gguf_out_abort(out); /* lets go of it */
    }
    pool_free(pool);
    return rc;
}

int create_quantize(const char *dir, const char *const *path, int n, const char *type,
                    const volatile sig_atomic_t *stop, struct progress *progress,
                    char ret_digest[DIGEST_TEXT_LEN + 1], struct err *err)
{
    const struct quant_mix *mix = quantize_mix_find(type);
    struct making m = {.type = type, .stop = stop, .progress = progress};
    struct quantize_plan *plan = NULL;
    struct gguf *g = NULL;
    char key[BLOB_KEY_MAX + 1];
    int fd;
    int64_t room = fs_free_bytes(dir);
    if (mix == NULL)
        return err_set(err, ERR_UNSUPPORTED, "files of the type %s are not made here", type);
    int rc = gguf_open_paths(path, n, &g, err);
    rc = rc != 0 ? rc : quantize_plan_new(g, mix, &plan, err);
    rc = rc != 0 ? rc : blob_made_begin(dir, &fd, key, err);
    if (rc == 0) {
        m.plan = plan;
        uint64_t max = room > DISK_KEEP ? (uint64_t)(room - DISK_KEEP) : 0;
        rc = write_file(&m, fd, room < 0 ? UINT64_MAX : max, err); /* below 0: not known */
        if (rc == 0)
            rc = blob_made_end(dir, fd, key, true, stop, ret_digest, err);
        else
            (void)blob_made_end(dir, fd, key, false, NULL, ret_digest, NULL);
    }
    quantize_plan_free(plan);
    gguf_free(g);
    return rc;
}
