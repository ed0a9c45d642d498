/*
 * open_gguf: see open_gguf.h.
 */
#include "cli/open_gguf.h"

#include "base/mem.h"

/* A path needs no library, and must not make one. */
static int find(const char *name, struct store_model *ret, struct err *err)
{
    struct store *store;
    if (model_source_of(name) == SOURCE_PATH && name[0] != '~') {
        *ret = (struct store_model){.name = str_dup(str_z(name)), .digest = str_dup(STR(""))};
        return gguf_split_paths(name, &ret->path, &ret->n_path, err);
    }
    int rc = store_open(NULL, &store, err);
    if (rc != 0)
        return rc;
    rc = store_find(store, name, ret, err);
    store_close(store);
    return rc;
}

int cli_gguf_open(const char *name, struct gguf **ret, struct store_model *ret_found,
                  struct err *err)
{
    struct store_model found = {0};
    int rc = find(name, &found, err);
    if (rc == 0)
        rc = gguf_open_paths((const char *const *)found.path, found.n_path, ret, err);
    if (rc == 0 && ret_found != NULL)
        *ret_found = found;
    else
        store_model_release(&found);
    return rc;
}
