/*
 * chat_probe: what a template can do, found by rendering small conversations with words that can
 * be looked for in the result.
 */
#include "base/json.h"
#include "base/mem.h"
#include "text/chat_impl.h"

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
    if (!object && !text)
        return;
    bool null = text ? try(p, CALL(", \"content\": null", ARGUMENTS_TEXT), "")
                     : try(p, CALL(", \"content\": null", ARGUMENTS_OBJECT), "");
    bool missing =
        text ? try(p, CALL("", ARGUMENTS_TEXT), "") : try(p, CALL("", ARGUMENTS_OBJECT), "");
    caps->null_content_fails = !null || !missing;
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
