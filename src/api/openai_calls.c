/*
 * openai_calls: see the header. Fragments are whole characters, so each is escaped alone.
 */
#include "api/openai_calls.h"

#include "api/tools.h"

#include <inttypes.h>
#include <string.h>

void openai_calls_init(struct openai_calls *c, size_t bytes_max)
{
    *c = (struct openai_calls){0};
    buf_init(&c->text, bytes_max);
    buf_init(&c->args, bytes_max);
}

void openai_calls_release(struct openai_calls *c)
{
    buf_release(&c->text);
    buf_release(&c->args);
}

enum openai_call_shape openai_call_shape(const json_t *own, const char *name)
{
    if (json_object_get(own, "functions") != NULL)
        return OPENAI_CALL_DEPRECATED;
    return json_object_get(json_object_get(own, "custom"), name) != NULL ? OPENAI_CALL_CUSTOM
                                                                         : OPENAI_CALL_FUNCTION;
}

/* The inside of a JSON string. */
static bool add_escaped(struct str text, struct buf *out)
{
    size_t at = out->len;
    if (!json_write_string(text, out))
        return false;
    memmove(out->ptr + at, out->ptr + at + 1, out->len - at - 2);
    buf_truncate(out, out->len - 2);
    return true;
}

/* What the model gave a custom tool: its one argument, or all it wrote where that is not JSON. */
static void write_input(const struct buf *args, struct buf *out)
{
    json_t *object = api_call_arguments(buf_str(args));
    const json_t *input = json_object_get(object, "input");
    add_escaped(json_is_string(input) ? json_str(input) : buf_str(args), out);
    json_decref(object);
}

/* {"id","type","function":{"name","arguments":" and so on: up to where the arguments come. */
static void write_head(const struct openai_calls *c, const struct api_answer *a, int i_choice,
                       const char *name, bool is_stream, struct buf *out)
{
    char id[API_CALL_ID_MAX];
    if (c->shape == OPENAI_CALL_DEPRECATED) {
        buf_add_z(out, "{\"name\":");
        json_write_string(str_z(name), out);
        buf_add_z(out, ",\"arguments\":\"");
        return;
    }
    bool custom = c->shape == OPENAI_CALL_CUSTOM;
    api_call_id(a, "call_", i_choice, c->n - 1, id);
    buf_add_char(out, '{');
    if (is_stream)
        buf_printf(out, "\"index\":%" PRId64 ",", c->n - 1);
    buf_printf(out, "\"id\":\"%s\",\"type\":\"%s\",\"%s\":{\"name\":", id,
               custom ? "custom" : "function", custom ? "custom" : "function");
    json_write_string(str_z(name), out);
    buf_add_z(out, custom ? ",\"input\":\"" : ",\"arguments\":\"");
}

/* The same for a fragment of a call that a stream began before. */
static void write_next(const struct openai_calls *c, struct buf *out)
{
    if (c->shape == OPENAI_CALL_DEPRECATED)
        buf_add_z(out, "{\"arguments\":\"");
    else
        buf_printf(out, "{\"index\":%" PRId64 ",\"%s", c->n - 1,
                   c->shape == OPENAI_CALL_CUSTOM ? "custom\":{\"input\":\""
                                                  : "function\":{\"arguments\":\"");
}

static void open_member(const struct openai_calls *c, struct buf *out)
{
    buf_add_z(out, c->shape == OPENAI_CALL_DEPRECATED ? "\"function_call\":" : "\"tool_calls\":[");
}

static void close_member(const struct openai_calls *c, struct buf *out)
{
    buf_add_z(out, c->shape == OPENAI_CALL_DEPRECATED ? "\"}" : "\"}}]");
}

/* Begins a call; what was held back of the one before comes first, in the same list. */
static bool begin_call(struct openai_calls *c, const struct api_answer *a, const json_t *own,
                       int i_choice, const char *name, struct buf *delta)
{
    size_t at = delta != NULL ? delta->len : 0;
    if (!openai_calls_close(c, delta))
        return false;
    bool joins = delta != NULL && delta->len > at;
    if (joins)
        delta->ptr[delta->len - 1] = ',';
    else if (delta == NULL && c->n > 0)
        buf_add_char(&c->text, ',');
    c->shape = openai_call_shape(own, name);
    c->open = true;
    c->n++;
    if (delta != NULL && !joins)
        open_member(c, delta);
    write_head(c, a, i_choice, name, delta != NULL, delta != NULL ? delta : &c->text);
    return !c->text.overflow && (delta == NULL || !delta->overflow);
}

bool openai_calls_add(struct openai_calls *c, const struct api_answer *a, const json_t *own,
                      int i_choice, const struct gen_delta *d, struct buf *delta)
{
    struct str text = {d->text, d->text_len};
    if (d->name != NULL ? !begin_call(c, a, own, i_choice, d->name, delta) : !c->open)
        return false;
    if (c->shape == OPENAI_CALL_CUSTOM) {
        if (d->name != NULL && delta != NULL)
            close_member(c, delta);
        return buf_add_str(&c->args, text);
    }
    if (delta == NULL)
        return add_escaped(text, &c->text);
    if (d->name == NULL && text.len == 0)
        return true;
    if (d->name == NULL) {
        open_member(c, delta);
        write_next(c, delta);
    }
    add_escaped(text, delta);
    close_member(c, delta);
    return !delta->overflow;
}

bool openai_calls_close(struct openai_calls *c, struct buf *delta)
{
    if (!c->open)
        return true;
    c->open = false;
    if (c->shape == OPENAI_CALL_CUSTOM && delta != NULL) {
        open_member(c, delta);
        write_next(c, delta);
        write_input(&c->args, delta);
        close_member(c, delta);
    } else if (c->shape == OPENAI_CALL_CUSTOM) {
        write_input(&c->args, &c->text);
    }
    buf_clear(&c->args);
    if (delta == NULL)
        buf_add_z(&c->text, c->shape == OPENAI_CALL_DEPRECATED ? "\"}" : "\"}}");
    return !c->text.overflow && (delta == NULL || !delta->overflow);
}

bool openai_calls_write(const struct openai_calls *c, struct buf *out)
{
    if (c->n == 0)
        return true;
    buf_add_z(out,
              c->shape == OPENAI_CALL_DEPRECATED ? ",\"function_call\":" : ",\"tool_calls\":[");
    buf_add_str(out, buf_str(&c->text));
    return c->shape == OPENAI_CALL_DEPRECATED || buf_add_char(out, ']');
}
