/*
 * ollama_show: what /api/show answers, and a model as a Modelfile. See ollama_library.h.
 *
 * What the worker said of the file was read by it from bytes that nobody vouches for: members are
 * taken only when they are of the type that they must have.
 */
#include "api/ollama.h"
#include "api/ollama_library.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void write_text(const char *key, struct str text, struct buf *out)
{
    buf_printf(out, ",\"%s\":", key);
    json_write_string(text, out);
}

static void write_json(const char *key, const json_t *value, struct buf *out)
{
    buf_printf(out, ",\"%s\":", key);
    json_write(value, out);
}

static struct str inspected_text(const struct ollama_shown *s, const char *key)
{
    return json_str(json_object_get(s->inspected, key));
}

static struct str template_of(const struct ollama_shown *s)
{
    return s->template_text != NULL ? str_z(s->template_text) : inspected_text(s, "template");
}

/* ---- parameters ---- */

typedef void (*param_fn)(const char *name, const json_t *value, struct buf *out);

/* Each value of a list is a line of its own. */
static void each_param(const char *params_json, param_fn fn, struct buf *out)
{
    json_t *params = params_json == NULL ? NULL : json_parse(str_z(params_json), 8, NULL);
    const char *name;
    json_t *value;
    json_object_foreach(params, name, value)
    {
        if (!json_is_array(value))
            fn(name, value, out);
        for (size_t i = 0; i < json_array_size(value); i++)
            fn(name, json_array_get(value, i), out);
    }
    json_decref(params);
}

static void param_line(const char *name, const json_t *value, struct buf *out)
{
    if (out->len > 0)
        buf_add_char(out, '\n');
    buf_printf(out, "%-30s ", name);
    json_write(value, out);
}

/* ---- the Modelfile ---- */

#define QUOTES "\"\"\""

/* A Modelfile has no escapes: quotes are closed by the last ones of the first line that has any. */
static bool is_quotable(struct str text)
{
    ptrdiff_t at = str_find(text, STR(QUOTES));
    return at < 0 || str_chr(str_from(text, (size_t)at), '\n') < 0;
}

/* `word` is the command and what stands before its text. */
static void command(const char *word, struct str text, struct buf *out)
{
    if (is_quotable(text))
        buf_printf(out, "%s " QUOTES "%.*s" QUOTES "\n", word, STR_ARG(text));
    else
        buf_printf(out, "# %s is left out: its text has quotes that would end it\n", word);
}

static void text_command(const char *word, const char *text, struct buf *out)
{
    if (text != NULL && text[0] != '\0')
        command(word, str_z(text), out);
}

static void param_command(const char *name, const json_t *value, struct buf *out)
{
    struct str text = json_str(value);
    char word[96];
    snprintf(word, sizeof word, "PARAMETER %.64s", name);
    if (!json_is_string(value)) {
        buf_printf(out, "%s ", word);
        json_write(value, out);
        buf_add_char(out, '\n');
    } else if (str_find(text, STR("\"")) < 0) {
        buf_printf(out, "%s \"%.*s\"\n", word, STR_ARG(text));
    } else {
        command(word, text, out);
    }
}

bool ollama_write_modelfile(const struct ollama_shown *s, struct buf *out)
{
    json_t *messages =
        s->messages_json == NULL ? NULL : json_parse(str_z(s->messages_json), JSON_DEPTH_MAX, NULL);
    buf_printf(out, "# Made by hearth of the model itself\nFROM %s\n", s->name);
    text_command("TEMPLATE", s->template_text, out);
    text_command("SYSTEM", s->system_text, out);
    each_param(s->params_json, param_command, out);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        struct str role = json_str(json_object_get(m, "role"));
        char word[32];
        snprintf(word, sizeof word, "MESSAGE %.*s", (int)(role.len < 16 ? role.len : 16), role.ptr);
        command(word, json_str(json_object_get(m, "content")), out);
    }
    text_command("LICENSE", s->license_text, out);
    json_decref(messages);
    return !out->overflow;
}

/* ---- the answer ---- */

static void write_details(const struct ollama_shown *s, struct buf *out)
{
    struct str family = inspected_text(s, "arch");
    int64_t n_params = json_integer_value(json_object_get(s->inspected, "n_params"));
    buf_add_z(out, ",\"details\":{\"parent_model\":\"\",\"format\":\"gguf\"");
    write_text("family", family, out);
    buf_add_z(out, ",\"families\":[");
    if (family.len > 0)
        json_write_string(family, out);
    buf_add_z(out, "],\"parameter_size\":");
    ollama_write_params(n_params, out);
    write_text("quantization_level", inspected_text(s, "file_type"), out);
    buf_printf(out, ",\"context_length\":%" PRId64 ",\"embedding_length\":%" PRId64 "}",
               (int64_t)json_integer_value(json_object_get(s->inspected, "n_ctx")),
               (int64_t)json_integer_value(json_object_get(s->inspected, "n_embd")));
}

static void write_inspected(const struct ollama_shown *s, struct buf *out)
{
    const json_t *metadata = json_object_get(s->inspected, "metadata");
    const json_t *tensors = json_object_get(s->inspected, "tensors");
    const json_t *capabilities = json_object_get(s->inspected, "capabilities");
    if (json_is_object(metadata))
        write_json("model_info", metadata, out);
    if (s->verbose && json_is_array(tensors))
        write_json("tensors", tensors, out);
    if (json_is_array(capabilities))
        write_json("capabilities", capabilities, out);
}

bool ollama_write_show(const struct ollama_shown *s, struct buf *out)
{
    struct buf text;
    buf_init(&text, 2 * OLLAMA_TEXT_MAX);
    buf_add_z(out, "{\"modified_at\":");
    ollama_write_time(s->modified_ms, out);
    if (s->license_text != NULL)
        write_text("license", str_z(s->license_text), out);
    ollama_write_modelfile(s, &text);
    write_text("modelfile", buf_str(&text), out);
    buf_clear(&text);
    each_param(s->params_json, param_line, &text);
    if (text.len > 0)
        write_text("parameters", buf_str(&text), out);
    buf_release(&text);
    write_text("template", template_of(s), out);
    if (s->system_text != NULL)
        write_text("system", str_z(s->system_text), out);
    json_t *messages =
        s->messages_json == NULL ? NULL : json_parse(str_z(s->messages_json), JSON_DEPTH_MAX, NULL);
    if (json_is_array(messages))
        write_json("messages", messages, out);
    json_decref(messages);
    write_details(s, out);
    write_inspected(s, out);
    buf_add_char(out, '}');
    return !out->overflow;
}
