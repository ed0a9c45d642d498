/*
 * ollama: see ollama.h. Source: ollama/ollama api/types.go as of August 2026.
 */
#include "api/ollama.h"

#include "api/ollama_request.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

void ollama_write_time(int64_t wall_ms, struct buf *out)
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
void ollama_write_params(int64_t n, struct buf *out)
{
    if (n <= 0)
        buf_add_z(out, "\"\"");
    else if (n >= 1000000000)
        buf_printf(out, "\"%.1fB\"", (double)n / 1e9);
    else
        buf_printf(out, "\"%.2fM\"", (double)n / 1e6);
}

/* What the worker counted, else what the library says. */
static void write_size(const struct ollama_model *m, struct buf *out)
{
    if (m->n_params > 0 || m->size_word == NULL)
        ollama_write_params(m->n_params, out);
    else
        json_write_string(str_z(m->size_word), out);
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
    write_size(m, out);
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
        ollama_write_time(model[i].modified_ms, out);
        buf_add_char(out, '}');
    }
    buf_add_z(out, "]}");
    return !out->overflow;
}

/* Ollama's members first, then ours. Far away is how its clients read "never". */
static void write_loaded(const struct ollama_model *m, struct buf *out)
{
    buf_add_z(out, ",\"expires_at\":");
    if (m->expires_ms < 0)
        buf_add_z(out, "\"9999-12-31T23:59:59Z\"");
    else
        ollama_write_time(m->expires_ms, out);
    buf_printf(out, ",\"size_vram\":0,\"context_length\":%" PRId64 ",", m->n_ctx);
    write_text("state", m->state, out);
    buf_printf(out,
               ",\"planned_bytes\":%" PRId64 ",\"resident_bytes\":%" PRId64 ",\"parallel\":%" PRId64
               ",\"requests\":%" PRId64 ",\"running\":%" PRId64 ",\"waiting\":%" PRId64,
               m->plan_bytes, m->resident_bytes, m->n_parallel, m->n_requests, m->n_running,
               m->n_waiting);
    buf_printf(out,
               ",\"prefill_tokens_per_second\":%.1f,\"decode_tokens_per_second\":%.1f,"
               "\"line_position\":%d}",
               m->prefill_rate, m->decode_rate, m->line_position);
}

bool ollama_write_ps(const struct ollama_model *model, int n, struct buf *out)
{
    buf_add_z(out, "{\"models\":[");
    for (int i = 0; i < n; i++) {
        struct ollama_model m = model[i];
        if (i > 0)
            buf_add_char(out, ',');
        m.bytes = m.plan_bytes > 0 ? m.plan_bytes : m.bytes;
        write_model(&m, out);
        write_loaded(&m, out);
    }
    buf_add_z(out, "]}");
    return !out->overflow;
}

/* ---- load, unload ---- */

int ollama_load_parse(const struct api_endpoint *endpoint, const json_t *body,
                      struct ollama_load *ret, struct err *err)
{
    struct ollama_reading g;
    struct api_request unused;
    int code = ollama_reading_init(&g, endpoint, NULL, err);
    if (code == 0)
        code = api_fields_read(endpoint->fields, (size_t)endpoint->n_fields, body, "", &g, err);
    if (code == 0 && g.r.model.len == 0)
        code = err_set_param(err, ERR_INVALID, "model", "'model' is missing");
    if (code == 0)
        *ret = (struct ollama_load){.model = g.r.model,
                                    .keep_alive_given = g.r.keep_alive_given,
                                    .keep_alive_ms = g.r.keep_alive_ms};
    if (ollama_reading_end(&g, code, &unused) == 0)
        api_request_release(&unused);
    return code;
}

bool ollama_write_loaded(const struct api_endpoint *endpoint, struct str model, const char *reason,
                         struct buf *out)
{
    buf_add_z(out, "{\"model\":");
    json_write_string(model, out);
    buf_add_z(out, ",\"created_at\":");
    ollama_write_time(clock_wall_ms(), out);
    buf_add_z(out, endpoint == &ollama_chat
                       ? ",\"message\":{\"role\":\"assistant\",\"content\":\"\"}"
                       : ",\"response\":\"\"");
    buf_printf(out, ",\"done\":true,\"done_reason\":\"%s\"}", reason);
    return !out->overflow;
}
