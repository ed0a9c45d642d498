/*
 * session: see session.h.
 */
#include "cli/session.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (64 * 1024 * 1024)

enum param_kind { PARAM_NUMBER, PARAM_WHOLE, PARAM_TEXT };

struct param {
    const char *name;
    enum param_kind kind;
};

static const struct param params[] = {
    {"frequency_penalty", PARAM_NUMBER},
    {"max_tokens", PARAM_WHOLE},
    {"min_p", PARAM_NUMBER},
    {"presence_penalty", PARAM_NUMBER},
    {"repeat_penalty", PARAM_NUMBER},
    {"seed", PARAM_WHOLE},
    {"stop", PARAM_TEXT},
    {"temperature", PARAM_NUMBER},
    {"top_k", PARAM_WHOLE},
    {"top_p", PARAM_NUMBER},
    {"typical_p", PARAM_NUMBER},
};

const char *const *session_param_names(void)
{
    static const char *names[ARRAY_LEN(params) + 1];
    for (size_t i = 0; i < ARRAY_LEN(params); i++)
        names[i] = params[i].name;
    return names;
}

void session_init(struct session *s, const char *model)
{
    *s = (struct session){.model = model, .messages = json_array(), .params = json_object()};
    client_init(&s->client);
    buf_init(&s->answer, ANSWER_MAX);
}

void session_release(struct session *s)
{
    json_decref(s->messages);
    json_decref(s->params);
    free(s->system);
    buf_release(&s->answer);
}

void session_clear(struct session *s)
{
    json_array_clear(s->messages);
}

void session_set_system(struct session *s, const char *text)
{
    free(s->system);
    s->system = text == NULL || text[0] == '\0' ? NULL : str_dup(str_z(text));
}

int session_set(struct session *s, struct str name, const struct str *value, struct err *err)
{
    const struct param *p = NULL;
    for (size_t i = 0; i < ARRAY_LEN(params); i++)
        if (str_eq_z(name, params[i].name))
            p = &params[i];
    if (p == NULL)
        return err_set(err, ERR_INVALID, "there is no parameter '%.*s'; /set shows them",
                       STR_ARG(str_sub(name, 0, 80)));
    if (value == NULL) {
        json_object_del(s->params, p->name);
        return 0;
    }
    json_t *v = NULL;
    int64_t whole;
    double number;
    if (p->kind == PARAM_WHOLE && str_to_i64(*value, &whole))
        v = json_integer(whole);
    else if (p->kind == PARAM_NUMBER && str_to_f64(*value, &number))
        v = json_real(number);
    else if (p->kind == PARAM_TEXT && value->len > 0)
        v = json_stringn(value->ptr, value->len);
    if (v == NULL)
        return err_set(err, ERR_INVALID, "'%.*s' is no value for %s", STR_ARG(*value), p->name);
    json_object_set_new(s->params, p->name, v);
    return 0;
}

/* ---- an answer ---- */

/* Without control characters, a model's text cannot steer the terminal. C1 ones are C2 80..C2 9F.
 */
static void print_safely(struct str s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool c1 = c == 0xc2 && i + 1 < s.len && ((unsigned char)s.ptr[i + 1] & 0xe0) == 0x80;
        if (!c1 && c != 127 && (c >= ' ' || c == '\n' || c == '\t'))
            continue;
        fwrite(s.ptr + from, 1, i - from, stdout);
        from = i + 1 + (c1 ? 1 : 0);
        i += c1 ? 1 : 0;
    }
    if (from < s.len)
        fwrite(s.ptr + from, 1, s.len - from, stdout);
}

static void take_text(struct session *s, struct str text)
{
    if (text.len == 0)
        return;
    s->last_ms = clock_ms();
    if (s->first_ms == 0)
        s->first_ms = s->last_ms;
    buf_add_str(&s->answer, text);
    if (s->terminal)
        print_safely(text);
    else
        fwrite(text.ptr, 1, text.len, stdout);
    fflush(stdout);
}

static void on_event(void *arg, const json_t *value)
{
    struct session *s = arg;
    const json_t *choice = json_array_get(json_object_get(value, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    take_text(s, json_str(json_object_get(delta, "content")));
    struct str finish = json_str(json_object_get(choice, "finish_reason"));
    if (finish.len > 0)
        snprintf(s->finish, sizeof(s->finish), "%.*s", STR_ARG(finish));
    const json_t *error = json_object_get(value, "error");
    if (json_is_object(error))
        snprintf(s->finish, sizeof(s->finish), "error");
    const json_t *usage = json_object_get(value, "usage");
    if (!json_is_object(usage))
        return;
    const json_t *details = json_object_get(usage, "prompt_tokens_details");
    if (json_get_i64(usage, "prompt_tokens", 0, INT64_MAX, &s->n_prompt, NULL) != 0 ||
        json_get_i64(usage, "completion_tokens", 0, INT64_MAX, &s->n_answer, NULL) != 0 ||
        (json_is_object(details) &&
         json_get_i64(details, "cached_tokens", 0, INT64_MAX, &s->n_cached, NULL) != 0))
        s->n_answer = -1;
}

static json_t *make_request(const struct session *s)
{
    json_t *messages = json_array();
    if (s->system != NULL)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", "system", "content", s->system));
    json_array_extend(messages, s->messages);
    json_t *body = json_pack("{s:s, s:o, s:b, s:{s:b}}", "model", s->model, "messages", messages,
                             "stream", 1, "stream_options", "include_usage", 1);
    if (body != NULL)
        json_object_update(body, s->params);
    return body;
}

static void add_message(struct session *s, const char *role, struct str text)
{
    json_t *content = json_stringn(text.ptr, text.len);
    json_array_append_new(s->messages, json_pack("{s:s, s:o}", "role", role, "content", content));
}

int session_ask(struct session *s, struct str question, struct err *err)
{
    size_t before = json_array_size(s->messages);
    add_message(s, "user", question);
    json_t *body = json_array_size(s->messages) > before ? make_request(s) : NULL;
    if (body == NULL)
        return err_set(err, ERR_INVALID, "the text is not UTF-8");
    buf_clear(&s->answer);
    s->finish[0] = '\0';
    s->first_ms = s->last_ms = 0;
    s->n_prompt = s->n_cached = s->n_answer = -1;
    s->sent_ms = clock_ms();
    struct client_stream stream = {.event = on_event, .arg = s, .stop = s->stop};
    int rc = client_stream(&s->client, "/v1/chat/completions", body, &stream, err);
    json_decref(body);
    if (s->answer.len > 0 && s->answer.ptr[s->answer.len - 1] != '\n')
        putchar('\n');
    fflush(stdout);
    if (rc == 0 && strcmp(s->finish, "error") == 0)
        rc = err_set(err, ERR_UNAVAILABLE, "the server broke the answer off; its log says why");
    else if (rc == 0 && s->finish[0] == '\0')
        rc = err_set(err, ERR_UNAVAILABLE, "the answer broke off before its end");
    if (rc == 0 || rc == ERR_CANCELLED)
        add_message(s, "assistant", buf_str(&s->answer));
    else
        json_array_remove(s->messages, before);
    return rc;
}

void session_print_stats(const struct session *s, FILE *out)
{
    if (s->first_ms == 0 || s->n_answer < 0)
        return;
    double first = (double)(s->first_ms - s->sent_ms) / 1000.0;
    double rest = (double)(s->last_ms - s->first_ms) / 1000.0;
    fprintf(out, "%lld tokens", (long long)s->n_answer);
    if (s->n_answer > 1 && rest > 0)
        fprintf(out, ", %.1f a second", (double)(s->n_answer - 1) / rest);
    fprintf(out, "; first after %.2f s", first);
    if (s->n_prompt >= 0)
        fprintf(out, " (prompt: %lld tokens%s", (long long)s->n_prompt, s->n_cached > 0 ? "" : ")");
    if (s->n_prompt >= 0 && s->n_cached > 0)
        fprintf(out, ", %lld of them cached)", (long long)s->n_cached);
    if (strcmp(s->finish, "length") == 0)
        fprintf(out, "; cut at the length limit");
    fputc('\n', out);
}
