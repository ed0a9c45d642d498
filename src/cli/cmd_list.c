/*
 * cmd_list: the models in the library, as a table or as JSON.
 */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/json.h"
#include "base/mem.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_table(const struct store_model *list, int n)
{
    int width = 4;
    for (int i = 0; i < n; i++)
        if ((int)strlen(list[i].name) > width)
            width = (int)strlen(list[i].name);
    printf("%-*s  %-12s  %10s  %s\n", width, "NAME", "ID", "SIZE", "MODIFIED");
    for (int i = 0; i < n; i++) {
        char size[24], when[40];
        progress_size(list[i].bytes, size);
        progress_age(list[i].modified_ms, when);
        printf("%-*s  %.12s  %10s  %s\n", width, list[i].name, list[i].digest + strlen("sha256:"),
               size, when);
    }
}

static void print_json(const struct store_model *list, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++) {
        json_t *one = json_pack("{s:s, s:s, s:I, s:I}", "name", list[i].name, "digest",
                                list[i].digest, "size", (json_int_t)list[i].bytes, "modified_ms",
                                (json_int_t)list[i].modified_ms);
        json_array_append_new(all, one);
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

int cmd_list(int argc, char **argv)
{
    const char *models = NULL;
    bool as_json = false;
    const struct arg_option option[] = {
        {"json", 'j', ARG_BOOL, NULL, "as JSON", &as_json, .flag_only = true},
        {"models", 0, ARG_STR, "DIR", "the library's folder", &models},
    };
    const struct args_spec spec = {
        .command = "list",
        .usage = "",
        .summary = "List the models in the library",
        .option = option,
        .n_option = ARRAY_LEN(option),
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct store *s;
    struct err err = {0};
    struct store_model *list = NULL;
    int n = 0;
    int rc = store_open(models, &s, &err);
    if (rc == 0) {
        rc = store_list(s, &list, &n, &err);
        store_close(s);
    }
    args_release(&args);
    if (rc != 0)
        return cli_fail(&err);
    if (as_json)
        print_json(list, n);
    else
        print_table(list, n);
    store_list_free(list, n);
    return cli_done();
}
