/*
 * cmd_create: a model of the library made of a Modelfile: of another model or of GGUF files, with
 * parameters, a system text and the like of its own.
 */
#include "cli/cli.h"

#include "api/ollama_library.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/create_files.h"
#include "model/model.h"
#include "store/blob.h"
#include "store/modelfile.h"
#include "store/store.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct making {
    struct store *store;
    struct modelfile file;
    struct store_create in;
    char *digest[MODELFILE_LIST_MAX + 1]; /* ends with NULL */
    char *params, *messages;
    struct model_info info;
    char size_word[16];
    const char *quantize; /* the type to make, or NULL */
    const char *made[1];  /* in place of the files: what was quantized of them */
    char made_digest[DIGEST_TEXT_LEN + 1];
    bool quiet;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void on_step(void *ctx, const char *status)
{
    const struct making *m = ctx;
    if (!m->quiet)
        fprintf(stderr, "%s\n", status);
}

static int read_file(const char *path, struct modelfile *ret, struct err *err)
{
    struct buf text;
    buf_init(&text, MODELFILE_BYTES_MAX);
    int rc = fs_read(path, &text, err);
    if (rc == 0) {
        rc = modelfile_parse(buf_str(&text), ret, err);
        if (rc != 0)
            err_wrap(err, "%s", path);
    }
    buf_release(&text);
    return rc;
}

/* Paths are seen from where the Modelfile lies. */
static char *beside(const char *modelfile, const char *path)
{
    char *home = path[0] == '~' && path[1] == '/' ? fs_home() : NULL;
    ptrdiff_t slash = str_rchr(str_z(modelfile), '/');
    char *ret;
    if (home != NULL) {
        ret = fs_join(home, path + 2);
    } else if (path[0] == '/' || slash < 0) {
        ret = str_dup(str_z(path));
    } else {
        char *dir = str_dup(str_sub(str_z(modelfile), 0, (size_t)slash));
        ret = fs_join(dir, path);
        free(dir);
    }
    free(home);
    return ret;
}

/* A word in FROM: a file's path by its look, or because such a file is there. */
static bool is_file(const char *modelfile, const char *word)
{
    char *path = beside(modelfile, word);
    bool ret = model_source_of(word) == SOURCE_PATH || (fs_exists(path) && !fs_is_dir(path));
    free(path);
    return ret;
}

/* What the files are, for the library's lists; and whether they are a model at all. */
static int describe(struct making *m, const char *const *path, int n, struct err *err)
{
    struct gguf *g;
    int rc = gguf_open_paths(path, n, &g, err);
    if (rc != 0)
        return rc;
    if (model_describe(g, KV_F16, &m->info, NULL) == 0) {
        store_size_word((int64_t)m->info.n_params, m->size_word);
        m->in.family = m->info.arch;
        m->in.file_type = m->info.file_type;
        m->in.size_word = m->size_word;
    }
    gguf_free(g);
    return 0;
}

static int import_parts(struct making *m, const char *const *path, int n, struct err *err)
{
    int rc = describe(m, path, n, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        char digest[DIGEST_TEXT_LEN + 1];
        int64_t bytes;
        if (m->in.n_digest >= MODELFILE_LIST_MAX)
            return err_set(err, ERR_LIMIT, "more than %d files", MODELFILE_LIST_MAX);
        on_step(m, "reading the file");
        rc = blob_import(store_blobs_dir(m->store), path[i], NULL, digest, &bytes, err);
        if (rc == 0)
            m->digest[m->in.n_digest++] = str_dup(str_z(digest));
    }
    return rc;
}

/* Another type of the files, where one is asked for; and does the template work with them? */
static int work_on_files(struct making *m, const char *const *path, int n, const char *file_type,
                         struct err *err)
{
    struct progress progress;
    const char *text = m->file.template_text;
    int rc = 0;
    if (text != NULL && store_template_is_go(str_z(text)))
        return 0; /* store_create says why not */
    if (text != NULL && text[0] != '\0')
        rc = create_check_template(path, n, text, err);
    if (rc != 0 || m->quantize == NULL || strcmp(m->quantize, file_type) == 0)
        return rc;
    progress_init(&progress, m->quiet);
    rc = create_quantize(store_blobs_dir(m->store), path, n, m->quantize, &stop, &progress,
                         m->made_digest, err);
    m->made[0] = m->made_digest;
    m->in.digest = m->made;
    m->in.n_digest = 1;
    m->in.file_type = m->quantize;
    return rc;
}

static int work_on_model(struct making *m, struct err *err)
{
    struct store_model base = {0};
    if (m->file.template_text == NULL && m->quantize == NULL)
        return 0;
    int rc = store_find(m->store, m->in.from, &base, err);
    if (rc == 0)
        rc = work_on_files(m, (const char *const *)base.path, base.n_path, base.file_type, err);
    store_model_release(&base);
    return rc;
}

/* FROM once: a name, a file, or the first part of a split one. Several times: all parts. */
static int take_from(struct making *m, const char *modelfile, struct err *err)
{
    const struct modelfile *f = &m->file;
    char **part = NULL;
    int n = 0, rc = 0;
    if (f->n_from == 1 && !is_file(modelfile, f->from[0])) {
        m->in.from = f->from[0];
        return work_on_model(m, err);
    }
    if (f->n_from == 1) {
        char *path = beside(modelfile, f->from[0]);
        rc = store_split_paths(path, &part, &n, err);
        free(path);
    } else {
        part = mem_zero((size_t)f->n_from, sizeof(char *));
        for (; n < f->n_from; n++)
            part[n] = beside(modelfile, f->from[n]);
    }
    if (rc == 0)
        rc = import_parts(m, (const char *const *)part, n, err);
    m->in.digest = (const char *const *)m->digest;
    if (rc == 0)
        rc = work_on_files(m, (const char *const *)part, n, m->info.file_type, err);
    store_paths_free(part, n);
    return rc;
}

static char *json_text(const json_t *value)
{
    struct buf text;
    buf_init(&text, MODELFILE_BYTES_MAX);
    char *ret = json_write(value, &text) ? buf_steal(&text) : NULL;
    buf_release(&text);
    return ret;
}

/* Parameters and messages are looked at as the server's own /api/create does. */
static int check(struct making *m, const char *name, struct err *err)
{
    struct ollama_library_request r;
    json_t *body = json_pack("{s:s, s:O, s:O}", "model", name, "parameters", m->file.parameters,
                             "messages", m->file.messages);
    int rc = body == NULL ? err_set(err, ERR_INVALID, "the name is not UTF-8")
                          : ollama_library_read(OLLAMA_CREATE, body, &r, err);
    if (rc == 0 && r.parameters != NULL)
        m->params = json_text(r.parameters);
    if (rc == 0 && r.messages != NULL)
        m->messages = json_text(r.messages);
    if (rc == 0)
        ollama_library_release(&r);
    json_decref(body);
    return rc;
}

static int make(struct making *m, const char *name, const char *modelfile, struct err *err)
{
    int rc = read_file(modelfile, &m->file, err);
    if (rc == 0)
        rc = check(m, name, err);
    if (rc != 0)
        return rc;
    m->in.name = name;
    m->in.template_text = m->file.template_text;
    m->in.system_text = m->file.system_text;
    m->in.params_json = m->params;
    m->in.messages_json = m->messages;
    m->in.license = (const char *const *)m->file.license;
    m->in.n_license = m->file.n_license;
    m->in.step = on_step;
    m->in.step_ctx = m;
    /* what is imported stays until it has its name */
    rc = store_hold(m->store, &m->in.hold, err);
    if (rc != 0)
        return rc;
    rc = take_from(m, modelfile, err);
    if (rc == 0)
        return store_create(m->store, &m->in, err);
    store_unhold(m->in.hold);
    return rc;
}

static int read_type(struct making *m, const char *word, struct err *err)
{
    m->quantize = ollama_quantization_find(str_z(word));
    if (m->quantize != NULL)
        return 0;
    return err_set(err, ERR_INVALID,
                   "--quantize: '%.40s' is no type that can be made here; these are: f32, f16, "
                   "bf16, q8_0, q6_K, q5_K_M, q5_K_S, q5_1, q5_0, q4_K_M, q4_K_S, q4_1, q4_0",
                   word);
}

int cmd_create(int argc, char **argv)
{
    const char *models = NULL, *file = "Modelfile", *quantize = NULL;
    struct making m = {0};
    const struct arg_option option[] = {
        {"file", 'f', ARG_STR, "FILE", "the Modelfile", &file, .flag_only = true},
        {"quantize", 0, ARG_STR, "TYPE", "make q8_0, q4_K_M, ... of F16, BF16 or F32", &quantize,
         .flag_only = true},
        {"quiet", 'q', ARG_BOOL, NULL, "show no progress", &m.quiet, .flag_only = true},
        {"models", 0, ARG_STR, "DIR", "the library's folder", &models},
    };
    const struct args_spec spec = {
        .command = "create",
        .usage = "NAME",
        .summary = "Make a model of the library from a Modelfile",
        .details = "A Modelfile says what the model is made of:\n"
                   "  FROM smollm2:135m           a model of the library, or ./file.gguf\n"
                   "  PARAMETER temperature 0.3   defaults for requests that say nothing\n"
                   "  SYSTEM \"\"\"...\"\"\"            also TEMPLATE (Jinja), MESSAGE, LICENSE",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct err err = {0};
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    int rc = quantize != NULL ? read_type(&m, quantize, &err) : 0;
    if (rc == 0)
        rc = store_open(models, &m.store, &err);
    if (quantize != NULL) { /* the second one kills */
        sigaction(SIGINT, &act, NULL);
        sigaction(SIGTERM, &act, NULL);
    }
    if (rc == 0)
        rc = make(&m, args.word[0], file, &err);
    if (rc == 0)
        printf("%s is in the library\n", args.word[0]);
    store_close(m.store);
    modelfile_release(&m.file);
    for (int i = 0; m.digest[i] != NULL; i++)
        free(m.digest[i]);
    free(m.params);
    free(m.messages);
    args_release(&args);
    return rc != 0 ? cli_fail(&err) : cli_done();
}
