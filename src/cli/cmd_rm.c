/*
 * cmd_rm, cmd_cp: names in the library go, or get a second one.
 */
#include "cli/cli.h"

#include "base/fs.h"
#include "base/mem.h"
#include "engine/disk_index.h"
#include "kernels/pack.h"
#include "store/pack_cache.h"
#include "store/prefix_store.h"
#include "store/store.h"

#include <stdio.h>

/* The packed weights and computed prefixes go with the model's last name. */
static int remove_one(struct store *s, const struct pack_cache *c, const struct prefix_store *p,
                      const char *name, struct err *err)
{
    struct store_model found = {0};
    char key[PACK_CACHE_KEY_LEN + 1] = "";
    /* A damaged model is removed all the same. */
    if (c == NULL || p == NULL || model_source_of(name) != SOURCE_NAME ||
        store_find(s, name, &found, NULL) != 0 ||
        pack_cache_key(found.path, found.n_path, key, NULL) != 0)
        key[0] = '\0';
    int rc = store_remove(s, name, err);
    if (rc == 0 && key[0] != '\0' && !fs_exists(found.path[0])) {
        pack_cache_remove(c, key);
        prefix_store_remove(p, key);
    }
    store_model_release(&found);
    return rc;
}

int cmd_rm(int argc, char **argv)
{
    const char *models = NULL, *cache_dir = NULL;
    const struct arg_option option[] = {
        {"models", 0, ARG_STR, "DIR", "the library's folder", &models},
        {"cache-dir", 0, ARG_STR, "DIR", "the cache's folder", &cache_dir},
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
    struct pack_cache *cache = NULL;
    struct prefix_store *prefixes = NULL;
    struct err err = {0};
    int rc = store_open(models, &s, &err);
    if (rc == 0) {
        if (pack_cache_open(cache_dir, 0, PACK_VERSION, &cache, NULL) != 0)
            cache = NULL; /* no home: no cache either */
        if (prefix_store_open(cache_dir, 0, DISK_LAYOUT, NULL, &prefixes, NULL) != 0)
            prefixes = NULL;
        for (int i = 0; rc == 0 && i < args.n_word; i++) {
            rc = remove_one(s, cache, prefixes, args.word[i], &err);
            if (rc == 0)
                printf("removed %s\n", args.word[i]);
        }
        pack_cache_close(cache);
        prefix_store_close(prefixes);
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
