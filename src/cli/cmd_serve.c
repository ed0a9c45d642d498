/*
 * cmd_serve: `hearth serve [MODEL]`. Owns the flags; everything else is the gateway's.
 */
#include "api/keep_alive.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/thread_plan.h"
#include "engine/disk_index.h"
#include "engine/speculation.h"
#include "gateway/gateway.h"
#include "kernels/attend.h"
#include "kernels/pack.h"
#include "model/model.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char details[] =
    "MODEL is a name of the library or a path to a .gguf file. It is loaded at once and answers\n"
    "requests that name no model; other models of the library are loaded when a request names\n"
    "them. Beyond this machine (--host 0.0.0.0) an API key is needed.\n"
    "Ctrl-C finishes the running answers and stops; a second one stops at once.";

/* A time as --keep-alive has it, or in days; in seconds. */
static bool read_days(struct str text, int64_t *ret_s)
{
    int64_t days, ms;
    if (text.len > 1 && text.ptr[text.len - 1] == 'd') {
        if (!str_to_i64(str_sub(text, 0, text.len - 1), &days) || days < 0 || days > 36500)
            return false;
        *ret_s = days * 86400;
        return true;
    }
    if (!keep_alive_text(text, &ms) || ms < 0)
        return false;
    *ret_s = (ms + 999) / 1000;
    return true;
}

#define OPTIONS_MAX 64

/* Options that are more than a value; NULL: not given. */
struct words {
    const char *keep_alive, *files_keep, *responses_keep, *worker_exe;
};

/* How long something is kept; word NULL: as it is. */
static bool read_keep(const char *option, const char *word, int64_t *ret_s)
{
    if (word == NULL || read_days(str_z(word), ret_s))
        return true;
    fprintf(stderr,
            "hearth: %s '%s' is no time: it is 30d, 12h, 600 (seconds), or 0 (until they are "
            "deleted)\n",
            option, word);
    return false;
}

static int settle(struct gateway_opts *o, const struct words *w, struct args *args, int *ret_code)
{
    if (!read_keep("--files-keep", w->files_keep, &o->files_keep_s) ||
        !read_keep("--responses-keep", w->responses_keep, &o->responses_keep_s)) {
        args_release(args);
        *ret_code = CLI_USAGE;
        return 0;
    }
    if (w->keep_alive != NULL && !keep_alive_text(str_z(w->keep_alive), &o->keep_alive_ms)) {
        fprintf(stderr,
                "hearth: --keep-alive '%s' is no time: it is 5m, 1h30m, 300 (seconds), 0 or "
                "-1 (for ever)\n",
                w->keep_alive);
        args_release(args);
        *ret_code = CLI_USAGE;
        return 0;
    }
    if (args->n_word > 0)
        o->model = args->word[0];
    if (o->draft_model != NULL && o->draft_model[0] == '\0')
        o->draft_model = NULL;
    const char *lacks = o->draft_model == NULL          ? NULL
                        : o->model == NULL              ? "a MODEL to guess for"
                        : o->speculate == SPECULATE_OFF ? "--speculate auto"
                                                        : NULL;
    if (lacks != NULL) {
        fprintf(stderr, "hearth: --draft-model needs %s\n", lacks);
        args_release(args);
        *ret_code = CLI_USAGE;
        return 0;
    }
    if (w->worker_exe != NULL) {
        o->exe = w->worker_exe;
        o->exe_self = false;
    }
    return 1;
}

/* The table of options; values go straight into *o. */
static int list_options(struct gateway_opts *o, struct words *w, bool *calibrate,
                        struct arg_option ret[OPTIONS_MAX])
{
    /* clang-format off: rows of a table */
    const struct arg_option option[] = {
        {"host", 0, ARG_STR, "ADDRESS", "address to listen on", &o->host},
        {"port", 'p', ARG_INT, "N", "port to listen on; 0: any free one", &o->port, 0, 65535},
        {"api-key", 0, ARG_STR, "KEY", "key that clients must send as a bearer token", &o->api_key},
        {"keys", 0, ARG_STR, "FILE", "keys with names; unset: ~/.config/hearth/keys.json",
         &o->keys_path},
        {"models", 0, ARG_STR, "DIR", "the library", &o->models_dir},
        {"cache-dir", 0, ARG_STR, "DIR", "cache; unset: ~/.cache/hearth", &o->cache_dir},
        {"pack-cache", 0, ARG_BOOL, NULL, "keep packed weights there for the next start",
         &o->pack_cache},
        {"pack-cache-max", 0, ARG_BYTES, "SIZE", "of all of them; 0: half of the disk's free space",
         &o->pack_cache_bytes_max, 0, INT64_MAX},
        {"prefix-disk", 0, ARG_BOOL, NULL, "keep there what was computed of prompts and answers",
         &o->prefix_disk},
        {"prefix-disk-max", 0, ARG_BYTES, "SIZE",
         "of all of it; 0: a tenth of the disk's free space, at most 8g", &o->prefix_disk_max, 0,
         INT64_MAX},
        {"model", 'm', ARG_STR, "MODEL", "as the word MODEL", &o->model},
        {"ctx", 'c', ARG_INT, "N", "tokens of context; 0: as the model and memory allow", &o->ctx,
         0, INT_MAX},
        {"parallel", 0, ARG_INT, "N", "requests computed at once per model", &o->parallel, 1, 1024},
        {"threads", 't', ARG_INT, "N", "threads per model; 0: as many as are best here",
         &o->threads, 0, POOL_THREADS_MAX},
        {"calibrate", 0, ARG_BOOL, NULL,
         "measure once how many threads are best; no: the physical cores", calibrate},
        {"activations", 0, ARG_WORD, ACTIVATIONS_WORDS,
         "precision of products' inputs; auto: fast for models that are not small",
         &o->activations},
        {"kv-type", 0, ARG_WORD, KV_TYPE_WORDS,
         "of keys and values; q8_0: half the memory, q4_0: a quarter", &o->kv_type},
        {"speculate", 0, ARG_WORD, SPECULATE_WORDS,
         "auto: compute likely next tokens along while that is faster; same answers",
         &o->speculate},
        {"step-time", 0, ARG_MS, "TIME",
         "between the tokens of answers while prompts are read; longer: prompts are read faster",
         &o->step_ms, 5, 60000},
        {"draft-model", 0, ARG_STR, "MODEL",
         "a small model of the same vocabulary that guesses for MODEL; same answers; '': none",
         &o->draft_model, .may_be_empty = true},
        {"draft-max", 0, ARG_INT, "N", "tokens that it guesses at once; 0: as is best",
         &o->draft_max, 0, DRAFT_MAX},
        {"memory-max", 0, ARG_BYTES, "SIZE", "memory for all models; 0: what the machine has",
         &o->memory_max_bytes, 0, INT64_MAX},
        {"keep-alive", 0, ARG_STR, "TIME",
         "a model that is idle for so long is unloaded; unset: never", &w->keep_alive},
        {"load-wait", 0, ARG_MS, "TIME", "for memory that busy models hold; then 503",
         &o->load_wait_ms, 0, INT_MAX},
        {"state", 0, ARG_WORD, GATEWAY_STATE_WORDS,
         "keep ledger, files and batches; needed: do not start without", &o->state},
        {"state-dir", 0, ARG_STR, "DIR", "where; unset: ~/.local/state/hearth", &o->state_dir},
        {"file-max", 0, ARG_BYTES, "SIZE", "the largest file that clients may upload",
         &o->file_bytes_max, 1, INT64_C(1) << 40},
        {"files-total", 0, ARG_BYTES, "SIZE", "all files of a key together", &o->files_bytes_max, 1,
         INT64_C(1) << 50},
        {"files-disk", 0, ARG_BYTES, "SIZE", "files of all keys; 0: as much as they leave free",
         &o->files_disk_max, 0, INT64_MAX},
        {"files-keep", 0, ARG_STR, "TIME", "files, and batches after their end; unset: 30d",
         &w->files_keep},
        {"responses-keep", 0, ARG_STR, "TIME", "stored responses; unset: 30d", &w->responses_keep},
        {"batch-parallel", 0, ARG_INT, "N",
         "lines of batches computed at once; 0: half of --parallel", &o->batch_parallel, 0, 1024},
        {"queue", 0, ARG_INT, "N", "requests that may wait per model; more are refused",
         &o->queue_max, 0, 1000000},
        {"connections", 0, ARG_INT, "N", "connections at once", &o->connections_max, 1, 100000},
        {"header-timeout", 0, ARG_MS, "TIME", "for a request's whole head", &o->header_timeout_ms,
         100, INT_MAX},
        {"body-timeout", 0, ARG_MS, "TIME", "for a request's whole body", &o->body_timeout_ms, 100,
         INT_MAX},
        {"write-timeout", 0, ARG_MS, "TIME", "a client that reads nothing for so long is dropped",
         &o->write_timeout_ms, 100, INT_MAX},
        {"idle-timeout", 0, ARG_MS, "TIME", "for a connection between two requests",
         &o->idle_timeout_ms, 100, INT_MAX},
        {"drain-timeout", 0, ARG_MS, "TIME", "for running answers when the server stops",
         &o->drain_timeout_ms, 0, INT_MAX},
        {"stall-timeout", 0, ARG_MS, "TIME",
         "a worker that computes nothing for so long is restarted; 0: never", &o->stall_timeout_ms,
         0, INT_MAX},
        {"body-max", 0, ARG_BYTES, "SIZE", "the largest request", &o->body_bytes_max, 1024,
         48 << 20},
        {"client-buffer", 0, ARG_BYTES, "SIZE",
         "held for a client that reads slowly; more: dropped", &o->client_buffer_bytes_max, 4096,
         1 << 30},
        {"request-log", 0, ARG_STR, "FILE", "one line of JSON per finished request",
         &o->request_log},
        {"request-log-max", 0, ARG_BYTES, "SIZE", "of that file; three older ones are kept",
         &o->request_log_bytes_max, 65536, INT64_MAX},
        {"keep-prompts", 0, ARG_BOOL, NULL,
         "hold recent prompts in memory, for /v1/requests/ID?prompt=1", &o->keep_prompts},
        {"keep-volatile", 0, ARG_BOOL, NULL,
         "leave billing headers and token counts of coding agents in their prompts",
         &o->keep_volatile},
        {"worker-exe", 0, ARG_STR, "FILE", "program started as the worker (for tests)",
         &w->worker_exe},
        {"quiet", 'q', ARG_BOOL, NULL, "print no banner", &o->quiet},
    };
    /* clang-format on */
    _Static_assert(ARRAY_LEN(option) <= OPTIONS_MAX, "grow OPTIONS_MAX");
    memcpy(ret, option, sizeof(option));
    return (int)ARRAY_LEN(option);
}

static int parse(struct gateway_opts *o, bool *calibrate, int argc, char **argv, struct args *args,
                 int *ret_code)
{
    struct words w = {0};
    struct arg_option option[OPTIONS_MAX];
    int n_option = list_options(o, &w, calibrate, option);
    const struct args_spec spec = {.command = "serve",
                                   .usage = "[MODEL]",
                                   .summary = "Serve models over HTTP",
                                   .details = details,
                                   .option = option,
                                   .n_option = n_option,
                                   .n_word_max = 1};
    if (!args_take(&spec, argc, argv, args, ret_code))
        return 0;
    return settle(o, &w, args, ret_code);
}

int cmd_serve(int argc, char **argv)
{
    struct gateway_opts opts;
    struct err err = {0};
    struct args args;
    struct thread_plan threads;
    bool calibrate = true;
    int code;
    char self[PATH_MAX];
    gateway_opts_init(&opts);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) {
        err_set(&err, ERR_IO, "/proc/self/exe cannot be read: is /proc mounted?");
        return cli_fail(&err);
    }
    self[n] = '\0';
    opts.exe = self;
    opts.exe_self = true;
    opts.pack_layout = PACK_VERSION;
    opts.prefix_layout = DISK_LAYOUT;
    if (!parse(&opts, &calibrate, argc, argv, &args, &code))
        return code;
    log_init("gateway");
    if (opts.threads == 0) {
        thread_plan_choose(opts.cache_dir, calibrate, &threads);
        opts.threads = threads.n_prefill;
        opts.threads_decode = threads.n_decode;
    }
    code = gateway_run(&opts, &err);
    args_release(&args);
    return code == 0 ? CLI_OK : cli_fail(&err);
}
