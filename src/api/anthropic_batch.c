/*
 * anthropic_batch: see anthropic_batch.h.
 */
#include "api/anthropic_batch.h"

#include "base/json.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CUSTOM_ID_MAX 64

/* ---- what creates one ---- */

struct one {
    struct str custom_id;
    const json_t *params;
};

static int take_params(const char *name, const json_t *v, void *into, struct err *err)
{
    ((struct one *)into)->params = v;
    return json_is_object(v) ? 0 : api_wrong_type(name, "an object", v, err);
}

static const struct api_field request_fields[] = {
    {"custom_id", API_STR, API_HONOURED, .offset = offsetof(struct one, custom_id)},
    {"params", API_ANY, API_HONOURED, .take = take_params,
     .note = "as the body of /v1/messages; what is wrong in it is told in the results",
     .shape = "{\"type\":\"object\"}"},
};

static bool is_custom_id(struct str id)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    for (size_t i = 0; i < id.len; i++)
        if (memchr(allowed, id.ptr[i], sizeof allowed - 1) == NULL)
            return false;
    return id.len >= 1 && id.len <= CUSTOM_ID_MAX;
}

/* seen: the custom ids before it. */
static int check_request(const json_t *request, size_t i, json_t *seen, struct err *err)
{
    struct one one = {0};
    char where[32], param[48];
    snprintf(where, sizeof where, "requests[%zu]", i);
    if (!json_is_object(request))
        return api_wrong_type(where, "an object", request, err);
    snprintf(param, sizeof param, "%s.", where);
    int code =
        api_fields_read(request_fields, ARRAY_LEN(request_fields), request, param, &one, err);
    if (code != 0)
        return code;
    if (one.params == NULL)
        return err_set_param(err, ERR_INVALID, where, "'%s.params' is missing", where);
    snprintf(param, sizeof param, "%s.custom_id", where);
    if (!is_custom_id(one.custom_id))
        return err_set_param(err, ERR_INVALID, param,
                             "'%s' must have 1 to %d letters, digits, '_' or '-'", param,
                             CUSTOM_ID_MAX);
    if (json_object_getn(seen, one.custom_id.ptr, one.custom_id.len) != NULL)
        return err_set_param(err, ERR_INVALID, param,
                             "'%s': '%.64s' is there twice; each request needs its own", param,
                             one.custom_id.ptr);
    return json_object_setn_new(seen, one.custom_id.ptr, one.custom_id.len, json_true()) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the batch");
}

static int take_requests(const char *name, const json_t *v, void *into, struct err *err)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return api_wrong_type(name, "an array of requests", v, err);
    if (n == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s' is empty", name);
    if (n > ANTHROPIC_BATCH_REQUESTS_MAX)
        return err_set_param(err, ERR_TOO_LARGE, name, "'%s' has %zu requests, more than %d", name,
                             n, ANTHROPIC_BATCH_REQUESTS_MAX);
    json_t *seen = json_object();
    int code = seen == NULL ? err_set(err, ERR_NOMEM, "out of memory for the batch") : 0;
    for (size_t i = 0; i < n && code == 0; i++)
        code = check_request(json_array_get(v, i), i, seen, err);
    json_decref(seen);
    *(const json_t **)into = v;
    return code;
}

static const struct api_field create_fields[] = {
    {"requests", API_ANY, API_HONOURED, .take = take_requests, .sub = request_fields,
     .n_sub = ARRAY_LEN(request_fields)},
};

const struct api_form anthropic_batch_form = {create_fields, ARRAY_LEN(create_fields)};

int anthropic_batch_parse(const json_t *body, const json_t **ret, struct err *err)
{
    const json_t *requests = NULL;
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_fields_read(create_fields, ARRAY_LEN(create_fields), body, "", &requests, err);
    if (code == 0 && requests == NULL)
        code = err_set_param(err, ERR_INVALID, "requests", "'requests' is missing");
    if (code == 0)
        *ret = requests;
    return code;
}

bool anthropic_batch_line_write(const json_t *request, struct buf *out)
{
    buf_add_z(out, "{\"custom_id\":");
    json_write_string(json_str(json_object_get(request, "custom_id")), out);
    buf_add_z(out, ",\"body\":");
    bool ok = json_write(json_object_get(request, "params"), out);
    buf_add_char(out, '}');
    return ok && !out->overflow;
}

/* ---- objects ---- */

static void write_time(struct buf *out, const char *name, int64_t seconds)
{
    char text[40];
    time_t at = (time_t)seconds;
    struct tm tm;
    buf_printf(out, ",\"%s\":", name);
    if (seconds > 0 && gmtime_r(&at, &tm) != NULL &&
        strftime(text, sizeof text, "\"%Y-%m-%dT%H:%M:%SZ\"", &tm) > 0)
        buf_add_z(out, text);
    else
        buf_add_z(out, "null");
}

static void write_id(struct buf *out, const char *name, const char *id)
{
    buf_printf(out, ",\"%s\":", name);
    if (id[0] == '\0')
        buf_add_z(out, "null");
    else
        json_write_string(str_z(id), out);
}

static void write_url(const struct anthropic_batch *b, struct buf *out)
{
    struct buf url;
    buf_init(&url, 4096);
    buf_printf(&url, "%s" ANTHROPIC_BATCH_PATH "/%s/results", b->base_url, b->id);
    buf_add_z(out, ",\"results_url\":");
    if (b->has_results)
        json_write_string(buf_str(&url), out);
    else
        buf_add_z(out, "null");
    buf_release(&url);
}

/* Until all is over everything counts as being processed. */
bool anthropic_batch_write(const struct anthropic_batch *b, struct buf *out)
{
    bool ended = b->ended_s > 0, canceled = strcmp(b->status, "cancelled") == 0;
    int64_t left = b->total - b->completed - b->failed;
    buf_add_z(out, "{\"id\":");
    json_write_string(str_z(b->id), out);
    buf_printf(out,
               ",\"type\":\"message_batch\",\"processing_status\":\"%s\",\"request_counts\":{"
               "\"processing\":%" PRId64 ",\"succeeded\":%" PRId64 ",\"errored\":%" PRId64
               ",\"canceled\":%" PRId64 ",\"expired\":%" PRId64 "}",
               ended                                  ? "ended"
               : strcmp(b->status, "cancelling") == 0 ? "canceling"
                                                      : "in_progress",
               ended ? 0 : b->total, ended ? b->completed : 0, ended ? b->failed : 0,
               ended && canceled ? left : 0, ended && !canceled ? left : 0);
    write_time(out, "created_at", b->created_s);
    write_time(out, "expires_at", b->expires_s);
    write_time(out, "ended_at", b->ended_s);
    write_time(out, "cancel_initiated_at", b->cancelling_s);
    write_time(out, "archived_at", 0);
    write_url(b, out);
    buf_add_char(out, '}');
    return !out->overflow;
}

bool anthropic_batch_deleted_write(const char *id, struct buf *out)
{
    buf_add_z(out, "{\"id\":");
    json_write_string(str_z(id), out);
    buf_add_z(out, ",\"type\":\"message_batch_deleted\"}");
    return !out->overflow;
}

bool anthropic_list_begin(struct buf *out)
{
    return buf_add_z(out, "{\"data\":[");
}

bool anthropic_list_end(const char *first_id, const char *last_id, bool has_more, struct buf *out)
{
    buf_printf(out, "],\"has_more\":%s", has_more ? "true" : "false");
    write_id(out, "first_id", first_id);
    write_id(out, "last_id", last_id);
    buf_add_char(out, '}');
    return !out->overflow;
}

/* ---- results ---- */

bool anthropic_batch_answer_write(struct str custom_id, bool succeeded, struct str body,
                                  struct buf *out)
{
    buf_add_z(out, "{\"custom_id\":");
    json_write_string(custom_id, out);
    buf_add_z(out, succeeded ? ",\"result\":{\"type\":\"succeeded\",\"message\":"
                             : ",\"result\":{\"type\":\"errored\",\"error\":");
    buf_add_str(out, body);
    buf_add_z(out, "}}");
    return !out->overflow;
}

bool anthropic_batch_lost_write(struct str custom_id, const char *type, struct buf *out)
{
    buf_add_z(out, "{\"custom_id\":");
    json_write_string(custom_id, out);
    buf_printf(out, ",\"result\":{\"type\":\"%s\"}}", type);
    return !out->overflow;
}
