/*
 * ollama: see ollama.h. Source: ollama/ollama api/types.go as of August 2026.
 */
#include "api/ollama.h"

#include "api/fields.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

static void write_time(int64_t wall_ms, struct buf *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[32];
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        strcpy(text, "1970-01-01T00:00:00");
    buf_printf(out, "\"%s.%03dZ\"", text, (int)(wall_ms % 1000));
}

/* "134.5M", "8.0B", as Ollama writes sizes. */
static void write_params(int64_t n, struct buf *out)
{
    if (n <= 0)
        buf_add_z(out, "\"\"");
    else if (n >= 1000000000)
        buf_printf(out, "\"%.1fB\"", (double)n / 1e9);
    else
        buf_printf(out, "\"%.2fM\"", (double)n / 1e6);
}

static void write_text(const char *key, const char *text, struct buf *out)
{
    buf_printf(out, "\"%s\":", key);
    json_write_string(str_z(text), out);
}

static void write_model(const struct ollama_model *m, struct buf *out)
{
    const char *digest = m->digest == NULL ? "" : m->digest;
    if (strncmp(digest, "sha256:", 7) == 0)
        digest += 7;
    buf_add_char(out, '{');
    write_text("name", m->name, out);
    buf_add_char(out, ',');
    write_text("model", m->name, out);
    buf_printf(out, ",\"size\":%" PRId64 ",", m->bytes);
    write_text("digest", digest, out);
    buf_add_z(out, ",\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",");
    write_text("family", m->arch, out);
    buf_add_z(out, ",\"families\":[");
    if (m->arch != NULL && m->arch[0] != '\0')
        json_write_string(str_z(m->arch), out);
    buf_add_z(out, "],\"parameter_size\":");
    write_params(m->n_params, out);
    buf_add_char(out, ',');
    write_text("quantization_level", m->file_type, out);
    buf_add_char(out, '}');
}

bool ollama_write_tags(const struct ollama_model *model, int n, struct buf *out)
{
    buf_add_z(out, "{\"models\":[");
    for (int i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        write_model(&model[i], out);
        buf_add_z(out, ",\"modified_at\":");
        write_time(model[i].modified_ms, out);
        buf_add_char(out, '}');
    }
    buf_add_z(out, "]}");
    return !out->overflow;
}

bool ollama_write_ps(const struct ollama_model *model, int n, struct buf *out)
{
    buf_add_z(out, "{\"models\":[");
    for (int i = 0; i < n; i++) {
        struct ollama_model m = model[i];
        if (i > 0)
            buf_add_char(out, ',');
        m.bytes = m.resident_bytes > 0 ? m.resident_bytes : m.bytes;
        write_model(&m, out);
        /* Models stay until their memory is needed: far away is how Ollama's clients read "never".
         */
        buf_printf(
            out,
            ",\"expires_at\":\"9999-12-31T23:59:59Z\",\"size_vram\":0,\"context_length\":%" PRId64
            ",",
            m.n_ctx);
        write_text("state", m.state, out);
        buf_printf(out, ",\"requests\":%" PRId64 "}", m.n_requests);
    }
    buf_add_z(out, "]}");
    return !out->overflow;
}

/* ---- unload ---- */

struct unload {
    struct str model, prompt;
    bool stream, zero;
};

static int take_keep_alive(const char *name, const json_t *v, void *into, struct err *err)
{
    struct str text = json_str(v);
    bool zero = json_is_number(v) ? json_number_value(v) == 0.0
                                  : str_eq_z(text, "0") || str_eq_z(text, "0s");
    if (!zero)
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s' other than 0 is not supported: models stay loaded until their "
                             "memory is needed",
                             name);
    ((struct unload *)into)->zero = true;
    return 0;
}

int ollama_unload_parse(const json_t *body, struct str *ret_model, struct err *err)
{
    static const struct api_field table[] = {
        {"model", API_STR, API_HONOURED, .offset = offsetof(struct unload, model)},
        {"prompt", API_STR, API_HONOURED, .offset = offsetof(struct unload, prompt)},
        {"stream", API_BOOL, API_HONOURED, .offset = offsetof(struct unload, stream)},
        {"keep_alive", API_ANY, API_HONOURED, .take = take_keep_alive},
    };
    struct unload u = {0};
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_fields_read(table, ARRAY_LEN(table), body, "", &u, err);
    if (code != 0)
        return code;
    if (!u.zero || u.prompt.len > 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "/api/generate only unloads here ({\"model\": ..., \"keep_alive\": 0}); to "
                       "generate, use /v1/completions or /v1/chat/completions");
    if (u.model.len == 0)
        return err_set_param(err, ERR_INVALID, "model", "'model' is missing");
    *ret_model = u.model;
    return 0;
}

bool ollama_write_unloaded(struct str model, struct buf *out)
{
    buf_add_z(out, "{\"model\":");
    json_write_string(model, out);
    buf_add_z(out, ",\"created_at\":");
    write_time(clock_wall_ms(), out);
    buf_add_z(out, ",\"response\":\"\",\"done\":true,\"done_reason\":\"unload\"}");
    return !out->overflow;
}
