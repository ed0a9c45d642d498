/*
 * worker: the process. Owns the order in which it gives up its rights: first everything that
 * must be read from the machine is read and the threads of the pool are started; then the first
 * lock; then the model's bytes are parsed; then the second lock; then it serves.
 */
#include "worker/worker.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/alloc_guard.h"
#include "worker/inspect.h"
#include "worker/load.h"
#include "worker/loop.h"
#include "worker/quantizing.h"
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_FD    3
#define MODEL_FD     4
#define PARTS_MAX    512
#define TEMPLATE_MAX (4u << 20)

struct options {
    int64_t n_fds, n_ctx, n_parallel, n_threads, n_threads_decode, kv_bytes, memory_max;
    int64_t pack_in, pack_out, pack_max, activations, kv_type, speculate, prefix_max, step_ms;
    int64_t n_draft_fds, n_draft_max;
    int64_t inspect;        /* enum inspect_depth */
    int64_t template;       /* 1: a text file stands after the models' files */
    const char *quantize;   /* NULL, or the type to make of the model: in pack_out's place */
    const char *prefix_key; /* NULL: no such file */
    int prefix_fd;
    struct pack_files pack; /* the key; the descriptors follow from the counts */
};

/* Exactly as long as a key is, or nothing. */
static bool parse_key(const char *text, struct pack_files *ret)
{
    if (strlen(text) != sizeof(ret->key))
        return false;
    memcpy(ret->key, text, sizeof(ret->key));
    return true;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    const struct {
        const char *name;
        int64_t *ret, min, max;
    } known[] = {
        {"--fds", &o->n_fds, 1, PARTS_MAX},
        {"--draft-fds", &o->n_draft_fds, 0, PARTS_MAX},
        {"--draft-max", &o->n_draft_max, 0, DRAFT_MAX},
        {"--pack-in", &o->pack_in, 0, 1},
        {"--pack-out", &o->pack_out, 0, 1},
        {"--pack-max", &o->pack_max, 0, INT64_MAX},
        {"--ctx", &o->n_ctx, 0, INT32_MAX},
        {"--parallel", &o->n_parallel, 0, WORKER_SEQ_MAX},
        {"--threads", &o->n_threads, 0, POOL_THREADS_MAX},
        {"--threads-decode", &o->n_threads_decode, 0, POOL_THREADS_MAX},
        {"--kv-bytes", &o->kv_bytes, 0, INT64_MAX},
        {"--activations", &o->activations, 0, ACTIVATIONS_FAST},
        {"--kv-type", &o->kv_type, 0, KV_TYPES - 1},
        {"--speculate", &o->speculate, 0, SPECULATE_ALWAYS},
        {"--step-ms", &o->step_ms, 0, INT32_MAX},
        {"--memory-max", &o->memory_max, 0, INT64_MAX},
        {"--template", &o->template, 0, 1},
        {"--inspect", &o->inspect, 0, INSPECT_ALL},
        {"--prefix-max", &o->prefix_max, 0, INT64_MAX},
    };
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        if (strcmp(argv[i], "--pack-key") == 0 && i + 1 < argc && parse_key(argv[i + 1], &o->pack))
            continue;
        if (strcmp(argv[i], "--prefix-key") == 0 && i + 1 < argc) {
            o->prefix_key = argv[i + 1];
            continue;
        }
        if (strcmp(argv[i], "--quantize") == 0 && i + 1 < argc) {
            o->quantize = argv[i + 1];
            continue;
        }
        while (k < ARRAY_LEN(known) && strcmp(argv[i], known[k].name) != 0)
            k++;
        int64_t value;
        if (k == ARRAY_LEN(known) || i + 1 == argc || !str_to_i64(str_z(argv[i + 1]), &value) ||
            value < known[k].min || value > known[k].max)
            return false;
        *known[k].ret = value;
    }
    int after = MODEL_FD + (int)(o->n_fds + o->n_draft_fds + o->template);
    o->pack.fd_in = o->pack_in != 0 ? after++ : -1;
    o->pack.fd_out = o->pack_out != 0 ? after++ : -1;
    o->prefix_fd = o->prefix_key ? after : -1;
    return o->n_fds > 0 && (o->quantize == NULL || o->pack_out != 0);
}

/* The map of a file that somebody shortened. Nothing can be saved; say why, and die. */
static void on_sigbus(int signal)
{
    (void)signal;
    static const char text[] =
        "error worker: the model file was shortened or could not be read while in use\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n;
    _exit(1);
}

static void send_progress(void *ctx, const char *stage, double fraction)
{
    struct outbox *out = ctx;
    outbox_put(out,
               json_pack("{s:s,s:s,s:f}", "t", "progress", "stage", stage, "fraction", fraction));
    outbox_flush_all(out);
}

/* How the weights came to be where they are. The text is ours, but for what the system says. */
static void send_packed(struct outbox *out, const struct pack_report *r)
{
    static const char *const words[] = {[PACK_NOTHING] = "nothing",
                                        [PACK_MAPPED] = "mapped",
                                        [PACK_WRITTEN] = "written",
                                        [PACK_MEMORY] = "memory"};
    outbox_put(out, json_pack("{s:s,s:s,s:I,s:f,s:s}", "t", "packed", "from", words[r->from],
                              "bytes", (json_int_t)r->bytes, "ms", r->ms, "note", r->note));
}

static int report_failure(struct outbox *out, const struct err *err)
{
    log_error("%s", err->text);
    struct gen_error e = {.err = *err}; /* its text is made safe for JSON there */
    json_t *safe = gen_error_to_json(&e);
    json_t *message = json_object_get(safe, "message");
    outbox_put(out, json_pack("{s:s,s:s,s:O}", "t", "failed", "code", err_word(err->code),
                              "message", message));
    json_decref(safe);
    outbox_flush_all(out);
    return 1;
}

/* What must be read from the machine, before the lock. */
static int prepare(const struct options *o, struct load_opts *load, struct pool **ret_pool,
                   struct err *err)
{
    enum cpu_level level;
    int rc = cpu_level_choose(&level, err);
    if (rc != 0)
        return rc;
    load->kernels = kernels_get(level);
    load->budget_bytes = o->memory_max > 0 ? (uint64_t)o->memory_max : memory_available();
    json_object_seed(0); /* jansson would read /dev/urandom when the first object is made */
    tzset();             /* templates may ask for the time; reads the zone's file */
    int n_threads = o->n_threads > 0 ? (int)o->n_threads : cpu_threads_default();
    rc = pool_new(n_threads, ret_pool, err);
    load->pool = *ret_pool;
    return rc;
}

static int load_and_serve(struct load_opts *load, const struct options *o, struct outbox *out,
                          struct err *err)
{
    struct loaded model;
    bool lock = sandbox_is_possible();
    int fd_end =
        MODEL_FD + (int)(o->n_fds + o->n_draft_fds + o->template + o->pack_in + o->pack_out);
    uint64_t file_bytes_max = o->pack_out != 0 ? (uint64_t)o->pack_max : 0;
    uint64_t prefix_max = o->prefix_fd >= 0 ? (uint64_t)o->prefix_max : 0;
    file_bytes_max = file_bytes_max > prefix_max ? file_bytes_max : prefix_max;
    int rc = lock ? sandbox_enter_load(fd_end + (o->prefix_fd >= 0), file_bytes_max, err) : 0;
    rc = rc != 0 ? rc : load_model(load, &model, err);
    if (rc != 0)
        return report_failure(out, err);
    for (int fd = MODEL_FD; fd < fd_end; fd++)
        close(fd);
    send_packed(out, model_pack_report(model.model));
    struct intake *intake = NULL;
    rc = loaded_start(&model, err);
    rc = rc != 0 ? rc : intake_new(&model, &intake, err);
    if (rc == 0 && lock)
        rc = sandbox_enter_run(o->prefix_fd, prefix_max, err);
    int code;
    if (rc != 0) {
        code = report_failure(out, err);
        loaded_stop(&model);
    } else {
        model.ready.sandboxed = lock;
        outbox_put(out, worker_ready_to_json(&model.ready));
        code = loop_run(&model, intake, out);
    }
    intake_free(intake);
    loaded_release(&model);
    return code;
}

/* The template in place of the file's own: bytes for now. */
static int read_template(const struct options *o, struct buf *out, struct err *err)
{
    char bytes[4096];
    ssize_t n = 1;
    int fd = MODEL_FD + (int)(o->n_fds + o->n_draft_fds);
    while (o->template != 0 && (n = read(fd, bytes, sizeof bytes)) > 0)
        if (!buf_add(out, bytes, (size_t)n))
            return err_set(err, ERR_LIMIT, "the model's template is too long");
    return n < 0 ? err_set_errno(err, errno, "the model's template cannot be read") : 0;
}

/* Locked in as for loading; then one frame, and the end. */
static int inspect(const struct options *o, const int *fd, struct str template, struct outbox *out,
                   struct err *err)
{
    json_t *frame = NULL;
    json_object_seed(0); /* as in prepare() */
    tzset();
    int rc = sandbox_is_possible() ? sandbox_enter_load(MODEL_FD + (int)o->n_fds, 0, err) : 0;
    struct gguf *g = NULL;
    if (rc == 0 && o->template != 0)
        rc = gguf_open_fds(fd, (int)o->n_fds, &g, err);
    if (rc == 0 && g != NULL)
        rc = inspect_template(g, template, err);
    gguf_free(g);
    if (rc == 0)
        rc = inspect_files(fd, (int)o->n_fds, (enum inspect_depth)o->inspect, &frame, err);
    if (rc == 0 && !outbox_put(out, frame))
        rc = err_set(err, ERR_TOO_LARGE, "what the model file says of itself is too long to show");
    if (rc != 0)
        return report_failure(out, err);
    outbox_flush_all(out);
    return 0;
}

/* The same for a file that is made of the model's. */
static int quantize(const struct options *o, const int *fd, struct outbox *out, struct err *err)
{
    const struct quantizing q = {.fd = fd,
                                 .n_fds = (int)o->n_fds,
                                 .type = o->quantize,
                                 .out_fd = o->pack.fd_out,
                                 .out_bytes_max = (uint64_t)o->pack_max};
    struct pool *pool = NULL;
    json_object_seed(0); /* as in prepare() */
    tzset();
    quantizing_step_back();
    int rc = pool_new(cpu_threads_default(), &pool, err);
    if (rc == 0 && sandbox_is_possible())
        rc = sandbox_enter_load(o->pack.fd_out + 1, (uint64_t)o->pack_max, err);
    rc = rc != 0 ? rc : quantizing_run(&q, pool, out, err);
    pool_free(pool);
    return rc != 0 ? report_failure(out, err) : 0;
}

int worker_main(int argc, char **argv)
{
    struct options o = {0};
    log_init("worker");
    /* One heap for all threads: a second one that shrinks opens a file in /proc, which the locked
     * process is killed for. Only the loop and the intake allocate. */
    mallopt(M_ARENA_MAX, 1);
    if (!parse_options(argc, argv, &o) || fcntl(SOCKET_FD, F_SETFL, O_NONBLOCK) != 0) {
        fprintf(stderr, "hearth: the worker is started by the gateway, not by hand\n");
        return 2;
    }
    if (getenv("HEARTH_ALLOC_GUARD"))
        alloc_guard_arm();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* EFBIG instead */
    signal(SIGBUS, on_sigbus);
    struct err err = {0};
    struct outbox out;
    outbox_init(&out, SOCKET_FD);
    int fd[2 * PARTS_MAX];
    for (int i = 0; i < o.n_fds + o.n_draft_fds; i++)
        fd[i] = MODEL_FD + i;
    if (o.quantize != NULL) {
        int status = quantize(&o, fd, &out, &err);
        outbox_release(&out);
        return status;
    }
    struct load_opts load = {
        .fd = fd,
        .n_fds = (int)o.n_fds,
        .draft_fd = fd + o.n_fds,
        .n_draft_fds = o.speculate != SPECULATE_OFF ? (int)o.n_draft_fds : 0,
        .n_draft_max = o.n_draft_max,
        .n_ctx = o.n_ctx,
        .n_seq = o.n_parallel,
        .kv_bytes = o.kv_bytes,
        .kv_type = (enum kv_type)o.kv_type,
        .pack = &o.pack,
        .prefix_fd = o.prefix_fd,
        .prefix_key = o.prefix_key,
        .prefix_bytes_max = (uint64_t)o.prefix_max,
        .n_threads_decode = o.n_threads_decode,
        .activations = (enum activations)o.activations,
        .speculate = (enum speculate)o.speculate,
        .step_ms = o.step_ms,
        .progress = send_progress,
        .progress_ctx = &out,
    };
    struct pool *pool = NULL;
    struct buf template;
    buf_init(&template, TEMPLATE_MAX);
    int rc = read_template(&o, &template, &err);
    load.template = buf_str(&template);
    if (rc == 0 && o.inspect != INSPECT_NONE) {
        int status = inspect(&o, fd, load.template, &out, &err);
        buf_release(&template);
        outbox_release(&out);
        return status;
    }
    rc = rc != 0 ? rc : prepare(&o, &load, &pool, &err);
    int code = rc != 0 ? report_failure(&out, &err) : load_and_serve(&load, &o, &out, &err);
    pool_free(pool);
    buf_release(&template);
    outbox_release(&out);
    return code;
}
