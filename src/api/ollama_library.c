/*
 * ollama_library: see the header. Owns the tables of fields.
 */
#include "api/ollama_library.h"

#include "api/ollama_request.h"
#include "base/mem.h"

#include <stddef.h>
#include <string.h>

#define AT(member) .offset = offsetof(struct ollama_library_request, member)

static int take_given(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_library_request *r = into;
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    struct str text = json_str(v);
    if (memchr(text.ptr, '\0', text.len) != NULL || text.len > OLLAMA_TEXT_MAX)
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' may hold no NUL characters and at most %u bytes", name,
                             OLLAMA_TEXT_MAX);
    bool system = strcmp(name, "system") == 0;
    *(system ? &r->system : &r->template) = text;
    *(system ? &r->system_given : &r->template_given) = true;
    return 0;
}

static int neutral(const json_t *v)
{
    bool empty = (json_is_string(v) && json_string_length(v) == 0) ||
                 (json_is_object(v) && json_object_size(v) == 0) ||
                 (json_is_array(v) && json_array_size(v) == 0);
    return empty ? 0 : ERR_UNSUPPORTED;
}

static int only_empty(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return neutral(v);
}

static int take_files(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_library_request *r = into;
    if (!json_is_object(v))
        return api_wrong_type(name, "an object of file names and digests", v, err);
    size_t n = json_object_size(v);
    if (n > OLLAMA_FILES_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %d files, not %zu",
                             name, OLLAMA_FILES_MAX, n);
    const char *file;
    json_t *digest;
    json_object_foreach((json_t *)v, file, digest)
    {
        if (!json_is_string(digest))
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s': the digest of '%.80s' must be a string", name, file);
    }
    r->files = n > 0 ? v : NULL;
    return 0;
}

/* The names of `options`: what no request may have no model has either. */
static int take_parameters(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_library_request *r = into;
    struct ollama_reading unused;
    struct api_request request;
    int code = ollama_reading_init(&unused, &ollama_chat, NULL, err);
    if (code == 0)
        code = ollama_take_options(name, v, &unused, err);
    if (ollama_reading_end(&unused, code, &request) == 0)
        api_request_release(&request);
    if (code != 0)
        return err_wrap(err, "'parameters'");
    r->parameters = json_object_size(v) > 0 ? v : NULL;
    return 0;
}

static int take_messages(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_library_request *r = into;
    if (json_is_array(v) && json_array_size(v) == 0)
        return 0;
    r->messages = ollama_messages_read(name, v, err);
    return r->messages != NULL ? 0 : err != NULL ? err->code : ERR_INVALID;
}

static int take_license(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_library_request *r = into;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > 64)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most 64 texts", name);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        struct str text = json_str(one);
        if (!json_is_string(one))
            return api_wrong_type(name, "a string or an array of strings", one, err);
        if (memchr(text.ptr, '\0', text.len) != NULL || text.len > OLLAMA_TEXT_MAX)
            return err_set_param(err, ERR_INVALID, name, "'%s' is no text, or too long", name);
    }
    r->license = n > 0 && neutral(v) != 0 ? v : NULL;
    return 0;
}

const char *ollama_quantization_find(struct str name)
{
    static const struct {
        const char *name, *type;
    } known[] = {{"F32", "F32"},       {"F16", "F16"},       {"BF16", "BF16"},
                 {"Q8_0", "Q8_0"},     {"Q6_K", "Q6_K"},     {"Q5_K_M", "Q5_K_M"},
                 {"Q5_K", "Q5_K_M"},   {"Q5_K_S", "Q5_K_S"}, {"Q5_1", "Q5_1"},
                 {"Q5_0", "Q5_0"},     {"Q4_K_M", "Q4_K_M"}, {"Q4_K", "Q4_K_M"},
                 {"Q4_K_S", "Q4_K_S"}, {"Q4_1", "Q4_1"},     {"Q4_0", "Q4_0"}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq_nocase(name, str_z(known[i].name)))
            return known[i].type;
    return NULL;
}

static int take_quantize(const char *name, const json_t *v, void *into, struct err *err)
{
    struct ollama_library_request *r = into;
    struct str text = json_str(v);
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    if (text.len == 0)
        return 0;
    r->quantize = ollama_quantization_find(text);
    if (r->quantize != NULL)
        return 0;
    return err_set_param(
        err, ERR_INVALID, name,
        "'%s': '%.*s' is no type that can be made here; these are: f32, f16, bf16, "
        "q8_0, q6_K, q5_K_M, q5_K_S, q5_1, q5_0, q4_K_M, q4_K_S, q4_1, q4_0",
        name, STR_ARG(str_sub(text, 0, 40)));
}

#define REFUSED(name, why)                                                                         \
    {                                                                                              \
        name, API_ANY, API_REFUSED, .take = only_empty, .note = why                                \
    }
#define NAMES                                                                                      \
    {"model", API_STR, API_HONOURED, AT(model)},                                                   \
    {                                                                                              \
        "name", API_STR, API_HONOURED, AT(name)                                                    \
    }

static const struct api_field show_fields[] = {
    NAMES,
    {"system", API_ANY, API_HONOURED, .take = take_given},
    {"template", API_ANY, API_HONOURED, .take = take_given},
    {"verbose", API_BOOL, API_HONOURED, AT(verbose)},
    {"options", API_ANY, API_NO_EFFECT, .take = take_parameters,
     .note = "what is shown does not depend on it"},
};

static const struct api_field create_fields[] = {
    NAMES,
    {"stream", API_BOOL, API_HONOURED, AT(stream)},
    {"from", API_STR, API_HONOURED, AT(from)},
    {"files", API_ANY, API_HONOURED, .take = take_files},
    {"template", API_ANY, API_HONOURED, .take = take_given},
    {"system", API_ANY, API_HONOURED, .take = take_given},
    {"license", API_ANY, API_HONOURED, .take = take_license},
    {"parameters", API_ANY, API_HONOURED, .take = take_parameters},
    {"messages", API_ANY, API_HONOURED, .take = take_messages},
    {"requires", API_STR, API_NO_EFFECT, .note = "it names a version of Ollama"},
    {"quantize", API_ANY, API_HONOURED, .take = take_quantize},
    {"quantization", API_ANY, API_HONOURED, .take = take_quantize},
    REFUSED("draft_quantize", "a draft model is named when the server starts (--draft-model)"),
    REFUSED("adapters", "adapters are not served; merge them into the model first"),
    REFUSED("draft_files", "a draft model is named when the server starts (--draft-model)"),
    REFUSED("remote_host", "models are served here, not elsewhere"),
    REFUSED("renderer", "prompts are made by the model's own template"),
    REFUSED("parser", "answers are parsed by what the model's own template says"),
    REFUSED("info", "what a model is, its file says"),
    REFUSED("modelfile", "send its parts as fields: from, parameters, system, template"),
    REFUSED("path", "the server reads no files of its clients; send them to /api/blobs"),
};

static const struct api_field copy_fields[] = {
    {"source", API_STR, API_HONOURED, AT(source)},
    {"destination", API_STR, API_HONOURED, AT(destination)},
};

static const struct api_field delete_fields[] = {
    NAMES,
};

static const struct api_field pull_fields[] = {
    NAMES,
    {"stream", API_BOOL, API_HONOURED, AT(stream)},
    {"insecure", API_BOOL, API_HONOURED, AT(insecure)},
    REFUSED("username", "registries are asked without a password"),
    REFUSED("password", "registries are asked without a password"),
};

#define FORM(table)                                                                                \
    {                                                                                              \
        table, ARRAY_LEN(table)                                                                    \
    }
const struct api_form ollama_forms[] = {
    [OLLAMA_SHOW] = FORM(show_fields), [OLLAMA_CREATE] = FORM(create_fields),
    [OLLAMA_COPY] = FORM(copy_fields), [OLLAMA_DELETE] = FORM(delete_fields),
    [OLLAMA_PULL] = FORM(pull_fields), [OLLAMA_PUSH] = FORM(pull_fields),
};

static int check_name(const char *param, struct str name, struct err *err)
{
    if (name.len == 0)
        return err_set_param(err, ERR_INVALID, param, "'%s' is missing", param);
    if (name.len > 1024 || memchr(name.ptr, '\0', name.len) != NULL)
        return err_set_param(err, ERR_INVALID, param, "'%s' is no model's name", param);
    return 0;
}

int ollama_library_read(enum ollama_call call, const json_t *body,
                        struct ollama_library_request *ret, struct err *err)
{
    struct ollama_library_request r = {.stream = true};
    int code =
        api_fields_read(ollama_forms[call].field, (size_t)ollama_forms[call].n, body, "", &r, err);
    if (r.model.len == 0)
        r.model = r.name;
    if (code == 0 && call == OLLAMA_COPY)
        code = check_name("source", r.source, err);
    if (code == 0 && call == OLLAMA_COPY)
        code = check_name("destination", r.destination, err);
    if (code == 0 && call != OLLAMA_COPY)
        code = check_name("model", r.model, err);
    if (code == 0 && r.from.len > 0)
        code = check_name("from", r.from, err);
    if (code == 0)
        *ret = r;
    else
        ollama_library_release(&r);
    return code;
}

void ollama_library_release(struct ollama_library_request *r)
{
    json_decref(r->messages);
    r->messages = NULL;
}
