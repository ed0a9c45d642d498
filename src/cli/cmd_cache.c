/*
 * cmd_cache: what the cache holds (packed weights, computed prefixes), and how to empty it. All of
 * it can be made again: nothing is lost but time.
 */
#include "cli/cli.h"
#include "cli/progress.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/disk_index.h"
#include "kernels/pack.h"
#include "store/pack_cache.h"
#include "store/prefix_store.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    struct pack_cache_file file;
    const char *kind;               /* "weights", "prefixes" */
    int layout;                     /* of this program */
    char name[MODEL_NAME_TEXT_MAX]; /* of the library's model, or "" */
};

struct caches {
    struct pack_cache *pack;
    struct prefix_store *prefix;
};

/* Names of the library for the files; a model that is used by its path has none. */
static int name_rows(struct row *row, int n, struct err *err)
{
    struct store *s;
    struct store_model *list = NULL;
    int n_models = 0;
    int rc = store_open(NULL, &s, err);
    if (rc != 0)
        return rc;
    rc = store_list(s, &list, &n_models, err);
    store_close(s);
    for (int i = 0; rc == 0 && i < n_models; i++) {
        char key[PACK_CACHE_KEY_LEN + 1];
        if (pack_cache_key(list[i].path, list[i].n_path, key, NULL) != 0)
            continue;
        for (int j = 0; j < n; j++)
            if (strcmp(row[j].file.key, key) == 0 && row[j].name[0] == '\0')
                snprintf(row[j].name, sizeof(row[j].name), "%s", list[i].name);
    }
    store_list_free(list, n_models);
    return rc;
}

static const char *state_of(const struct row *r)
{
    const struct pack_cache_file *f = &r->file;
    if (f->unfinished)
        return f->in_use ? "being made" : "unfinished";
    if (f->in_use)
        return "in use";
    return f->layout == r->layout ? "" : "another version's";
}

static void print_sum(const struct row *row, int n, const char *kind, const char *text,
                      const char *dir)
{
    int64_t bytes = 0;
    char size[24];
    for (int i = 0; i < n; i++)
        if (strcmp(row[i].kind, kind) == 0)
            bytes += row[i].file.bytes;
    progress_size(bytes, size);
    printf("%s of %s in %s\n", size, text, dir);
}

static void print_table(const struct caches *c, const struct row *row, int n)
{
    int width = 4;
    char size[24], when[40];
    for (int i = 0; i < n; i++)
        if ((int)strlen(row[i].name) > width)
            width = (int)strlen(row[i].name);
    printf("%-*s  %-8s  %-12s  %10s  %-14s  %s\n", width, "NAME", "KIND", "KEY", "SIZE", "USED",
           "STATE");
    for (int i = 0; i < n; i++) {
        const struct pack_cache_file *f = &row[i].file;
        progress_size(f->bytes, size);
        progress_age(f->used_ms, when);
        printf("%-*s  %-8s  %.12s  %10s  %-14s  %s\n", width,
               row[i].name[0] != '\0' ? row[i].name : "-", row[i].kind, f->key, size, when,
               state_of(&row[i]));
    }
    print_sum(row, n, "weights", "packed weights", c->pack->dir);
    print_sum(row, n, "prefixes", "computed prefixes", c->prefix->dir);
}

static void print_json(const struct row *row, int n)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++) {
        const struct pack_cache_file *f = &row[i].file;
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:b, s:b}", "name",
                                             row[i].name, "kind", row[i].kind, "key", f->key,
                                             "layout", f->layout, "size", (json_int_t)f->bytes,
                                             "used_ms", (json_int_t)f->used_ms, "in_use", f->in_use,
                                             "unfinished", f->unfinished));
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int collect(const struct caches *c, struct row **ret, int *ret_n, struct err *err)
{
    struct pack_cache_file *packed = NULL;
    struct prefix_file *prefix = NULL;
    int n_packed = 0, n_prefix = 0;
    int rc = pack_cache_list(c->pack, &packed, &n_packed, err);
    rc = rc != 0 ? rc : prefix_store_list(c->prefix, &prefix, &n_prefix, err);
    if (rc != 0) {
        free(packed);
        return rc;
    }
    struct row *row = mem_zero((size_t)n_packed + (size_t)n_prefix + 1, sizeof(*row)), *at = row;
    for (int i = 0; i < n_packed; i++)
        *at++ = (struct row){.file = packed[i], .kind = "weights", .layout = PACK_VERSION};
    for (int i = 0; i < n_prefix; i++, at++) {
        *at = (struct row){.kind = "prefixes", .layout = DISK_LAYOUT};
        memcpy(at->file.key, prefix[i].key, sizeof(at->file.key));
        at->file.layout = prefix[i].layout;
        at->file.in_use = prefix[i].in_use;
        at->file.bytes = prefix[i].bytes;
        at->file.used_ms = prefix[i].used_ms;
    }
    free(packed);
    free(prefix);
    *ret = row;
    *ret_n = n_packed + n_prefix;
    return 0;
}

static int show(const struct caches *c, bool as_json, struct err *err)
{
    struct row *row;
    int n;
    int rc = collect(c, &row, &n, err);
    if (rc != 0)
        return rc;
    rc = n > 0 ? name_rows(row, n, err) : 0;
    if (rc == 0 && as_json)
        print_json(row, n);
    else if (rc == 0)
        print_table(c, row, n);
    free(row);
    return rc;
}

int cmd_cache(int argc, char **argv)
{
    const char *dir = NULL;
    bool as_json = false, clear = false;
    const struct arg_option option[] = {
        {"cache-dir", 0, ARG_STR, "DIR", "the cache's folder", &dir},
        {"json", 'j', ARG_BOOL, NULL, "as JSON", &as_json, .flag_only = true},
        {"clear", 0, ARG_BOOL, NULL, "remove all that is not in use", &clear, .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "cache",
        .usage = "",
        .summary = "Show what the cache of packed weights and prefixes holds, or empty it",
        .option = option,
        .n_option = ARRAY_LEN(option),
    };
    struct args args;
    struct caches c = {0};
    struct err err = {0};
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    int rc = pack_cache_open(dir, 0, PACK_VERSION, &c.pack, &err);
    rc = rc != 0 ? rc : prefix_store_open(dir, 0, DISK_LAYOUT, NULL, &c.prefix, &err);
    args_release(&args);
    if (rc != 0) {
        pack_cache_close(c.pack);
        return cli_fail(&err);
    }
    if (clear) {
        char size[24];
        progress_size(pack_cache_remove(c.pack, NULL) + prefix_store_remove(c.prefix, NULL), size);
        printf("removed %s\n", size);
    } else {
        rc = show(&c, as_json, &err);
    }
    pack_cache_close(c.pack);
    prefix_store_close(c.prefix);
    return rc != 0 ? cli_fail(&err) : cli_done();
}
