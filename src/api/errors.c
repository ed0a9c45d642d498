/*
 * errors: see errors.h. Owns the table from ERR_* to HTTP status, OpenAI type and OpenAI code, and
 * the one from status to Anthropic's type.
 */
#include "api/errors.h"

#include "base/json.h"
#include "base/mem.h"

#include <inttypes.h>

struct fault {
    int err_code;
    int status;
    const char *type;
    const char *code; /* NULL: null in JSON */
};

/* The client libraries retry 408, 409, 429 and 5xx, so what a retry cannot cure is another 4xx. */
static const struct fault faults[] = {
    {ERR_INVALID, 400, "invalid_request_error", "invalid_value"},
    {ERR_SYNTAX, 400, "invalid_request_error", "invalid_json"},
    {ERR_LIMIT, 400, "invalid_request_error", "limit_exceeded"},
    {ERR_UNSUPPORTED, 400, "invalid_request_error", "unsupported_parameter"},
    {API_ERR_NO_PREVIOUS, 400, "invalid_request_error", "previous_response_not_found"},
    {API_ERR_LOCKED, 400, "invalid_request_error", "conversation_locked"},
    {ERR_CONTEXT_LENGTH, 400, "invalid_request_error", "context_length_exceeded"},
    {ERR_AUTH, 401, "authentication_error", "invalid_api_key"},
    {ERR_DENIED, 403, "permission_error", "forbidden"},
    {ERR_NOT_FOUND, 404, "invalid_request_error", "not_found"},
    {ERR_TIMEOUT, 408, "invalid_request_error", "request_timeout"},
    {ERR_EXISTS, 409, "invalid_request_error", "exists"},
    {ERR_TOO_LARGE, 413, "invalid_request_error", "request_too_large"},
    {API_ERR_RATE, 429, "rate_limit_error", "rate_limit_exceeded"},
    {ERR_CANCELLED, API_STATUS_CLIENT_LEFT, "invalid_request_error", "cancelled"},
    {ERR_CORRUPT, 500, "server_error", "model_damaged"},
    {ERR_IO, 500, "server_error", "io_error"},
    {ERR_INTERNAL, 500, "server_error", "internal_error"},
    {ERR_NOMEM, 503, "server_error", "out_of_memory"},
    {ERR_BUSY, 503, "server_error", "overloaded"},
    {ERR_UNAVAILABLE, 503, "server_error", "overloaded"},
};

static const struct fault *fault_of(int err_code)
{
    static const struct fault internal = {ERR_INTERNAL, 500, "server_error", "internal_error"};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (faults[i].err_code == err_code)
            return &faults[i];
    return &internal;
}

int api_status(int err_code)
{
    return fault_of(err_code)->status;
}

int api_status_in(enum api_dialect dialect, int err_code)
{
    int status = api_status(err_code);
    return dialect == API_ANTHROPIC && status == 503 ? 529 : status;
}

const char *api_error_word(int err_code)
{
    return err_code == API_ERR_RATE          ? "rate_limited"
           : err_code == API_ERR_NO_PREVIOUS ? "not_found"
           : err_code == API_ERR_LOCKED      ? "busy"
                                             : err_word(err_code);
}

static bool write_openai(const struct err *err, const struct api_counts *counts, struct buf *out)
{
    const struct fault *f = fault_of(err->code);
    const char *code = f->code;
    if (err->code == ERR_NOT_FOUND && str_eq_z(STR("model"), err->param))
        code = "model_not_found";
    buf_add_z(out, "{\"error\":{\"message\":");
    json_write_string(str_z(err->text), out);
    buf_printf(out, ",\"type\":\"%s\",\"param\":", f->type);
    if (err->param[0] == '\0')
        buf_add_z(out, "null");
    else
        json_write_string(str_z(err->param), out);
    buf_printf(out, ",\"code\":\"%s\"", code);
    if (counts != NULL && counts->n_ctx > 0)
        buf_printf(out, ",\"n_prompt_tokens\":%" PRId64 ",\"n_ctx\":%" PRId64, counts->n_prompt,
                   counts->n_ctx);
    buf_add_z(out, "}}");
    return !out->overflow;
}

static const char *anthropic_type(int status)
{
    static const struct {
        int status;
        const char *type;
    } types[] = {
        {401, "authentication_error"}, {403, "permission_error"},  {404, "not_found_error"},
        {408, "timeout_error"},        {413, "request_too_large"}, {429, "rate_limit_error"},
        {529, "overloaded_error"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].status == status)
            return types[i].type;
    return status >= 500 ? "api_error" : "invalid_request_error";
}

/* The parameter's name is in the text; the shape has no place of its own for it. */
static bool write_anthropic(const struct err *err, const struct api_counts *counts, struct buf *out)
{
    buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
               anthropic_type(api_status_in(API_ANTHROPIC, err->code)));
    json_write_string(str_z(err->text), out);
    buf_add_z(out, "},\"request_id\":");
    if (counts == NULL || counts->request_id == NULL)
        buf_add_z(out, "null");
    else
        json_write_string(str_z(counts->request_id), out);
    buf_add_char(out, '}');
    return !out->overflow;
}

bool api_error_write(enum api_dialect dialect, const struct err *err,
                     const struct api_counts *counts, struct buf *out)
{
    if (dialect == API_OPENAI)
        return write_openai(err, counts, out);
    if (dialect == API_ANTHROPIC)
        return write_anthropic(err, counts, out);
    buf_add_z(out, "{\"error\":");
    json_write_string(str_z(err->text), out);
    buf_add_char(out, '}');
    return !out->overflow;
}
