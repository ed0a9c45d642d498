/*
 * cmd_render: a chat template and a JSON object of variables to the prompt's text, byte for byte.
 *
 * With --chat the object is a request as the server gets it, put before the template as the server
 * does (text/chat). With --batch each line of input is one rendering and answered by one line.
 */
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/open_gguf.h"
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX  ((size_t)1 << 30)
#define OUTPUT_MAX ((size_t)64 << 20)

struct options {
    bool chat, batch;
    int64_t steps, now;
};

struct source {
    struct buf text, bos, eos;
};

static void source_init(struct source *s)
{
    buf_init(&s->text, (size_t)4 << 20);
    buf_init(&s->bos, 1 << 16);
    buf_init(&s->eos, 1 << 16);
}

static void source_release(struct source *s)
{
    buf_release(&s->text);
    buf_release(&s->bos);
    buf_release(&s->eos);
}

/* The text of the token whose id a key holds; empty when there is none. */
static void token_text(const struct gguf *g, const char *key, struct buf *out)
{
    const struct gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    uint64_t id = UINT64_MAX;
    if (gguf_get_u64(g, key, 0, UINT32_MAX, &id, NULL) != 0 || !tokens || id >= tokens->n ||
        !tokens->strings)
        return;
    buf_add_str(out, tokens->strings[id]);
}

static int source_of_model(const char *name, struct source *s, struct err *err)
{
    struct gguf *g;
    struct store_model found = {0};
    struct str text = STR("");
    int rc = cli_gguf_open(name, &g, &found, err);
    if (rc != 0)
        return rc;
    if (found.template_text)
        text = str_z(found.template_text);
    else
        rc = gguf_get_str(g, "tokenizer.chat_template", &text, err);
    if (rc == 0 && !buf_add_str(&s->text, text))
        rc = err_set(err, ERR_TOO_LARGE, "%s: its chat template is too large", name);
    token_text(g, "tokenizer.ggml.bos_token_id", &s->bos);
    token_text(g, "tokenizer.ggml.eos_token_id", &s->eos);
    store_model_release(&found);
    gguf_free(g);
    return rc;
}

static int source_load(const char *name, struct source *s, struct err *err)
{
    struct str n = str_z(name);
    if (str_ends(n, STR(".jinja")) || str_ends(n, STR(".j2")))
        return fs_read(name, &s->text, err);
    return source_of_model(name, s, err);
}

/* Renders one template with one object; the template is compiled anew each time. */
static int render_one(const struct options *o, struct str template, struct str bos, struct str eos,
                      json_t *vars, struct buf *out, struct err *err)
{
    struct jinja_limits limits = jinja_limits_default();
    struct jinja *t;
    struct chat *c;
    int rc;
    if (o->chat) {
        rc = chat_new(template, bos, eos, &c, err);
        if (rc == 0) {
            rc = chat_render(c, vars, out, err);
            chat_free(c);
        }
        return rc;
    }
    if (o->steps > 0)
        limits.steps_max = (uint64_t)o->steps;
    limits.now_unix = o->now;
    if (bos.len && !json_object_get(vars, "bos_token"))
        json_object_set_new(vars, "bos_token", json_stringn(bos.ptr, bos.len));
    if (eos.len && !json_object_get(vars, "eos_token"))
        json_object_set_new(vars, "eos_token", json_stringn(eos.ptr, eos.len));
    rc = jinja_compile(template, &t, err);
    if (rc == 0) {
        rc = jinja_render(t, vars, &limits, out, err);
        jinja_free(t);
    }
    return rc;
}

static int run_single(const struct options *o, const struct source *s, struct str input,
                      struct err *err)
{
    struct buf out;
    json_t *vars = json_parse(input, JSON_DEPTH_MAX, err);
    if (!vars)
        return err_wrap(err, "standard input");
    buf_init(&out, OUTPUT_MAX);
    int rc = render_one(o, buf_str(&s->text), buf_str(&s->bos), buf_str(&s->eos), vars, &out, err);
    if (rc == 0)
        fwrite(out.ptr, 1, out.len, stdout);
    buf_release(&out);
    json_decref(vars);
    return rc;
}

/* {"template", "vars"} to {"ok": text} or {"error": text}. */
static int batch_line(const struct options *o, const struct source *s, struct str line,
                      struct err *err)
{
    struct buf out, answer;
    struct err failed = {0};
    json_t *job = json_parse(line, JSON_DEPTH_MAX, err);
    if (!job)
        return err_wrap(err, "a line of standard input");
    struct str template = json_str(json_object_get(job, "template"));
    if (!json_object_get(job, "template"))
        template = buf_str(&s->text);
    buf_init(&out, OUTPUT_MAX);
    buf_init(&answer, OUTPUT_MAX * 7);
    int rc = render_one(o, template, buf_str(&s->bos), buf_str(&s->eos),
                        json_object_get(job, "vars"), &out, &failed);
    buf_add_z(&answer, rc == 0 ? "{\"ok\": " : "{\"error\": ");
    json_write_string(rc == 0 ? buf_str(&out) : str_z(failed.text), &answer);
    buf_add_z(&answer, "}\n");
    fwrite(answer.ptr, 1, answer.len, stdout);
    buf_release(&out);
    buf_release(&answer);
    json_decref(job);
    return 0;
}

static int run_batch(const struct options *o, const struct source *s, struct str input,
                     struct err *err)
{
    struct str line;
    int rc = 0;
    while (rc == 0 && str_split(&input, '\n', &line))
        if (line.len)
            rc = batch_line(o, s, line, err);
    return rc;
}

static const char DETAILS[] =
    "Reads a JSON object of template variables from standard input and writes the rendered "
    "prompt.\n"
    "A model's own bos_token and eos_token are added where the object has none. Chat templates "
    "are\n"
    "rendered as Jinja2 does in the sandbox of Hugging Face transformers.\n"
    "\n"
    "With --batch each line is {\"vars\": {...}, \"template\": \"...\"} (template: instead of the\n"
    "model's) and is answered by a line {\"ok\": \"text\"} or {\"error\": \"reason\"}.\n";

int cmd_render(int argc, char **argv)
{
    struct options o = {0};
    const struct arg_option option[] = {
        {"chat", 0, ARG_BOOL, NULL, "the object is a request: adapt its messages as serve does",
         &o.chat, .flag_only = true},
        {"batch", 0, ARG_BOOL, NULL, "many renderings, one per line", &o.batch, .flag_only = true},
        {"steps", 0, ARG_I64, "N", "give up after so many steps", &o.steps, 1, INT64_MAX, true},
        {"now", 0, ARG_I64, "SECONDS", "the time that strftime_now sees, in seconds since 1970",
         &o.now, 1, 253402300799, true},
    };
    const struct args_spec spec = {
        .command = "render",
        .usage = "[MODEL|FILE.gguf|FILE.jinja]",
        .summary = "Render a chat template with the variables on standard input",
        .details = DETAILS,
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 0,
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct err err = {0};
    struct source source;
    struct buf in;
    source_init(&source);
    buf_init(&in, INPUT_MAX);
    int rc = 0;
    if (args.n_word == 1)
        rc = source_load(args.word[0], &source, &err);
    else if (!o.batch)
        rc = err_set(&err, ERR_INVALID, "render needs a model or a template file (see --help)");
    if (rc == 0)
        rc = input_read(&in, NULL, &err);
    if (rc == 0)
        rc = o.batch ? run_batch(&o, &source, buf_str(&in), &err)
                     : run_single(&o, &source, buf_str(&in), &err);
    buf_release(&in);
    source_release(&source);
    args_release(&args);
    if (rc != 0) {
        fflush(stdout);
        return cli_fail(&err);
    }
    return cli_done();
}
