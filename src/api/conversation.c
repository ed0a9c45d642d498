/*
 * conversation: see conversation.h.
 */
#include "api/conversation.h"

#include "api/openai_batch.h"
#include "api/responses.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the tables read. */
struct reading {
    const json_t *items, *metadata;
};

static int take_items(const char *name, const json_t *v, void *into, struct err *err)
{
    if (!json_is_array(v))
        return api_wrong_type(name, "an array of items", v, err);
    if (json_array_size(v) > CONVERSATION_ITEMS_MAX)
        return err_set_param(err, ERR_LIMIT, name, "'%s' has %zu items; %d can be added at a time",
                             name, json_array_size(v), CONVERSATION_ITEMS_MAX);
    ((struct reading *)into)->items = v;
    return 0;
}

static int take_metadata(const char *name, const json_t *v, void *into, struct err *err)
{
    ((struct reading *)into)->metadata = v;
    return openai_metadata_check(name, v, err);
}

#define ITEMS                                                                                      \
    {                                                                                              \
        "items", API_ANY, API_HONOURED, .take = take_items                                         \
    }
#define METADATA                                                                                   \
    {                                                                                              \
        "metadata", API_ANY, API_HONOURED, .take = take_metadata                                   \
    }

static const struct api_field create_fields[] = {ITEMS, METADATA};
static const struct api_field update_fields[] = {METADATA};
static const struct api_field add_fields[] = {ITEMS};

const struct api_form conversation_forms[] = {
    [CONVERSATION_CREATE] = {create_fields, ARRAY_LEN(create_fields)},
    [CONVERSATION_UPDATE] = {update_fields, ARRAY_LEN(update_fields)},
    [CONVERSATION_ADD] = {add_fields, ARRAY_LEN(add_fields)},
};

/* Items are asked for by their ids in a path. */
static int check_ids(const json_t *items, struct err *err)
{
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        const json_t *value = json_object_get(item, "id");
        struct str id = json_str(value), unused;
        char param[32];
        if (responses_item_is_reference(item, &unused)) {
            snprintf(param, sizeof param, "items[%zu]", i);
            return err_set_param(err, ERR_UNSUPPORTED, param,
                                 "'%s' is an item_reference: a conversation keeps items "
                                 "themselves; send it whole",
                                 param);
        }
        if (value == NULL || json_is_null(value))
            continue;
        if (id.len == 0 || id.len > CONVERSATION_ITEM_ID_MAX || str_chr(id, '/') >= 0 ||
            memchr(id.ptr, '\0', id.len) != NULL) {
            snprintf(param, sizeof param, "items[%zu].id", i);
            return err_set_param(err, ERR_INVALID, param,
                                 "'%s' must have 1 to %d bytes, without '/'", param,
                                 CONVERSATION_ITEM_ID_MAX);
        }
    }
    return 0;
}

static int read_items(const json_t *given, const char *seed_id, json_t **ret, struct err *err)
{
    int code = check_ids(given, err);
    if (code == 0)
        code = responses_items_check(given, "items", err);
    if (code != 0)
        return code;
    *ret = responses_items_normal(given, seed_id, err);
    return *ret == NULL ? ERR_NOMEM : 0;
}

int conversation_body_parse(enum conversation_form form, const json_t *body, const char *seed_id,
                            struct conversation_body *ret, struct err *err)
{
    const struct api_form *f = &conversation_forms[form];
    struct reading r = {0};
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    int code = api_fields_read(f->field, (size_t)f->n, body, "", &r, err);
    if (code != 0)
        return code;
    if (form == CONVERSATION_UPDATE && r.metadata == NULL)
        return err_set_param(err, ERR_INVALID, "metadata", "'metadata' is missing");
    if (form == CONVERSATION_ADD && json_array_size(r.items) == 0)
        return err_set_param(err, ERR_INVALID, "items", "'items' is missing or empty");
    struct conversation_body b = {.metadata = r.metadata};
    if (r.items != NULL)
        code = read_items(r.items, seed_id, &b.items, err);
    if (code == 0)
        *ret = b;
    return code;
}

void conversation_body_release(struct conversation_body *b)
{
    json_decref(b->items);
    *b = (struct conversation_body){0};
}

struct str conversation_id_of(const json_t *value)
{
    return json_str(json_is_object(value) ? json_object_get(value, "id") : value);
}

bool conversation_write(const char *id, int64_t created_s, struct str metadata, struct buf *out)
{
    buf_add_z(out, "{\"id\":");
    json_write_string(str_z(id), out);
    buf_printf(out,
               ",\"object\":\"conversation\",\"created_at\":%" PRId64 ",\"metadata\":", created_s);
    buf_add_str(out, metadata.len == 0 ? STR("{}") : metadata);
    buf_add_char(out, '}');
    return !out->overflow;
}

bool conversation_deleted_write(const char *id, struct buf *out)
{
    buf_add_z(out, "{\"id\":");
    json_write_string(str_z(id), out);
    buf_add_z(out, ",\"object\":\"conversation.deleted\",\"deleted\":true}");
    return !out->overflow;
}
