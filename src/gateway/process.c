/*
 * process: see process.h. Owns the child, its socket and the frames in flight.
 *
 * The child leads its own session, so that Ctrl-C at the terminal reaches the gateway alone and it
 * can finish what is running. Should the gateway be killed, the socket closes and the worker ends.
 */
#include "gateway/process.h"

#include "base/log.h"
#include "base/mem.h"
#include "ipc/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS_MAX        1024
#define READ_BYTES       (256u << 10)
#define QUEUED_BYTES_MAX (128u << 20) /* frames the worker has not read yet */
#define ARGS_MAX         48
#define LOG_TIME_LEN     24 /* of the time that begins a line of the log */

struct process {
    uv_process_t child;
    uv_pipe_t pipe;
    uv_pipe_t log; /* the child's standard error */
    uv_timer_t grace;
    struct process_opts o;
    struct frame_reader reader;
    char *read_bytes;
    char log_bytes[4096];
    char log_text[2048]; /* [n_log_text] of a line that is not whole */
    size_t n_log_text;
    char how[128];
    bool exited, closed; /* both: over */
    bool deaf;           /* frames are not wanted any more */
    int n_handles;       /* not yet closed by the loop */
};

struct sending {
    uv_write_t req;
    struct buf bytes;
};

/* ---- the child's log ---- */

/*
 * The child writes its log to a pipe and not to our standard error: that may be a file, which a
 * process under RLIMIT_FSIZE 0 cannot write to, or a terminal, whose control sequences are none of
 * a worker's business. What is not a line of its log, as the last words of a library, comes out as
 * one of ours that says so.
 */
static void on_log_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *ret)
{
    (void)hint;
    struct process *p = handle->data;
    *ret = uv_buf_init(p->log_bytes, sizeof p->log_bytes);
}

/* As log.h writes lines in a worker; so none passes for one of ours. */
static bool is_line_of_worker(const char *text)
{
    static const char *const begin[] = {
        "error worker: ", "warn worker: ", "info worker: ", "debug worker: "};
    const char *after = strchr(text, ' ');
    for (size_t i = 0; after != NULL && i < ARRAY_LEN(begin); i++)
        if (after - text == LOG_TIME_LEN && strncmp(after + 1, begin[i], strlen(begin[i])) == 0)
            return true;
    return false;
}

static void end_log_line(struct process *p)
{
    char *text = p->log_text;
    size_t n = p->n_log_text;
    p->n_log_text = 0;
    log_make_printable(text, n);
    text[n] = '\0';
    if (!is_line_of_worker(text)) {
        log_error("a worker wrote: %s", text);
        return;
    }
    text[n] = '\n';
    ssize_t written = write(STDERR_FILENO, text, n + 1);
    (void)written; /* nowhere to report that logging failed */
}

static void on_log_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct process *p = stream->data;
    if (n < 0) {
        uv_read_stop(stream);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (bytes->base[i] != '\n')
            p->log_text[p->n_log_text++] = bytes->base[i];
        if (bytes->base[i] == '\n' || p->n_log_text == sizeof p->log_text - 1)
            end_log_line(p);
    }
}

/* What the child wrote last, when it is gone. */
static void drain_log(struct process *p)
{
    uv_os_fd_t fd;
    ssize_t n;
    if (uv_fileno((uv_handle_t *)&p->log, &fd) != 0)
        return;
    while ((n = read(fd, p->log_bytes, sizeof p->log_bytes)) > 0) {
        const uv_buf_t bytes = uv_buf_init(p->log_bytes, sizeof p->log_bytes);
        on_log_read((uv_stream_t *)&p->log, n, &bytes);
    }
    if (p->n_log_text > 0)
        end_log_line(p);
}

/* ---- the end ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct process *p = handle->data;
    if (--p->n_handles > 0)
        return;
    frame_reader_release(&p->reader);
    free(p->read_bytes);
    free(p);
}

static void finish_if_over(struct process *p)
{
    if (!p->exited || !p->closed)
        return;
    drain_log(p);
    p->o.on_over(p->o.ctx_ptr, p->how);
    uv_timer_stop(&p->grace);
    uv_close((uv_handle_t *)&p->child, on_handle_closed);
    uv_close((uv_handle_t *)&p->log, on_handle_closed);
    uv_close((uv_handle_t *)&p->grace, on_handle_closed);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct process *p = handle->data;
    p->closed = true;
    finish_if_over(p);
    on_handle_closed(handle);
}

static void close_pipe(struct process *p)
{
    if (!uv_is_closing((uv_handle_t *)&p->pipe))
        uv_close((uv_handle_t *)&p->pipe, on_pipe_closed);
}

static void on_child_exit(uv_process_t *child, int64_t status, int signal_number)
{
    struct process *p = child->data;
    p->exited = true;
    if (p->how[0] != '\0')
        ; /* the reason is known already */
    else if (signal_number != 0)
        snprintf(p->how, sizeof p->how, "was killed by signal %d (%s)", signal_number,
                 strsignal(signal_number));
    else
        snprintf(p->how, sizeof p->how, "exited with status %" PRId64, status);
    finish_if_over(p);
}

static void on_grace_over(uv_timer_t *t)
{
    struct process *p = t->data;
    if (!p->exited)
        uv_process_kill(&p->child, SIGKILL);
}

void process_stop(struct process *p, int grace_ms)
{
    p->deaf = true;
    close_pipe(p);
    if (!p->exited)
        uv_timer_start(&p->grace, on_grace_over, (uint64_t)grace_ms, 0);
}

void process_kill(struct process *p, const char *why)
{
    snprintf(p->how, sizeof p->how, "%s", why);
    process_stop(p, 0);
}

/* ---- frames in ---- */

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *ret)
{
    (void)hint;
    struct process *p = handle->data;
    *ret = uv_buf_init(p->read_bytes, READ_BYTES);
}

static void deliver(struct process *p)
{
    struct err err = {0};
    json_t *frame = NULL;
    struct str text = STR("");
    int got;
    bool raw = p->o.on_text != NULL;
    while (!p->deaf && (got = raw ? frame_reader_next_text(&p->reader, &text, &err)
                                  : frame_reader_next(&p->reader, &frame, &err)) != 0) {
        if (got < 0) {
            log_error("a worker's stream is broken: %s", err.text);
            process_kill(p, "sent a broken frame and was stopped");
            return;
        }
        if (raw)
            p->o.on_text(p->o.ctx_ptr, text);
        else
            p->o.on_frame(p->o.ctx_ptr, frame);
        json_decref(frame);
        frame = NULL;
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct process *p = stream->data;
    if (n == 0)
        return;
    if (n < 0) { /* the other end is gone: it exits, or is made to */
        process_stop(p, 2000);
        return;
    }
    if (!frame_reader_feed(&p->reader, bytes->base, (size_t)n))
        process_kill(p, "sent more than one frame may hold and was stopped");
    else
        deliver(p);
}

/* ---- frames out ---- */

static void on_sent(uv_write_t *req, int status)
{
    (void)status; /* a broken pipe shows on the reading side */
    struct sending *s = req->data;
    buf_release(&s->bytes);
    free(s);
}

/* One of the two is given. */
static int send_frame(struct process *p, const json_t *frame, struct str text, struct err *err)
{
    if (p->deaf || uv_is_closing((uv_handle_t *)&p->pipe))
        return err_set(err, ERR_UNAVAILABLE, "the model's worker process is stopping; try again");
    if (uv_stream_get_write_queue_size((uv_stream_t *)&p->pipe) > QUEUED_BYTES_MAX)
        return err_set(err, ERR_BUSY, "too many large requests are waiting for the model");
    struct sending *s = mem_zero(1, sizeof *s);
    buf_init(&s->bytes, FRAME_BYTES_MAX + FRAME_HEAD_BYTES);
    s->req.data = s;
    if (frame != NULL ? !frame_append(frame, &s->bytes) : !frame_append_text(text, &s->bytes)) {
        buf_release(&s->bytes);
        free(s);
        return err_set(err, ERR_TOO_LARGE, "the request is too large: more than %u MiB as JSON",
                       FRAME_BYTES_MAX >> 20);
    }
    uv_buf_t one = uv_buf_init(s->bytes.ptr, (unsigned)s->bytes.len);
    if (uv_write(&s->req, (uv_stream_t *)&p->pipe, &one, 1, on_sent) != 0) {
        buf_release(&s->bytes);
        free(s);
        return err_set(err, ERR_UNAVAILABLE, "the model's worker process is gone; try again");
    }
    return 0;
}

int process_send(struct process *p, const json_t *frame, struct err *err)
{
    return send_frame(p, frame, STR(""), err);
}

int process_send_text(struct process *p, struct str json, struct err *err)
{
    return send_frame(p, NULL, json, err);
}

int process_pid(const struct process *p)
{
    return p->child.pid;
}

/* ---- the start ---- */

static int open_part(const char *path, int *ret_fd, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set_errno(err, errno, "the model file %s cannot be opened", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, ERR_INVALID, "the model file %s is not a regular file", path);
    }
    *ret_fd = fd;
    return 0;
}

/* The worker's whole environment: what message.h and worker.h promise it, nothing of the user's. */
static void make_env(char *env[3], char cpu[64], char level[64])
{
    const char *value = getenv("HEARTH_CPU");
    int n = 0;
    if (value != NULL && snprintf(cpu, 64, "HEARTH_CPU=%s", value) < 64)
        env[n++] = cpu;
    value = getenv("HEARTH_LOG");
    if (value != NULL && snprintf(level, 64, "HEARTH_LOG=%s", value) < 64)
        env[n++] = level;
    env[n] = NULL;
}

/* The files of the model and of its draft model. */
static int n_paths(const struct process_opts *o)
{
    return o->n_path + o->n_draft_path;
}

/* A text as a file that has no name. */
static int text_file(const char *text, int *ret_fd, struct err *err)
{
    size_t len = strlen(text);
    int fd = memfd_create("template", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, text, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0) {
        *ret_fd = fd;
        return 0;
    }
    int code = err_set_errno(err, errno, "the model's template cannot be handed over");
    if (fd >= 0)
        close(fd);
    return code;
}

static int spawn(uv_loop_t *loop, struct process *p, uv_stdio_container_t *stdio, struct err *err)
{
    const struct process_opts *o = &p->o;
    bool packed = o->pack_in >= 0 || o->pack_out >= 0;
    char number[14][24], cpu[64], level[64];
    char *env[3];
    snprintf(number[0], sizeof number[0], "%d", o->n_path);
    snprintf(number[1], sizeof number[1], "%d", o->ctx);
    snprintf(number[2], sizeof number[2], "%d", o->parallel);
    snprintf(number[3], sizeof number[3], "%d", o->threads);
    snprintf(number[4], sizeof number[4], "%" PRId64, o->memory_max_bytes);
    snprintf(number[5], sizeof number[5], "%" PRId64, o->pack_bytes_max);
    snprintf(number[6], sizeof number[6], "%d", o->threads_decode);
    snprintf(number[7], sizeof number[7], "%d", o->activations);
    snprintf(number[8], sizeof number[8], "%d", o->kv_type);
    snprintf(number[9], sizeof number[9], "%d", o->speculate);
    snprintf(number[11], sizeof number[11], "%d", o->n_draft_path);
    snprintf(number[12], sizeof number[12], "%d", o->draft_max);
    snprintf(number[13], sizeof number[13], "%d", o->step_ms);
    const char *args[ARGS_MAX] = {
        o->exe, "worker", "--fds", number[0], "--ctx", number[1], "--parallel", number[2],
        "--threads", number[3], "--threads-decode", number[6], "--activations", number[7],
        "--memory-max", number[4], "--kv-type", number[8], "--speculate", number[9], "--draft-fds",
        number[11], "--draft-max", number[12], "--step-ms", number[13],
        /* the rest only with packed weights: the array ends at a NULL */
        packed ? "--pack-key" : NULL, o->pack_key, "--pack-max", number[5], "--pack-in",
        o->pack_in >= 0 ? "1" : "0", "--pack-out", o->pack_out >= 0 ? "1" : "0"};
    snprintf(number[10], sizeof number[10], "%" PRId64, o->prefix_bytes_max);
    const char *prefix[] = {"--prefix-max", number[10], "--prefix-key", o->prefix_key};
    const char *inspecting[] = {
        o->exe, "worker", "--fds", number[0], "--inspect", o->inspect > 1 ? "2" : "1", NULL};
    const char *quantizing[] = {o->exe,       "worker",    "--fds",      number[0],
                                "--quantize", o->quantize, "--pack-out", "1",
                                "--pack-max", number[5],   NULL};
    if (o->inspect > 0)
        memcpy(args, inspecting, sizeof inspecting);
    if (o->quantize != NULL)
        memcpy(args, quantizing, sizeof quantizing);
    size_t n_args = 0;
    while (args[n_args] != NULL)
        n_args++;
    if (o->template_text != NULL) {
        args[n_args++] = "--template";
        args[n_args++] = "1";
        if (o->inspect > 0 || o->quantize != NULL)
            args[n_args] = NULL; /* words of a start were behind it */
    }
    if (o->prefix_fd >= 0)
        memcpy(&args[n_args], prefix, sizeof prefix);
    make_env(env, cpu, level);
    /* Its file may have been replaced by another version by now, which speaks other frames. */
    uv_process_options_t options = {.file = o->exe_self ? "/proc/self/exe" : o->exe,
                                    .args = (char **)args,
                                    .env = env,
                                    .exit_cb = on_child_exit,
                                    .flags = UV_PROCESS_DETACHED,
                                    .stdio = stdio,
                                    .stdio_count = 4 + n_paths(o) + (o->template_text != NULL) +
                                                   (o->pack_in >= 0) + (o->pack_out >= 0) +
                                                   (o->prefix_fd >= 0)};
    int status = uv_spawn(loop, &p->child, &options);
    if (status != 0)
        return err_set(err, ERR_IO, "the worker process %s cannot be started: %s", o->exe,
                       uv_strerror(status));
    return 0;
}

static uv_stdio_container_t inherit(int fd)
{
    return (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = fd};
}

static void init_handles(uv_loop_t *loop, struct process *p)
{
    p->child.data = p->pipe.data = p->log.data = p->grace.data = p;
    p->n_handles = 4;
    uv_pipe_init(loop, &p->pipe, 0);
    uv_pipe_init(loop, &p->log, 0);
    uv_timer_init(loop, &p->grace);
}

int process_start(uv_loop_t *loop, const struct process_opts *opts, struct process **ret,
                  struct err *err)
{
    if (opts->n_path < 1 || opts->n_path > PARTS_MAX || opts->n_draft_path > PARTS_MAX)
        return err_set(err, ERR_LIMIT, "a model of %d files cannot be loaded", n_paths(opts));
    struct process *p = mem_zero(1, sizeof *p);
    uv_stdio_container_t *stdio = mem_zero((size_t)n_paths(opts) + 8, sizeof *stdio);
    p->o = *opts;
    p->read_bytes = mem_alloc(READ_BYTES);
    frame_reader_init(&p->reader);
    init_handles(loop, p);
    stdio[0].flags = UV_IGNORE;
    stdio[1].flags = UV_IGNORE; /* a worker has nothing to say on standard output */
    stdio[2].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    stdio[2].data.stream = (uv_stream_t *)&p->log;
    stdio[3].flags = UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE;
    stdio[3].data.stream = (uv_stream_t *)&p->pipe;
    int n_open = 0, code = 0;
    for (; n_open < n_paths(opts) && code == 0; n_open += code == 0) {
        const char *path =
            n_open < opts->n_path ? opts->path[n_open] : opts->draft_path[n_open - opts->n_path];
        stdio[4 + n_open].flags = UV_INHERIT_FD;
        code = open_part(path, &stdio[4 + n_open].data.fd, err);
    }
    if (code == 0 && opts->template_text != NULL) {
        stdio[4 + n_open].flags = UV_INHERIT_FD;
        code = text_file(opts->template_text, &stdio[4 + n_open].data.fd, err);
        n_open += code == 0;
    }
    int n_stdio = 4 + n_open;
    if (opts->pack_in >= 0)
        stdio[n_stdio++] = inherit(opts->pack_in);
    if (opts->pack_out >= 0)
        stdio[n_stdio++] = inherit(opts->pack_out);
    if (opts->prefix_fd >= 0)
        stdio[n_stdio] = inherit(opts->prefix_fd);
    if (code == 0)
        code = spawn(loop, p, stdio, err);
    for (int i = 0; i < n_open; i++)
        close(stdio[4 + i].data.fd);
    free(stdio);
    if (code != 0) {
        if (p->child.type == UV_PROCESS)
            uv_close((uv_handle_t *)&p->child, on_handle_closed);
        else
            p->n_handles--;
        uv_close((uv_handle_t *)&p->pipe, on_handle_closed);
        uv_close((uv_handle_t *)&p->log, on_handle_closed);
        uv_close((uv_handle_t *)&p->grace, on_handle_closed);
        return code;
    }
    uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&p->log, on_log_alloc, on_log_read);
    *ret = p;
    return 0;
}
