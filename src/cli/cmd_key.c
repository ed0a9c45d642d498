/*
 * cmd_key: `hearth key create NAME`, `list`, `revoke NAME`: who may use a server.
 */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/json.h"
#include "base/mem.h"
#include "store/key_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wish {
    const char *path;
    int priority, requests_max;
    int64_t tokens_per_minute;
    bool admin, as_json;
};

static const char details[] =
    "create NAME   makes a key and prints it: this is the only time that it can be seen\n"
    "list          names, priorities, rights and limits; never a key\n"
    "revoke NAME   from now on the key opens nothing\n"
    "A running server notices. Once the file of keys is there, every request needs one of them "
    "(or\n"
    "the server's --api-key), on this machine, too.";

static int create(const struct wish *w, const char *name, struct err *err)
{
    char text[KEY_TEXT_LEN + 1];
    struct key k = {.admin = w->admin,
                    .priority = w->priority,
                    .requests_max = w->requests_max,
                    .tokens_per_minute = w->tokens_per_minute};
    if (strlen(name) >= sizeof k.name)
        return err_set(err, ERR_INVALID, "a key's name has at most %d characters", KEY_NAME_MAX);
    strcpy(k.name, name);
    int code = key_file_create(w->path, &k, text, err);
    if (code != 0)
        return code;
    if (w->as_json)
        printf("{\"name\": \"%s\", \"key\": \"%s\"}\n", name, text);
    else
        printf("%s\n", text);
    return 0;
}

static void print_limit(int64_t n)
{
    if (n == 0)
        printf("  %10s", "-");
    else
        printf("  %10lld", (long long)n);
}

static void print_table(const struct key_file *f)
{
    char when[40];
    printf("%-24s  %-12s  %-6s  %10s  %10s  %s\n", "NAME", "PRIORITY", "RIGHTS", "AT ONCE",
           "TOKENS/MIN", "CREATED");
    for (int i = 0; i < f->n_key; i++) {
        const struct key *k = &f->key[i];
        printf("%-24s  %-12s  %-6s", k->name, key_priority_word(k->priority),
               k->admin ? "admin" : "-");
        print_limit(k->requests_max);
        print_limit(k->tokens_per_minute);
        progress_age(k->created_ms, when);
        printf("  %s\n", when);
    }
}

static void print_json(const struct key_file *f)
{
    json_t *all = json_array();
    for (int i = 0; i < f->n_key; i++) {
        const struct key *k = &f->key[i];
        json_t *one = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "name", k->name, "priority",
                                key_priority_word(k->priority), "tenant", (json_int_t)k->tenant,
                                "requests_max", (json_int_t)k->requests_max, "tokens_per_minute",
                                (json_int_t)k->tokens_per_minute, "created_ms",
                                (json_int_t)k->created_ms, "admin", (int)k->admin);
        json_array_append_new(all, one);
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int list(const struct wish *w, struct err *err)
{
    struct key_file f = {0};
    int code = key_file_read(w->path, &f, err);
    if (code == ERR_NOT_FOUND)
        code = 0; /* no keys: an empty list */
    if (code == 0 && w->as_json)
        print_json(&f);
    else if (code == 0)
        print_table(&f);
    key_file_release(&f);
    return code;
}

static int run(const struct wish *w, const struct args *args, struct err *err)
{
    const char *verb = args->word[0];
    if (strcmp(verb, "list") == 0 && args->n_word == 1)
        return list(w, err);
    if (strcmp(verb, "create") == 0 && args->n_word == 2)
        return create(w, args->word[1], err);
    if (strcmp(verb, "revoke") == 0 && args->n_word == 2) {
        int code = key_file_revoke(w->path, args->word[1], err);
        if (code == 0)
            printf("revoked %s\n", args->word[1]);
        return code;
    }
    return err_set_param(err, ERR_INVALID, "usage",
                         "it is 'hearth key create NAME', 'hearth key list' or 'hearth key revoke "
                         "NAME'");
}

int cmd_key(int argc, char **argv)
{
    struct wish w = {0};
    const struct arg_option option[] = {
        {"keys", 0, ARG_STR, "FILE", "the file of keys; unset: ~/.config/hearth/keys.json",
         &w.path},
        {"priority", 0, ARG_WORD, KEY_PRIORITY_WORDS, "class of the key's requests", &w.priority,
         .flag_only = true},
        {"requests-max", 0, ARG_INT, "N", "requests at once; 0: no limit", &w.requests_max,
         .flag_only = true},
        {"tokens-per-minute", 0, ARG_I64, "N", "prompts and answers together; 0: no limit",
         &w.tokens_per_minute, .flag_only = true},
        {"admin", 0, ARG_BOOL, NULL,
         "it may unload, keep, make, pull and remove models, and see all keys' use", &w.admin,
         .flag_only = true},
        {"json", 'j', ARG_BOOL, NULL, "as JSON", &w.as_json, .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "key",
        .usage = "create NAME | list | revoke NAME",
        .summary = "Make, list and revoke API keys",
        .details = details,
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = 2,
    };
    struct args args;
    struct err err = {0};
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    char *path = w.path == NULL ? key_file_path() : NULL;
    if (w.path == NULL)
        w.path = path;
    code = w.path == NULL
               ? err_set(&err, ERR_NOT_FOUND, "there is no home folder: name the file with --keys")
               : run(&w, &args, &err);
    args_release(&args);
    free(path);
    if (code != 0) {
        bool usage = str_eq_z(STR("usage"), err.param);
        return usage ? (cli_fail(&err), CLI_USAGE) : cli_fail(&err);
    }
    return cli_done();
}
