/*
 * library_routes: the routes of Ollama's API that are about models and not about text. What changes
 * the library takes a key with the right `admin` where keys are needed, and runs on threads
 * (errand.h); what is inside a model's file is asked of a process (inspection.h).
 */
#include "gateway/errand.h"
#include "gateway/inspection.h"
#include "gateway/making.h"

#include "api/ollama_library.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/blob.h"
#include "store/pull.h"
#include "store/push.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (64u << 20)

/* The library is everybody's. */
static int check_right(struct exchange *x, struct err *err)
{
    const struct caller *who = &routes_visit(x)->caller;
    if (who->admin)
        return 0;
    return err_set(
        err, ERR_DENIED,
        "the key '%s' may not change the library: that takes a key made with 'hearth key "
        "create NAME --admin'",
        who->name);
}

/* Reads a body; NULL: it was answered with an error. The views in *ret live as long. */
static json_t *read_body(struct exchange *x, enum ollama_call call, bool changes,
                         struct ollama_library_request *ret)
{
    struct err err = {0};
    json_t *body = NULL;
    if (!changes || check_right(x, &err) == 0)
        body = ollama_body(x, &err);
    if (body != NULL && ollama_library_read(call, body, ret, &err) != 0) {
        json_decref(body);
        body = NULL;
    }
    if (body == NULL)
        reply_error(x, &err, NULL);
    return body;
}

/* ---- show ---- */

struct showing {
    struct exchange *x;
    struct inspection *inspection;
    struct store_model found;
    char *system_text, *template_text; /* of the request: instead of the model's; or NULL */
    bool verbose;
};

static void showing_free(void *ctx)
{
    struct showing *w = ctx;
    store_model_release(&w->found);
    free(w->system_text);
    free(w->template_text);
    free(w);
}

static void on_show_gone(struct exchange *x, void *ctx)
{
    struct showing *w = ctx;
    (void)x;
    inspection_cancel(w->inspection);
}

/* Not on the loop: a large vocabulary is tens of megabytes. */
static void write_shown(void *ctx, const json_t *frame, struct buf *out)
{
    const struct showing *w = ctx;
    const struct ollama_shown shown = {
        .name = w->found.name,
        .modified_ms = w->found.modified_ms,
        .template_text = w->template_text ? w->template_text : w->found.template_text,
        .system_text = w->system_text ? w->system_text : w->found.system_text,
        .license_text = w->found.license_text,
        .params_json = w->found.params_json,
        .messages_json = w->found.messages_json,
        .inspected = frame,
        .verbose = w->verbose,
    };
    ollama_write_show(&shown, out);
}

static void on_shown(void *ctx, struct buf *answer, const struct err *err)
{
    struct showing *w = ctx;
    ask_over(w->x);
    if (err->code != 0)
        reply_error(w->x, err, NULL);
    else
        reply_json(w->x, 200, answer);
}

/* A model of the library, or the file that is served under its path. */
static int find_shown(struct server *s, const char *name, struct store_model *ret, struct err *err)
{
    bool served = s->opts.model != NULL && strcmp(name, s->opts.model) == 0;
    if (model_source_of(name) != SOURCE_NAME && !served)
        return err_set_param(err, ERR_NOT_FOUND, "model", "model '%.200s' not found", name);
    int code = store_find(s->models.store, name, ret, err);
    if (code == ERR_INVALID)
        code = err_set_param(err, ERR_NOT_FOUND, "model", "model '%.200s' not found", name);
    return code;
}

void library_show(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct ollama_library_request r;
    json_t *body = read_body(x, OLLAMA_SHOW, false, &r);
    if (body == NULL)
        return;
    struct showing *w = mem_zero(1, sizeof *w);
    w->x = x;
    w->verbose = r.verbose;
    w->system_text = r.system_given ? str_dup(r.system) : NULL;
    w->template_text = r.template_given && r.template.len > 0 ? str_dup(r.template) : NULL;
    int code = find_shown(s, r.model.ptr, &w->found, &err);
    if (code == 0)
        code = ask_begin(s, x, &err); /* it starts a process */
    if (code != 0) {
        reply_error(x, &err, NULL);
        showing_free(w);
    } else {
        exchange_drop_body(x);
        exchange_on_gone(x, on_show_gone, w);
        w->inspection = inspection_start(s, w->found.path, w->found.n_path,
                                         &(struct inspection_job){.all = r.verbose,
                                                                  .write = write_shown,
                                                                  .answer_max = ANSWER_MAX,
                                                                  .answered = on_shown,
                                                                  .free_ctx = showing_free,
                                                                  .ctx = w});
    }
    ollama_library_release(&r);
    json_decref(body);
}

/* ---- copy, delete ---- */

struct change {
    struct models *models;
    char *from, *to; /* owned; to: of a copy; of a deletion: how the name is really written */
};

static struct change *change_new(struct server *s, struct str from, struct str to)
{
    struct change *c = mem_zero(1, sizeof *c);
    *c = (struct change){.models = &s->models, .from = str_dup(from), .to = str_dup(to)};
    return c;
}

static void change_free(void *ctx)
{
    struct change *c = ctx;
    free(c->from);
    free(c->to);
    free(c);
}

static int run_copy(struct errand *e, void *ctx, struct err *err)
{
    struct change *c = ctx;
    (void)e;
    return store_copy(c->models->store, c->from, c->to, err);
}

void library_copy(struct server *s, struct exchange *x)
{
    struct ollama_library_request r;
    json_t *body = read_body(x, OLLAMA_COPY, true, &r);
    if (body == NULL)
        return;
    errand_start(s, x,
                 &(struct errand_job){.run = run_copy,
                                      .free_ctx = change_free,
                                      .ctx = change_new(s, r.source, r.destination),
                                      .answer = ""});
    json_decref(body);
}

/* The packed weights and computed prefixes go with the model's last name. */
static int run_delete(struct errand *e, void *ctx, struct err *err)
{
    struct change *c = ctx;
    struct models *m = c->models;
    struct store_model found = {0};
    char key[PACK_CACHE_KEY_LEN + 1] = "";
    (void)e;
    /* A damaged model is removed all the same. */
    if (store_find(m->store, c->from, &found, NULL) != 0 ||
        pack_cache_key(found.path, found.n_path, key, NULL) != 0)
        key[0] = '\0';
    free(c->to);
    c->to = str_dup(str_z(found.name != NULL ? found.name : c->from));
    int code = store_remove(m->store, c->from, err);
    if (code == 0 && key[0] != '\0' && !fs_exists(found.path[0])) {
        if (m->pack_cache != NULL)
            pack_cache_remove(m->pack_cache, key);
        if (m->prefixes != NULL)
            prefix_store_remove(m->prefixes, key);
    }
    store_model_release(&found);
    return code;
}

/* It is not in the library any more: idle, it leaves the memory now; else when its requests are
 * done. What was refused is as it was. */
static void on_deleted(struct server *s, void *ctx, int code)
{
    struct change *c = ctx;
    if (code == 0 && models_unload(&s->models, c->from, NULL) != 0)
        (void)!models_unload(&s->models, c->to, NULL);
}

static void delete_model(struct server *s, struct exchange *x, const char *name, const char *answer)
{
    struct err err = {0};
    if (model_source_of(name) != SOURCE_NAME) {
        err_set_param(&err, ERR_NOT_FOUND, "model", "model '%.200s' not found", name);
        reply_error(x, &err, NULL);
        return;
    }
    errand_start(s, x,
                 &(struct errand_job){.run = run_delete,
                                      .then = on_deleted,
                                      .free_ctx = change_free,
                                      .ctx = change_new(s, str_z(name), STR("")),
                                      .answer = answer});
}

void library_delete(struct server *s, struct exchange *x)
{
    struct ollama_library_request r;
    json_t *body = read_body(x, OLLAMA_DELETE, true, &r);
    if (body == NULL)
        return;
    delete_model(s, x, r.model.ptr, "");
    json_decref(body);
}

void library_delete_named(struct server *s, struct exchange *x, const char *name)
{
    struct err err = {0};
    struct buf answer;
    if (check_right(x, &err) != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    buf_init(&answer, 900);
    buf_add_z(&answer, "{\"object\":\"model\",\"deleted\":true,\"id\":");
    json_write_string(str_z(name), &answer);
    buf_add_char(&answer, '}');
    if (answer.overflow) {
        err_set_param(&err, ERR_NOT_FOUND, "model", "there is no model of such a name");
        reply_error(x, &err, NULL);
    } else {
        delete_model(s, x, name, answer.ptr);
    }
    buf_release(&answer);
}

/* ---- pull, push ---- */

struct transfer {
    struct server *server;
    struct errand *errand;
    char *name; /* owned */
    bool insecure;
};

static void transfer_free(void *ctx)
{
    struct transfer *t = ctx;
    free(t->name);
    free(t);
}

/* Each blob was compared with its digest as it came; Ollama's clients wait for this line. */
static void on_pull(void *arg, const struct pull_event *p)
{
    struct transfer *t = arg;
    if (strcmp(p->status, "writing manifest") == 0)
        errand_tell(t->errand, "verifying sha256 digest", NULL, 0, 0);
    errand_tell(t->errand, p->status, p->digest, p->total, p->done);
}

static int run_pull(struct errand *e, void *ctx, struct err *err)
{
    struct transfer *t = ctx;
    char name[MODEL_NAME_TEXT_MAX];
    t->errand = e;
    const struct pull_opts o = {
        .source = t->name,
        .insecure = t->insecure,
        .progress = on_pull,
        .progress_arg = t,
        .stop = errand_stop(e),
    };
    return pull_run(t->server->models.store, &o, name, err);
}

static void on_push(void *arg, const struct push_event *p)
{
    struct transfer *t = arg;
    errand_tell(t->errand, p->status, p->digest, p->total, p->done);
}

static int run_push(struct errand *e, void *ctx, struct err *err)
{
    struct transfer *t = ctx;
    t->errand = e;
    const struct push_opts o = {
        .name = t->name,
        .insecure = t->insecure,
        .progress = on_push,
        .progress_arg = t,
        .stop = errand_stop(e),
    };
    return push_run(t->server->models.store, &o, err);
}

static void transfer(struct server *s, struct exchange *x, enum ollama_call call,
                     int (*run)(struct errand *e, void *ctx, struct err *err))
{
    struct err err = {0};
    struct ollama_library_request r;
    json_t *body = read_body(x, call, true, &r);
    if (body == NULL)
        return;
    if (model_source_of(r.model.ptr) != SOURCE_NAME) {
        err_set_param(&err, ERR_INVALID, "model",
                      "'%.200s' is not a model's name: files and addresses are pulled with 'hearth "
                      "pull' on the machine itself",
                      r.model.ptr);
        reply_error(x, &err, NULL);
    } else {
        struct transfer *t = mem_zero(1, sizeof *t);
        *t = (struct transfer){.server = s, .name = str_dup(r.model), .insecure = r.insecure};
        errand_start(s, x,
                     &(struct errand_job){
                         .run = run, .free_ctx = transfer_free, .ctx = t, .stream = r.stream});
    }
    json_decref(body);
}

void library_pull(struct server *s, struct exchange *x)
{
    transfer(s, x, OLLAMA_PULL, run_pull);
}

void library_push(struct server *s, struct exchange *x)
{
    transfer(s, x, OLLAMA_PUSH, run_push);
}

/* ---- what is ollama.com's ---- */

void library_account(struct server *s, struct exchange *x)
{
    struct err err = {0};
    (void)s;
    err_set(
        &err, ERR_NOT_FOUND,
        "there is no account here: %.60s is a service of ollama.com, and this server is Hearth, "
        "which works by itself",
        exchange_path(x));
    reply_error(x, &err, NULL);
}

/* ---- create ---- */

struct creation {
    struct server *server;
    struct exchange *x;
    struct inspection *inspection;
    struct errand *errand;
    struct store_create in;
    bool stream;
    const char *quantize; /* the type to make, or NULL */
    char *name, *from, *template_text, *system_text, *params, *messages;
    char **digest, **path, **license; /* [n_file], [n_file], [in.n_license] */
    int n_file;
    const char *made[1]; /* in place of the files: what was quantized of them */
    char made_digest[DIGEST_TEXT_LEN + 1];
    char family[32], size_word[16], file_type[32];
};

static void free_list(char **list, int n)
{
    for (int i = 0; list != NULL && i < n; i++)
        free(list[i]);
    free(list);
}

static void creation_free(void *ctx)
{
    struct creation *c = ctx;
    free_list(c->digest, c->n_file);
    free_list(c->path, c->n_file);
    free_list(c->license, c->in.n_license);
    free(c->name);
    free(c->from);
    free(c->template_text);
    free(c->system_text);
    free(c->params);
    free(c->messages);
    free(c);
}

static void on_step(void *ctx, const char *status)
{
    struct creation *c = ctx;
    errand_tell(c->errand, status, NULL, 0, 0);
}

static void on_base(void *arg, const struct pull_event *p)
{
    struct creation *c = arg;
    errand_tell(c->errand, p->status, p->digest, p->total, p->done);
}

/* The other model is pulled when it is not here, as Ollama does. */
static int fetch_base(struct creation *c, struct err *err)
{
    struct store_model found = {0};
    char name[MODEL_NAME_TEXT_MAX];
    int code = store_find(c->server->models.store, c->from, &found, err);
    store_model_release(&found);
    if (code != ERR_NOT_FOUND)
        return code;
    err_clear(err);
    const struct pull_opts o = {
        .source = c->from, .progress = on_base, .progress_arg = c, .stop = errand_stop(c->errand)};
    return pull_run(c->server->models.store, &o, name, err);
}

/* path: the model's files, those sent or those of the other model. */
static int work_on_files(struct creation *c, char *const *path, int n, const char *file_type,
                         struct err *err)
{
    int code = 0;
    if (c->template_text != NULL && store_template_is_go(str_z(c->template_text)))
        return 0; /* store_create says why not */
    if (c->template_text != NULL && c->template_text[0] != '\0')
        code = making_check_template(c->server, c->errand, path, n, c->template_text, err);
    if (code != 0 || c->quantize == NULL || strcmp(c->quantize, file_type) == 0)
        return code;
    code = making_quantize(c->server, c->errand, path, n, c->quantize, c->made_digest, err);
    c->made[0] = c->made_digest;
    c->in.digest = c->made;
    c->in.n_digest = 1;
    c->in.file_type = c->quantize;
    return code;
}

/* The library is held: what is made stays until it has its name. */
static int create_held(struct creation *c, struct err *err)
{
    struct store_model base = {0};
    int code = 0;
    if (c->n_file > 0)
        code = work_on_files(c, c->path, c->n_file, c->file_type, err);
    else if (c->from != NULL && (c->template_text != NULL || c->quantize != NULL))
        code = store_find(c->server->models.store, c->from, &base, err);
    if (code == 0 && base.n_path > 0)
        code = work_on_files(c, base.path, base.n_path, base.file_type, err);
    store_model_release(&base);
    if (code == 0)
        return store_create(c->server->models.store, &c->in, err);
    store_unhold(c->in.hold);
    return code;
}

static int run_create(struct errand *e, void *ctx, struct err *err)
{
    struct creation *c = ctx;
    c->errand = e;
    c->in.step = on_step;
    c->in.step_ctx = c;
    int code = c->from == NULL ? 0 : fetch_base(c, err);
    code = code != 0 ? code : store_hold(c->server->models.store, &c->in.hold, err);
    return code != 0 ? code : create_held(c, err);
}

static void start_create(struct creation *c)
{
    errand_start(c->server, c->x,
                 &(struct errand_job){
                     .run = run_create, .free_ctx = creation_free, .ctx = c, .stream = c->stream});
}

static void copy_word(const json_t *frame, const char *key, char *ret, size_t size)
{
    struct str text = json_str(json_object_get(frame, key));
    if (text.len < size && memchr(text.ptr, '\0', text.len) == NULL)
        memcpy(ret, text.ptr, text.len);
}

/* The files are a model's: its name may be given. */
static void on_inspected(void *ctx, const json_t *frame, const struct err *err)
{
    struct creation *c = ctx;
    if (frame == NULL) {
        struct err why = *err;
        if (why.code == ERR_CORRUPT || why.code == ERR_UNSUPPORTED)
            why.code = ERR_INVALID; /* the client's file, not one of ours */
        snprintf(why.param, sizeof why.param, "files");
        reply_error(c->x, &why, NULL);
        creation_free(c);
        return;
    }
    copy_word(frame, "arch", c->family, sizeof c->family);
    copy_word(frame, "file_type", c->file_type, sizeof c->file_type);
    store_size_word(json_integer_value(json_object_get(frame, "n_params")), c->size_word);
    c->in.family = c->family;
    c->in.size_word = c->size_word;
    c->in.file_type = c->file_type;
    start_create(c);
}

static void on_create_gone(struct exchange *x, void *ctx)
{
    struct creation *c = ctx;
    (void)x;
    inspection_cancel(c->inspection);
    creation_free(c);
}

static char *json_text(const json_t *value)
{
    struct buf text;
    if (value == NULL)
        return NULL;
    buf_init(&text, OLLAMA_TEXT_MAX);
    bool ok = json_write(value, &text);
    char *ret = ok ? buf_steal(&text) : NULL;
    buf_release(&text);
    return ret;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The parts in the order of their names: "x-00001-of-00003.gguf" first. */
static int take_files(struct creation *c, const json_t *files, struct err *err)
{
    const char *name, **names = mem_zero(json_object_size(files) + 1, sizeof *names);
    size_t n = 0;
    json_t *digest;
    json_object_foreach((json_t *)files, name, digest)
    {
        names[n++] = name;
    }
    qsort(names, n, sizeof *names, compare_names);
    c->digest = mem_zero(n + 1, sizeof(char *));
    c->path = mem_zero(n + 1, sizeof(char *));
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        struct str text = json_str(json_object_get(files, names[i]));
        if (!digest_valid(text)) {
            code = err_set_param(
                err, ERR_INVALID, "files",
                "'files': '%.80s' is no digest (sha256: and 64 hexadecimal digits)", text.ptr);
            continue;
        }
        const char *dir = store_blobs_dir(c->server->models.store);
        c->digest[c->n_file] = str_dup(text);
        c->path[c->n_file] = blob_path(dir, c->digest[c->n_file]);
        if (!blob_exists(dir, c->digest[c->n_file++], -1))
            code = err_set_param(err, ERR_INVALID, "files",
                                 "the blob of '%.80s' is not here: send it first (POST "
                                 "/api/blobs/%s)",
                                 names[i], text.ptr);
    }
    free(names);
    c->in.digest = (const char *const *)c->digest;
    c->in.n_digest = c->n_file;
    return code;
}

static void take_license(struct creation *c, const json_t *license)
{
    size_t n = license == NULL ? 0 : json_is_array(license) ? json_array_size(license) : 1;
    c->license = mem_zero(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        c->license[c->in.n_license++] =
            str_dup(json_str(json_is_array(license) ? json_array_get(license, i) : license));
    c->in.license = (const char *const *)c->license;
}

static int take_request(struct creation *c, const struct ollama_library_request *r, struct err *err)
{
    c->stream = r->stream;
    c->quantize = r->quantize;
    c->in.name = c->name = str_dup(r->model);
    c->in.from = c->from = r->from.len > 0 ? str_dup(r->from) : NULL;
    c->in.template_text = c->template_text = r->template_given ? str_dup(r->template) : NULL;
    c->in.system_text = c->system_text = r->system_given ? str_dup(r->system) : NULL;
    c->in.params_json = c->params = json_text(r->parameters);
    c->in.messages_json = c->messages = json_text(r->messages);
    take_license(c, r->license);
    if ((r->parameters != NULL && c->params == NULL) ||
        (r->messages != NULL && c->messages == NULL))
        return err_set(err, ERR_TOO_LARGE, "'parameters' or 'messages' are too large");
    struct model_name name; /* now, and not when the work is done */
    if (model_source_of(c->name) != SOURCE_NAME || model_name_parse(c->name, &name, err) != 0)
        return err_set_param(err, ERR_INVALID, "model", "'%.200s' is not a model name", c->name);
    if (r->files != NULL && c->from != NULL)
        return err_set_param(err, ERR_INVALID, "files", "'from' and 'files' exclude each other");
    if (c->from != NULL && model_source_of(c->from) != SOURCE_NAME)
        return err_set_param(err, ERR_INVALID, "from",
                             "'from' must be a model of the library; files are sent to /api/blobs "
                             "and named in 'files'");
    return r->files != NULL ? take_files(c, r->files, err) : 0;
}

void library_create(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct ollama_library_request r;
    json_t *body = read_body(x, OLLAMA_CREATE, true, &r);
    if (body == NULL)
        return;
    struct creation *c = mem_zero(1, sizeof *c);
    c->server = s;
    c->x = x;
    if (take_request(c, &r, &err) != 0) {
        reply_error(x, &err, NULL);
        creation_free(c);
    } else if (c->n_file == 0) {
        start_create(c);
    } else {
        exchange_drop_body(x);
        exchange_on_gone(x, on_create_gone, c);
        c->inspection = inspection_start(s, c->path, c->n_file,
                                         &(struct inspection_job){.fn = on_inspected, .ctx = c});
    }
    ollama_library_release(&r);
    json_decref(body);
}
