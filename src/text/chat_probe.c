/*
 * chat_probe: what a template can do, found by rendering small conversations with words that can
 * be looked for in the result.
 */
#include "base/json.h"
#include "base/mem.h"
#include "text/chat_impl.h"

#include <stdlib.h>
#include <string.h>

#define USER   "q7user7q"
#define SYSTEM "q7system7q"
#define TOOL   "q7tool7q"
#define ARG    "q7arg7q"

#define TEXT_MESSAGE(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"
#define PARTS_MESSAGE(role, text)                                                                  \
    "{\"role\": \"" role "\", \"content\": [{\"type\": \"text\", \"text\": \"" text "\"}]}"
#define USER_TEXT  TEXT_MESSAGE("user", USER)
#define USER_PARTS PARTS_MESSAGE("user", USER)

/* Ids have nine letters and digits: some templates insist on it. */
#define CALL(content, arguments)                                                                   \
    USER_TEXT                                                                                      \
    ", {\"role\": \"assistant\"" content ", \"tool_calls\": [{\"id\": \"call12345\", "             \
    "\"type\": \"function\", \"function\": {\"name\": "                                            \
    "\"" TOOL "\", \"arguments\": " arguments "}}]}, {\"role\": \"tool\", \"tool_call_id\": "      \
    "\"call12345\", \"name\": \"" TOOL "\", \"content\": \"1\"}"
#define CALL_ALONE(arguments)                                                                      \
    USER_TEXT                                                                                      \
    ", {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"call12345\", "     \
    "\"type\": \"function\", \"function\": {\"name\": \"" TOOL "\", \"arguments\": " arguments     \
    "}}]}"
#define ARGUMENTS_OBJECT "{\"" ARG "\": 1}"
#define ARGUMENTS_TEXT   "\"{\\\"" ARG "\\\": 1}\""
#define TOOLS                                                                                      \
    ", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"" TOOL                      \
    "\", \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {\"" ARG   \
    "\": {\"type\": \"integer\", \"description\": \"d\"}}, \"required\": [\"" ARG "\"]}}}]"

struct probe {
    const struct chat *chat;
    struct buf out;
    bool rendered;
    struct err err; /* of the last one that failed */
};

/* Renders messages (the inside of a JSON list) with more variables; true when it worked. */
static bool try(struct probe *p, const char *messages, const char *more)
{
    struct buf text;
    buf_init(&text, 65536);
    buf_clear(&p->out);
    p->rendered = false;
    if (buf_printf(&text, "{\"messages\": [%s], \"add_generation_prompt\": true%s}", messages,
                   more)) {
        json_t *vars = json_parse(buf_str(&text), 32, &p->err);
        if (vars)
            p->rendered = chat_render_raw(p->chat, vars, &p->out, &p->err) == 0;
        json_decref(vars);
    }
    buf_release(&text);
    return p->rendered;
}

static bool shows(const struct probe *p, const char *word)
{
    return p->rendered && str_find(buf_str(&p->out), str_z(word)) >= 0;
}

/* Content as a text, or else as parts; tools as none, or else as []: one must come out. */
static int probe_user(struct probe *p, struct chat_caps *caps, struct err *err)
{
    struct err first = {0};
    bool worked = false;
    for (int k = 0; k < 4; k++) {
        caps->parts_only = k & 1;
        caps->tools_must_be_list = k & 2;
        worked = try(p, k & 1 ? USER_PARTS : USER_TEXT, "") || worked;
        if (shows(p, USER))
            return 0;
        if (k == 0)
            first = p->err;
    }
    if (worked)
        return err_set(err, ERR_INVALID, "it leaves out what the user says");
    if (err)
        *err = first;
    return first.code ? first.code : ERR_INVALID;
}

static void probe_system(struct probe *p, struct chat_caps *caps)
{
    try(p,
        caps->parts_only ? PARTS_MESSAGE("system", SYSTEM) ", " USER_PARTS
                         : TEXT_MESSAGE("system", SYSTEM) ", " USER_TEXT,
        "");
    caps->system = shows(p, SYSTEM);
}

/* The arguments came out as JSON, not as Python's repr and not escaped a second time. */
static bool shows_arguments(const struct probe *p)
{
    return shows(p, ARG) && !shows(p, "\\\"" ARG) && !shows(p, "'" ARG "'");
}

static void probe_tools(struct probe *p, struct chat_caps *caps)
{
    try(p, caps->parts_only ? USER_PARTS : USER_TEXT, TOOLS);
    caps->tools = shows(p, TOOL);
    bool object = try(p, CALL(", \"content\": \"\"", ARGUMENTS_OBJECT), "") && shows_arguments(p);
    bool text = try(p, CALL(", \"content\": \"\"", ARGUMENTS_TEXT), "") && shows_arguments(p);
    caps->arguments_as_text = text && !object;
    caps->calls = object || text;
    if (!object && !text)
        return;
    bool null = text ? try(p, CALL(", \"content\": null", ARGUMENTS_TEXT), "")
                     : try(p, CALL(", \"content\": null", ARGUMENTS_OBJECT), "");
    bool missing =
        text ? try(p, CALL("", ARGUMENTS_TEXT), "") : try(p, CALL("", ARGUMENTS_OBJECT), "");
    caps->null_content_fails = !null || !missing;
}

/* Whether the switch of thinking that most templates know does anything. */
static void probe_thinking(struct probe *p, struct chat_caps *caps)
{
    const char *user = caps->parts_only ? USER_PARTS : USER_TEXT;
    for (int i = 0; i < 2 && !caps->think_switch; i++) {
        bool off = i == 0 ? try(p, user, ", \"enable_thinking\": false")
                          : try(p, user, ", \"thinking\": false");
        char *text = str_dup(buf_str(&p->out));
        bool on = i == 0 ? try(p, user, ", \"enable_thinking\": true")
                         : try(p, user, ", \"thinking\": true");
        caps->think_switch = off && on && !str_eq_z(buf_str(&p->out), text);
        free(text);
    }
}

/* The rendering of a call from where it differs from one of a text; empty when it does not work. */
static struct str call_rendering(struct probe *p, const struct chat_caps *caps, struct buf *plain)
{
    bool text = caps->parts_only ? try(p, USER_PARTS ", " PARTS_MESSAGE("assistant", SYSTEM), "")
                                 : try(p, USER_TEXT ", " TEXT_MESSAGE("assistant", SYSTEM), "");
    if (!text)
        return STR("");
    buf_add_str(plain, buf_str(&p->out));
    text = caps->arguments_as_text ? try(p, CALL_ALONE(ARGUMENTS_TEXT), TOOLS)
                                   : try(p, CALL_ALONE(ARGUMENTS_OBJECT), TOOLS);
    if (!text)
        return STR("");
    /* tools stand before the turn: compare from the user's words on */
    ptrdiff_t a = str_find(buf_str(plain), STR(USER)), b = str_find(buf_str(&p->out), STR(USER));
    if (a < 0 || b < 0)
        return STR("");
    struct str x = str_from(buf_str(plain), (size_t)a), y = str_from(buf_str(&p->out), (size_t)b);
    size_t n = 0;
    while (n < x.len && n < y.len && x.ptr[n] == y.ptr[n])
        n++;
    /* the marker may begin as the text's own marker does */
    while (n > 0 && strchr("<[|", y.ptr[n - 1]) != NULL)
        n--;
    return str_from(y, n);
}

void chat_find_dialect(struct chat *c, struct str source)
{
    struct probe p = {.chat = c};
    struct buf plain;
    bool known = dialect_of_template(source, &c->dialect);
    buf_init(&p.out, (size_t)1 << 20);
    buf_init(&plain, (size_t)1 << 20);
    if (!known && c->caps.tools)
        known = dialect_of_rendering(call_rendering(&p, &c->caps, &plain), STR(TOOL), STR(ARG),
                                     &c->dialect, c->markers);
    if (!known || !c->caps.tools)
        dialect_fallback(&c->dialect); /* what the words for tools say */
    if (c->dialect.think_open != NULL)
        probe_thinking(&p, &c->caps);
    buf_release(&plain);
    buf_release(&p.out);
}

int chat_probe(struct chat *c, struct err *err)
{
    struct probe p = {.chat = c};
    buf_init(&p.out, (size_t)1 << 20);
    int rc = probe_user(&p, &c->caps, err);
    if (rc == 0) {
        probe_system(&p, &c->caps);
        probe_tools(&p, &c->caps);
    }
    buf_release(&p.out);
    return rc;
}
