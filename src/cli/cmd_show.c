/*
 * cmd_show: what is inside a model of the library or a GGUF file.
 */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/open_gguf.h"
#include "cli/show_gguf.h"

#include <stdlib.h>
#include <unistd.h>

struct choice {
    bool metadata, tensors, template, license, system, json;
};

/* A section of the library's own texts, or nothing. */
static void section(const char *title, const char *text)
{
    if (text == NULL)
        return;
    printf("\n%s\n", title);
    struct str rest = str_z(text), line;
    while (str_split(&rest, '\n', &line)) {
        fputs("  ", stdout);
        show_text(line, stdout);
        putchar('\n');
    }
}

/* One text alone: as it is into a pipe, made harmless for a terminal. */
static int only_text(const char *what, struct str text, const char *name)
{
    struct err err;
    if (text.len == 0) {
        err_set(&err, ERR_NOT_FOUND, "%s has no %s", name, what);
        return cli_fail(&err);
    }
    if (isatty(STDOUT_FILENO) == 1) {
        show_text(text, stdout);
        if (text.ptr[text.len - 1] != '\n')
            putchar('\n');
    } else {
        fwrite(text.ptr, 1, text.len, stdout);
    }
    return cli_done();
}

/* The library's template layer comes before the file's own. */
static struct str template_of(const struct gguf *g, const struct store_model *found)
{
    struct str text = str_z(found->template_text);
    if (text.len == 0 && gguf_get_str(g, "tokenizer.chat_template", &text, NULL) != 0)
        text = STR("");
    return text;
}

static int show(const struct gguf *g, const struct store_model *found, const struct choice *c)
{
    if (c->template)
        return only_text("chat template", template_of(g, found), found->name);
    if (c->license)
        return only_text("license text", str_z(found->license_text), found->name);
    if (c->system)
        return only_text("system text", str_z(found->system_text), found->name);
    if (c->json) {
        show_gguf_json(g, stdout);
        return cli_done();
    }
    if (!c->metadata && !c->tensors) {
        show_gguf_summary(g, stdout);
        for (int i = 0; i < found->n_path; i++) {
            printf("  %-18s ", i == 0 ? "path" : "");
            show_text(str_z(found->path[i]), stdout);
            putchar('\n');
        }
        section("Parameters", found->params_json);
        section("System", found->system_text);
    }
    if (c->metadata)
        show_gguf_metadata(g, stdout);
    if (c->metadata && c->tensors)
        putchar('\n');
    if (c->tensors)
        show_gguf_tensors(g, stdout);
    return cli_done();
}

int cmd_show(int argc, char **argv)
{
    struct choice c = {0};
    const struct arg_option option[] = {
        {"metadata", 'm', ARG_BOOL, NULL, "list every key of the file", &c.metadata,
         .flag_only = true},
        {"tensors", 't', ARG_BOOL, NULL, "list every tensor", &c.tensors, .flag_only = true},
        {"template", 0, ARG_BOOL, NULL, "only the chat template", &c.template, .flag_only = true},
        {"license", 0, ARG_BOOL, NULL, "only the license", &c.license, .flag_only = true},
        {"system", 0, ARG_BOOL, NULL, "only the system text", &c.system, .flag_only = true},
        {"json", 0, ARG_BOOL, NULL, "keys and tensors as JSON", &c.json, .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "show",
        .usage = "MODEL|FILE.gguf",
        .summary = "Show what is inside a model",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct gguf *g;
    struct store_model found = {0};
    struct err err;
    if (cli_gguf_open(args.word[0], &g, &found, &err) != 0) {
        args_release(&args);
        return cli_fail(&err);
    }
    args_release(&args);
    code = show(g, &found, &c);
    store_model_release(&found);
    gguf_free(g);
    return code;
}
