/*
 * making: see the header.
 */
#include "gateway/making.h"

#include "base/fs.h"
#include "gateway/errand_process.h"
#include "store/blob.h"

#include <stdio.h>
#include <string.h>

#define INSPECT_MS 30000                 /* a file that takes longer to parse is no model */
#define SILENCE_MS (10 * 60 * 1000)      /* it speaks several times a second */
#define DISK_KEEP  ((int64_t)64 << 20)   /* a disk is not filled to its last byte */
#define NO_DIGEST  "0000000000000000000" /* Ollama's clients draw a bar where there is any */

static struct process_opts opts_of(struct server *s, char *const *path, int n_path)
{
    return (struct process_opts){
        .exe = s->opts.exe,
        .exe_self = s->opts.exe_self,
        .path = path,
        .n_path = n_path,
        .pack_in = -1,
        .pack_out = -1,
        .prefix_fd = -1,
    };
}

/* ---- another type ---- */

static void on_quantizing(void *ctx, const json_t *frame)
{
    struct errand *e = ctx;
    char status[96];
    struct str from = json_str(json_object_get(frame, "from"));
    struct str to = json_str(json_object_get(frame, "to"));
    if (!str_eq_z(json_str(json_object_get(frame, "t")), "quantizing"))
        return;
    snprintf(status, sizeof status, "quantizing %.*s model to %.*s", STR_ARG(str_sub(from, 0, 16)),
             STR_ARG(str_sub(to, 0, 16)));
    errand_tell(e, status, NO_DIGEST, json_integer_value(json_object_get(frame, "total")),
                json_integer_value(json_object_get(frame, "done")));
}

int making_quantize(struct server *s, struct errand *e, char *const *path, int n_path,
                    const char *type, char ret_digest[DIGEST_TEXT_LEN + 1], struct err *err)
{
    const char *dir = store_blobs_dir(s->models.store);
    char key[BLOB_KEY_MAX + 1], status[DIGEST_TEXT_LEN + 32];
    int fd;
    int64_t room = fs_free_bytes(dir);
    int code = blob_made_begin(dir, &fd, key, err);
    if (code != 0)
        return code;
    struct errand_process p = {.opts = opts_of(s, path, n_path),
                               .last = "quantized",
                               .silence_ms = SILENCE_MS,
                               .stop = errand_stop(e),
                               .on_frame = on_quantizing,
                               .ctx = e};
    p.opts.quantize = type;
    p.opts.pack_out = fd;
    p.opts.pack_bytes_max = room < 0 ? INT64_MAX : room > DISK_KEEP ? room - DISK_KEEP : 0;
    code = errand_process_run(&p, err);
    if (code == ERR_UNSUPPORTED || code == ERR_CORRUPT) {
        code = err->code = ERR_INVALID; /* of these files; not a defect of the server's */
        snprintf(err->param, sizeof err->param, "quantize");
    }
    if (code != 0) {
        (void)blob_made_end(dir, fd, key, false, NULL, ret_digest, NULL);
        return code;
    }
    code = blob_made_end(dir, fd, key, true, errand_stop(e), ret_digest, err);
    snprintf(status, sizeof status, "creating new layer %s", code == 0 ? ret_digest : "");
    if (code == 0)
        errand_tell(e, status, NULL, 0, 0);
    return code;
}

/* ---- a template ---- */

static void on_inspected(void *ctx, const json_t *frame)
{
    (void)ctx, (void)frame;
}

int making_check_template(struct server *s, struct errand *e, char *const *path, int n_path,
                          const char *text, struct err *err)
{
    struct errand_process p = {.opts = opts_of(s, path, n_path),
                               .last = "inspected",
                               .silence_ms = INSPECT_MS,
                               .stop = errand_stop(e),
                               .on_frame = on_inspected};
    p.opts.inspect = 1;
    p.opts.template_text = text;
    int code = errand_process_run(&p, err);
    if (code != ERR_SYNTAX && code != ERR_INVALID && code != ERR_LIMIT)
        return code;
    err_wrap(err, "'template' does not work");
    snprintf(err->param, sizeof err->param, "template");
    return err->code = ERR_INVALID;
}
