/*
 * openai_batch: see openai_batch.h. Owns the shapes of files, batches and their lines.
 */
#include "api/openai_batch.h"

#include "api/embeddings.h"
#include "api/fields.h"
#include "api/responses.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

#define METADATA_MAX       16   /* pairs */
#define METADATA_VALUE_MAX 2048 /* bytes of 512 characters */
#define METADATA_KEY_MAX   256

/* ---- objects ---- */

static void write_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    if (value == NULL || value[0] == '\0')
        buf_add_z(out, "null");
    else
        json_write_string(str_z(value), out);
}

static void write_time(struct buf *out, const char *name, int64_t seconds)
{
    if (seconds > 0)
        buf_printf(out, ",\"%s\":%" PRId64, name, seconds);
    else
        buf_printf(out, ",\"%s\":null", name);
}

bool openai_file_write(const struct openai_file *f, struct buf *out)
{
    buf_add_z(out, "{\"object\":\"file\"");
    write_member(out, "id", f->id);
    write_member(out, "purpose", f->purpose);
    write_member(out, "filename", f->filename);
    buf_printf(out, ",\"bytes\":%" PRId64, f->bytes);
    write_time(out, "created_at", f->created_s);
    write_time(out, "expires_at", f->expires_s);
    buf_add_z(out, ",\"status\":\"processed\",\"status_details\":null}");
    return !out->overflow;
}

bool openai_deleted_write(const char *id, struct buf *out)
{
    buf_add_z(out, "{\"object\":\"file\",\"deleted\":true");
    write_member(out, "id", id);
    buf_add_char(out, '}');
    return !out->overflow;
}

static void write_errors(struct buf *out, const char *errors)
{
    if (errors == NULL || errors[0] == '\0')
        buf_add_z(out, ",\"errors\":null");
    else
        buf_printf(out, ",\"errors\":{\"object\":\"list\",\"data\":[%s]}", errors);
}

bool openai_batch_write(const struct openai_batch *b, struct buf *out)
{
    buf_add_z(out, "{\"object\":\"batch\"");
    write_member(out, "id", b->id);
    write_member(out, "endpoint", b->endpoint);
    write_member(out, "model", b->model);
    write_errors(out, b->errors);
    write_member(out, "input_file_id", b->input_file);
    write_member(out, "completion_window", b->window);
    write_member(out, "status", b->status);
    write_member(out, "output_file_id", b->output_file);
    write_member(out, "error_file_id", b->error_file);
    write_time(out, "created_at", b->created_s);
    write_time(out, "in_progress_at", b->in_progress_s);
    write_time(out, "expires_at", b->expires_s);
    write_time(out, "finalizing_at", b->finalizing_s);
    write_time(out, "completed_at", b->completed_s);
    write_time(out, "failed_at", b->failed_s);
    write_time(out, "expired_at", b->expired_s);
    write_time(out, "cancelling_at", b->cancelling_s);
    write_time(out, "cancelled_at", b->cancelled_s);
    buf_printf(out,
               ",\"request_counts\":{\"total\":%" PRId64 ",\"completed\":%" PRId64
               ",\"failed\":%" PRId64 "}",
               b->total, b->completed, b->failed);
    buf_printf(out,
               ",\"usage\":{\"input_tokens\":%" PRId64
               ",\"input_tokens_details\":{\"cached_tokens\":%" PRId64
               "},\"output_tokens\":%" PRId64
               ",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%" PRId64 "}",
               b->prompt_tokens, b->cached_tokens, b->completion_tokens,
               b->prompt_tokens + b->completion_tokens);
    buf_add_z(out, ",\"metadata\":");
    buf_add_z(out, b->metadata == NULL || b->metadata[0] == '\0' ? "null" : b->metadata);
    if (b->paused != NULL && b->paused[0] != '\0')
        write_member(out, "paused", b->paused);
    buf_add_char(out, '}');
    return !out->overflow;
}

bool openai_batch_error_write(const char *code, int64_t line, const char *param, const char *text,
                              struct buf *out)
{
    buf_add_z(out, out->len > 0 ? ",{\"code\":" : "{\"code\":");
    json_write_string(str_z(code), out);
    if (line > 0)
        buf_printf(out, ",\"line\":%" PRId64, line);
    else
        buf_add_z(out, ",\"line\":null");
    write_member(out, "param", param);
    write_member(out, "message", text);
    buf_add_char(out, '}');
    return !out->overflow;
}

bool openai_list_begin(struct buf *out)
{
    return buf_add_z(out, "{\"object\":\"list\",\"data\":[");
}

bool openai_list_end(const char *first_id, const char *last_id, bool has_more, struct buf *out)
{
    buf_add_char(out, ']');
    write_member(out, "first_id", first_id);
    write_member(out, "last_id", last_id);
    buf_printf(out, ",\"has_more\":%s}", has_more ? "true" : "false");
    return !out->overflow;
}

/* ---- creating a batch ---- */

const struct api_endpoint *openai_batch_endpoint(struct str path)
{
    static const struct api_endpoint *const all[] = {&openai_chat, &openai_completion,
                                                     &openai_responses_line, &openai_embeddings};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (str_eq_z(path, all[i]->path))
            return all[i];
    return NULL;
}

bool openai_window_parse(struct str text, int64_t *ret_s)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    int64_t n;
    if (text.len < 2 || text.len > 8 || !str_to_i64(str_sub(text, 0, text.len - 1), &n))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (text.ptr[text.len - 1] == units[i].unit) {
            *ret_s = n * units[i].seconds; /* at most 7 digits */
            return *ret_s >= 1 && *ret_s <= 30 * 86400;
        }
    return false;
}

int openai_metadata_check(const char *name, const json_t *value, struct err *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(value))
        return api_wrong_type(name, "an object of strings", value, err);
    if (json_object_size(value) > METADATA_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' has more than %d pairs", name,
                             METADATA_MAX);
    json_object_foreach((json_t *)value, key, v)
    {
        if (!json_is_string(v) || json_string_length(v) > METADATA_VALUE_MAX ||
            strlen(key) > METADATA_KEY_MAX)
            return err_set_param(err, ERR_INVALID, name,
                                 "'%s' takes names of at most 64 characters with strings of at "
                                 "most 512",
                                 name);
    }
    return 0;
}

static int take_metadata(const char *name, const json_t *value, void *into, struct err *err)
{
    ((struct openai_batch_create *)into)->metadata = value;
    return openai_metadata_check(name, value, err);
}

static int take_ttl(const char *name, const json_t *value, void *into, struct err *err)
{
    struct openai_batch_create *c = into;
    struct str anchor = STR("");
    int64_t seconds = 0;
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    int code = json_get_str(value, "anchor", &anchor, err);
    if (code == 0)
        code = json_get_i64(value, "seconds", OPENAI_TTL_MIN_S, OPENAI_TTL_MAX_S, &seconds, err);
    if (code == 0 && (!str_eq_z(anchor, "created_at") || seconds == 0))
        code = err_set_param(err, ERR_INVALID, name,
                             "'%s' needs \"anchor\": \"created_at\" and \"seconds\"", name);
    c->output_ttl_s = seconds;
    return code;
}

static const struct api_field create_fields[] = {
    {"input_file_id", API_STR, API_HONOURED,
     .offset = offsetof(struct openai_batch_create, input_file)},
    {"endpoint", API_STR, API_HONOURED, .offset = offsetof(struct openai_batch_create, endpoint)},
    {"completion_window", API_STR, API_HONOURED,
     .offset = offsetof(struct openai_batch_create, window)},
    {"metadata", API_ANY, API_HONOURED, .take = take_metadata},
    {"output_expires_after", API_ANY, API_HONOURED, .take = take_ttl},
};

const struct api_form openai_batch_form = {create_fields, ARRAY_LEN(create_fields)};

int openai_batch_create_parse(const json_t *body, struct openai_batch_create *ret, struct err *err)
{
    struct openai_batch_create c = {0};
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_fields_read(create_fields, ARRAY_LEN(create_fields), body, "", &c, err);
    if (code != 0)
        return code;
    if (c.input_file.len == 0)
        return err_set_param(err, ERR_INVALID, "input_file_id", "'input_file_id' is missing");
    if (openai_batch_endpoint(c.endpoint) == NULL)
        return err_set_param(err, ERR_INVALID, "endpoint",
                             "'endpoint' must be /v1/chat/completions or /v1/completions");
    if (!openai_window_parse(c.window, &c.window_s))
        return err_set_param(err, ERR_INVALID, "completion_window",
                             "'completion_window' must be \"24h\" (or another time up to 30 days, "
                             "as 90m or 7d)");
    *ret = c;
    return 0;
}

/* ---- lines ---- */

static int check_custom_id(struct str id, struct err *err)
{
    if (id.len == 0)
        return err_set_param(err, ERR_INVALID, "custom_id", "'custom_id' is missing");
    if (id.len > OPENAI_CUSTOM_ID_MAX || memchr(id.ptr, '\0', id.len) != NULL)
        return err_set_param(err, ERR_INVALID, "custom_id",
                             "'custom_id' is longer than %d bytes, or holds a NUL",
                             OPENAI_CUSTOM_ID_MAX);
    return 0;
}

/* What the endpoint would refuse is refused before anything runs. */
static int check_body(const struct api_endpoint *endpoint, const json_t *body, struct err *err)
{
    struct api_request request;
    int code = endpoint->parse(body, NULL, &request, err);
    if (code != 0)
        return code;
    if (request.stream)
        code = err_set_param(err, ERR_UNSUPPORTED, "stream",
                             "'stream' cannot be had in a batch: its answers are whole");
    api_request_release(&request);
    return code;
}

static int read_line(const json_t *top, const struct api_endpoint *endpoint,
                     struct openai_batch_line *l, struct err *err)
{
    struct {
        struct str custom_id, method, url;
    } line = {0};
    if (!json_is_object(top))
        return err_set(err, ERR_INVALID, "the line is no JSON object");
    int code = json_get_str(top, "custom_id", &line.custom_id, err);
    if (code == 0)
        code = check_custom_id(line.custom_id, err);
    if (code == 0)
        code = json_get_str(top, "method", &line.method, err);
    if (code == 0 && !str_eq_z(line.method, "POST"))
        code = err_set_param(err, ERR_INVALID, "method", "'method' must be POST");
    if (code == 0)
        code = json_get_str(top, "url", &line.url, err);
    if (code == 0 && !str_eq_z(line.url, endpoint->path))
        code = err_set_param(err, ERR_INVALID, "url", "'url' must be the batch's endpoint, %s",
                             endpoint->path);
    l->custom_id = line.custom_id;
    l->body = json_object_get(top, "body");
    if (code == 0 && !json_is_object(l->body))
        code = err_set_param(err, ERR_INVALID, "body", "'body' must be an object");
    return code == 0 ? check_body(endpoint, l->body, err) : code;
}

int openai_batch_line_parse(struct str text, const struct api_endpoint *endpoint,
                            struct openai_batch_line *ret, struct err *err)
{
    struct openai_batch_line l = {.top = json_parse(text, JSON_DEPTH_MAX, err)};
    if (l.top == NULL)
        return err == NULL ? ERR_SYNTAX : err->code;
    int code = read_line(l.top, endpoint, &l, err);
    if (code == 0)
        *ret = l;
    else
        openai_batch_line_release(&l);
    return code;
}

void openai_batch_line_release(struct openai_batch_line *l)
{
    json_decref(l->top);
    *l = (struct openai_batch_line){0};
}

bool openai_batch_answer_write(const char *id, struct str custom_id, int status, struct str body,
                               struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\",\"custom_id\":", id);
    json_write_string(custom_id, out);
    buf_printf(out, ",\"response\":{\"status_code\":%d,\"request_id\":\"%s\",\"body\":", status,
               id);
    buf_add_str(out, body);
    buf_add_z(out, "},\"error\":null}");
    return !out->overflow;
}

bool openai_batch_lost_write(const char *id, struct str custom_id, const char *code,
                             const char *text, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\",\"custom_id\":", id);
    json_write_string(custom_id, out);
    buf_printf(out, ",\"response\":null,\"error\":{\"code\":\"%s\",\"message\":", code);
    json_write_string(str_z(text), out);
    buf_add_z(out, "}}");
    return !out->overflow;
}
