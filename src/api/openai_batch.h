/*
 * openai_batch: OpenAI's files and batches: their objects, what creates them, a batch's lines.
 *
 * Source: OpenAI's API reference (files, batch). Pure: bytes in, bytes out. Objects are written
 * from structs whose empty strings and zero times become null.
 */
#ifndef HEARTH_API_OPENAI_BATCH_H
#define HEARTH_API_OPENAI_BATCH_H

#include "api/fields.h"
#include "api/openai.h"

#define OPENAI_CUSTOM_ID_MAX 512
#define OPENAI_TTL_MIN_S     3600
#define OPENAI_TTL_MAX_S     2592000

struct openai_file {
    const char *id, *filename, *purpose;
    int64_t bytes, created_s, expires_s;
};
bool openai_file_write(const struct openai_file *f, struct buf *out);
/* {"id", "object", "deleted": true} */
bool openai_deleted_write(const char *id, struct buf *out);

struct openai_batch {
    const char *id, *endpoint, *window, *input_file, *output_file, *error_file;
    const char *status, *model;
    const char *metadata, *errors; /* JSON: an object, the insides of an array; or "" */
    const char *paused;            /* why it does not go on at the moment (ours); or "" */
    int64_t created_s, expires_s, in_progress_s, finalizing_s, completed_s, failed_s, expired_s;
    int64_t cancelling_s, cancelled_s;
    int64_t total, completed, failed;
    int64_t prompt_tokens, cached_tokens, completion_tokens;
};
bool openai_batch_write(const struct openai_batch *b, struct buf *out);
/* One member of `errors`; a comma first unless out is empty. line 0: of the whole file. */
bool openai_batch_error_write(const char *code, int64_t line, const char *param, const char *text,
                              struct buf *out);

/* `metadata` as all of OpenAI's objects have it: short names with short strings. */
int openai_metadata_check(const char *name, const json_t *value, struct err *err)
    __attribute__((warn_unused_result));

/* Pages: openai_list_begin, objects with commas between, openai_list_end. */
bool openai_list_begin(struct buf *out);
bool openai_list_end(const char *first_id, const char *last_id, bool has_more, struct buf *out);

/* The body of POST /v1/batches; strings borrow from it. */
struct openai_batch_create {
    struct str input_file, endpoint, window;
    int64_t window_s;
    const json_t *metadata; /* or NULL */
    int64_t output_ttl_s;   /* 0: kept until deleted */
};
extern const struct api_form openai_batch_form;
int openai_batch_create_parse(const json_t *body, struct openai_batch_create *ret, struct err *err)
    __attribute__((warn_unused_result));
/* NULL: an endpoint that batches do not take. */
const struct api_endpoint *openai_batch_endpoint(struct str path);

/* A line of the input. */
struct openai_batch_line {
    json_t *top;          /* owned; the others borrow from it */
    struct str custom_id; /* valid UTF-8 */
    json_t *body;
};
/* Checks the line and its body as the endpoint itself would. *ret is set on 0 only. */
int openai_batch_line_parse(struct str text, const struct api_endpoint *endpoint,
                            struct openai_batch_line *ret, struct err *err)
    __attribute__((warn_unused_result));
void openai_batch_line_release(struct openai_batch_line *l);

/* Lines of the output: an answer with its status, or an error without one. No newline. */
bool openai_batch_answer_write(const char *id, struct str custom_id, int status, struct str body,
                               struct buf *out);
bool openai_batch_lost_write(const char *id, struct str custom_id, const char *code,
                             const char *text, struct buf *out);

/* "24h", also seconds, minutes and days: 30s, 90m, 7d; from a second to 30 days. */
bool openai_window_parse(struct str text, int64_t *ret_s);

#endif
