/*
 * cmd_rm, cmd_cp: names in the library go, or get a second one.
 */
#include "cli/cli.h"

#include "base/mem.h"
#include "store/store.h"

#include <stdio.h>

int cmd_rm(int argc, char **argv)
{
    const char *models = NULL;
    const struct arg_option option[] = {
        {"models", 0, ARG_STR, "DIR", "the library's folder", &models},
    };
    const struct args_spec spec = {
        .command = "rm",
        .usage = "MODEL...",
        .summary = "Remove models from the library",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 1,
        .n_word_max = -1,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct store *s;
    struct err err = {0};
    int rc = store_open(models, &s, &err);
    if (rc == 0) {
        for (int i = 0; rc == 0 && i < args.n_word; i++) {
            rc = store_remove(s, args.word[i], &err);
            if (rc == 0)
                printf("removed %s\n", args.word[i]);
        }
        store_close(s);
    }
    args_release(&args);
    return rc != 0 ? cli_fail(&err) : cli_done();
}

int cmd_cp(int argc, char **argv)
{
    const char *models = NULL;
    const struct arg_option option[] = {
        {"models", 0, ARG_STR, "DIR", "the library's folder", &models},
    };
    const struct args_spec spec = {
        .command = "cp",
        .usage = "MODEL NAME",
        .summary = "Give a model a second name",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 2,
        .n_word_max = 2,
    };
    struct args args;
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    struct store *s;
    struct err err = {0};
    int rc = store_open(models, &s, &err);
    if (rc == 0) {
        rc = store_copy(s, args.word[0], args.word[1], &err);
        store_close(s);
    }
    if (rc == 0)
        printf("%s is also %s\n", args.word[0], args.word[1]);
    args_release(&args);
    return rc != 0 ? cli_fail(&err) : cli_done();
}
