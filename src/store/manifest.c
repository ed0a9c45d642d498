/*
 * manifest: see manifest.h. Owns the JSON of manifests; touches no file.
 */
#include "store/manifest.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static int parse_layer(const json_t *obj, struct manifest_layer *ret, struct err *err)
{
    struct str media = STR(""), digest = STR("");
    int64_t size = -1;
    if (!json_is_object(obj))
        return err_set(err, ERR_CORRUPT, "a layer is not an object");
    if (json_get_str(obj, "mediaType", &media, err) != 0 ||
        json_get_str(obj, "digest", &digest, err) != 0 ||
        json_get_i64(obj, "size", 0, MANIFEST_SIZE_MAX, &size, err) != 0)
        return ERR_CORRUPT;
    if (media.len >= sizeof(ret->media_type) || memchr(media.ptr, '\0', media.len) != NULL)
        return err_set(err, ERR_CORRUPT, "a layer's mediaType is damaged");
    if (!digest_valid(digest))
        return err_set(err, ERR_CORRUPT, "a layer's digest is not sha256 and 64 hex digits");
    if (size < 0)
        return err_set(err, ERR_CORRUPT, "a layer has no size");
    *ret = (struct manifest_layer){.size = size};
    memcpy(ret->media_type, media.ptr, media.len);
    memcpy(ret->digest, digest.ptr, digest.len);
    return 0;
}

static int add(struct manifest *m, const struct manifest_layer *layer, struct err *err)
{
    if (!mem_grow((void **)&m->layer, &m->cap_layer, m->n_layer + 1, MANIFEST_LAYERS_MAX,
                  sizeof(*m->layer)))
        return err_set(err, ERR_LIMIT, "more than %d layers", MANIFEST_LAYERS_MAX);
    m->layer[m->n_layer++] = *layer;
    m->total_bytes += layer->size; /* at most 2^13 * 2^46: no overflow */
    if (strcmp(layer->media_type, MEDIA_MODEL) == 0)
        m->model_bytes += layer->size;
    return 0;
}

static int parse_object(const json_t *top, struct manifest *m, struct err *err)
{
    const json_t *config = json_object_get(top, "config");
    if (config != NULL && !json_is_null(config)) {
        const json_t *digest = json_object_get(config, "digest");
        if (json_str(digest).len > 0) {
            int rc = parse_layer(config, &m->config, err);
            if (rc != 0)
                return rc;
            m->total_bytes += m->config.size;
        }
    }
    const json_t *layers = json_object_get(top, "layers");
    if (!json_is_array(layers))
        return err_set(err, ERR_CORRUPT, "there is no list of layers");
    size_t i;
    const json_t *value;
    json_array_foreach(layers, i, value)
    {
        struct manifest_layer layer;
        int rc = parse_layer(value, &layer, err);
        if (rc == 0)
            rc = add(m, &layer, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int manifest_parse(struct str text, struct manifest *ret, struct err *err)
{
    if (text.len > MANIFEST_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "the manifest is larger than %d MiB",
                       MANIFEST_BYTES_MAX >> 20);
    json_t *top = json_parse(text, 8, err);
    if (top == NULL)
        return err_wrap(err, "the manifest is not JSON");
    struct manifest m = {0};
    int rc = parse_object(top, &m, err);
    json_decref(top);
    if (rc != 0) {
        manifest_release(&m);
        return err_wrap(err, "the manifest is damaged");
    }
    *ret = m;
    return 0;
}

void manifest_release(struct manifest *m)
{
    free(m->layer);
    *m = (struct manifest){0};
}

int manifest_add(struct manifest *m, const char *media_type, const char *digest, int64_t size,
                 struct err *err)
{
    struct manifest_layer layer = {.size = size};
    if (strlen(media_type) >= sizeof(layer.media_type) || !digest_valid(str_z(digest)) ||
        size < 0 || size > MANIFEST_SIZE_MAX)
        return err_set(err, ERR_INVALID, "'%s' cannot be a layer", digest);
    memcpy(layer.media_type, media_type, strlen(media_type));
    memcpy(layer.digest, digest, DIGEST_TEXT_LEN);
    if (strcmp(media_type, MEDIA_CONFIG) != 0)
        return add(m, &layer, err);
    m->config = layer;
    m->total_bytes += size;
    return 0;
}

static void write_layer(const struct manifest_layer *layer, struct buf *out)
{
    buf_add_z(out, "{\"mediaType\":");
    json_write_string(str_z(layer->media_type), out);
    buf_printf(out, ",\"digest\":\"%s\",\"size\":%lld}", layer->digest, (long long)layer->size);
}

bool manifest_write(const struct manifest *m, struct buf *out)
{
    buf_add_z(out, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_MANIFEST "\",\"config\":");
    write_layer(&m->config, out);
    buf_add_z(out, ",\"layers\":[");
    for (size_t i = 0; i < m->n_layer; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_layer(&m->layer[i], out);
    }
    buf_add_z(out, "]}");
    return !out->overflow;
}

const struct manifest_layer *manifest_find(const struct manifest *m, const char *media_type)
{
    for (size_t i = 0; i < m->n_layer; i++)
        if (strcmp(m->layer[i].media_type, media_type) == 0)
            return &m->layer[i];
    return NULL;
}

bool manifest_names(const struct manifest *m, const char *digest)
{
    if (strcmp(m->config.digest, digest) == 0)
        return true;
    for (size_t i = 0; i < m->n_layer; i++)
        if (strcmp(m->layer[i].digest, digest) == 0)
            return true;
    return false;
}
