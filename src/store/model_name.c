/*
 * model_name: see model_name.h. Owns the grammar of names. Touches no file.
 */
#include "store/model_name.h"

#include <stdio.h>
#include <string.h>

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool part_valid(struct str part, size_t max, const char *extra)
{
    if (part.len == 0 || part.len > max || !(is_alnum(part.ptr[0]) || part.ptr[0] == '_'))
        return false;
    for (size_t i = 0; i < part.len; i++)
        if (part.ptr[i] == '\0' || !(is_alnum(part.ptr[i]) || strchr(extra, part.ptr[i]) != NULL))
            return false;
    return true;
}

enum model_source model_source_of(const char *text)
{
    struct str s = str_z(text);
    if (str_starts(s, STR("http://")) || str_starts(s, STR("https://")))
        return SOURCE_URL;
    if (str_starts(s, STR("pypi:")))
        return SOURCE_PYTHON;
    if (s.len > 0 && (s.ptr[0] == '/' || s.ptr[0] == '~' || s.ptr[0] == '.'))
        return SOURCE_PATH;
    if (s.len > 5 && str_eq_nocase(str_from(s, s.len - 5), STR(".gguf")))
        return SOURCE_PATH;
    return SOURCE_NAME;
}

static int take_part(struct str part, const char *what, size_t max, const char *extra, char *ret,
                     struct str whole, struct err *err)
{
    if (!part_valid(part, max, extra))
        return err_set_param(err, ERR_INVALID, "model",
                             "'%.*s' is not a model name: the %s '%.*s' is empty, too long or has "
                             "characters other than letters, digits and %s",
                             STR_ARG(str_sub(whole, 0, 200)), what, STR_ARG(str_sub(part, 0, 80)),
                             extra);
    memcpy(ret, part.ptr, part.len);
    ret[part.len] = '\0';
    return 0;
}

int model_name_parse(const char *text, struct model_name *ret, struct err *err)
{
    struct str whole = str_z(text);
    if (whole.len == 0)
        return err_set_param(err, ERR_INVALID, "model", "the model's name is empty");
    struct str rest = whole;
    struct str tag = STR(MODEL_NAME_TAG);
    ptrdiff_t colon = str_rchr(rest, ':');
    if (colon >= 0 && colon > str_rchr(rest, '/')) {
        tag = str_from(rest, (size_t)colon + 1);
        rest = str_sub(rest, 0, (size_t)colon);
    }
    struct str part[3];
    int n = 0;
    struct str piece;
    while (str_split(&rest, '/', &piece)) {
        if (n == 3)
            return err_set_param(err, ERR_INVALID, "model",
                                 "'%.*s' is not a model name: more than host/owner/model",
                                 STR_ARG(str_sub(whole, 0, 200)));
        part[n++] = piece;
    }
    struct str host = n == 3 ? part[0] : STR(MODEL_NAME_HOST);
    if (str_eq_nocase(host, STR("huggingface.co")) || str_eq_nocase(host, STR("hf.co")))
        host = STR("hf.co");
    struct str space = n >= 2 ? part[n - 2] : STR(MODEL_NAME_SPACE);
    struct model_name name;
    int rc = take_part(host, "host", MODEL_NAME_HOST_MAX, "-_.:", name.host, whole, err);
    if (rc == 0)
        rc = take_part(space, "owner", MODEL_NAME_PART_MAX, "-_.", name.space, whole, err);
    if (rc == 0)
        rc = take_part(part[n - 1], "model", MODEL_NAME_PART_MAX, "-_.", name.model, whole, err);
    if (rc == 0)
        rc = take_part(tag, "tag", MODEL_NAME_PART_MAX, "-_.", name.tag, whole, err);
    if (rc == 0)
        *ret = name;
    return rc;
}

void model_name_text(const struct model_name *n, char ret[MODEL_NAME_TEXT_MAX])
{
    bool host = strcmp(n->host, MODEL_NAME_HOST) != 0;
    bool space = host || strcmp(n->space, MODEL_NAME_SPACE) != 0;
    snprintf(ret, MODEL_NAME_TEXT_MAX, "%s%s%s%s%s:%s", host ? n->host : "", host ? "/" : "",
             space ? n->space : "", space ? "/" : "", n->model, n->tag);
}

void model_name_path(const struct model_name *n, char ret[MODEL_NAME_TEXT_MAX])
{
    snprintf(ret, MODEL_NAME_TEXT_MAX, "%s/%s/%s/%s", n->host, n->space, n->model, n->tag);
}

bool model_name_eq_nocase(const struct model_name *a, const struct model_name *b)
{
    return str_eq_nocase(str_z(a->host), str_z(b->host)) &&
           str_eq_nocase(str_z(a->space), str_z(b->space)) &&
           str_eq_nocase(str_z(a->model), str_z(b->model)) &&
           str_eq_nocase(str_z(a->tag), str_z(b->tag));
}

/* "-00001-of-00003" at the end of a stem is no part of the model's name. */
static struct str without_split(struct str stem)
{
    if (stem.len <= 15)
        return stem;
    struct str tail = str_from(stem, stem.len - 15);
    for (size_t i = 0; i < 15; i++) {
        bool digit = (i >= 1 && i <= 5) || i >= 10;
        if (digit ? !(tail.ptr[i] >= '0' && tail.ptr[i] <= '9') : tail.ptr[i] != "-00000-of-"[i])
            return stem;
    }
    return str_sub(stem, 0, stem.len - 15);
}

/* Where the quantization begins in "Model-Q4_K_M" or "model.q8_0"; -1 when there is none. */
static ptrdiff_t quant_at(struct str stem)
{
    static const char *const kind[] = {"q", "iq", "f16", "f32", "bf16", "mxfp4", "tq", "fp16"};
    for (size_t i = stem.len; i-- > 1;) {
        if (stem.ptr[i - 1] != '-' && stem.ptr[i - 1] != '.')
            continue;
        struct str tail = str_from(stem, i);
        for (size_t k = 0; k < sizeof(kind) / sizeof(kind[0]); k++) {
            struct str word = str_z(kind[k]);
            if (!str_eq_nocase(str_sub(tail, 0, word.len), word))
                continue;
            bool bare = word.ptr[word.len - 1] != 'q';
            if (bare
                    ? tail.len == word.len
                    : tail.len > word.len && tail.ptr[word.len] >= '1' && tail.ptr[word.len] <= '9')
                return (ptrdiff_t)i;
        }
        return -1; /* only the last part may be it */
    }
    return -1;
}

static void copy_clean(struct str s, char *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n < MODEL_NAME_PART_MAX; i++) {
        char c = s.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool ok = is_alnum(c) || (n > 0 && (c == '.' || c == '_' || c == '-'));
        if (ok)
            ret[n++] = c;
        else if (n > 0 && ret[n - 1] != '-')
            ret[n++] = '-';
    }
    while (n > 0 && (ret[n - 1] == '-' || ret[n - 1] == '.'))
        n--;
    ret[n] = '\0';
}

int model_name_of_file(const char *path, struct model_name *ret, struct err *err)
{
    struct str stem = str_z(path);
    stem = str_from(stem, (size_t)(str_rchr(stem, '/') + 1));
    if (stem.len > 5 && str_eq_nocase(str_from(stem, stem.len - 5), STR(".gguf")))
        stem.len -= 5;
    stem = without_split(stem);
    struct model_name name = {MODEL_NAME_HOST, MODEL_NAME_SPACE, "", MODEL_NAME_TAG};
    ptrdiff_t at = quant_at(stem);
    if (at > 1) {
        copy_clean(str_from(stem, (size_t)at), name.tag);
        stem.len = (size_t)at - 1;
    }
    copy_clean(stem, name.model);
    if (name.model[0] == '\0' || name.tag[0] == '\0')
        return err_set(err, ERR_INVALID, "no model name can be made of '%s'; give one with --name",
                       path);
    *ret = name;
    return 0;
}
